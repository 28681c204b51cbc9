//! What an engine says, for people: one sentence, without the places in its own source.

const MOST: usize = 200;
/// Sentences that say nothing, before the one that does.
const HOLLOW: [&str; 4] =
    ["This is an invalid model. ", "Invalid model. ", "Error: ", "Fatal error: "];

/// The first sentence that says something, at most 200 characters. Where in its own source the engine
/// said so (`/build/core/graph/model.cc:182 onnxruntime::Model::Model(…)`) is left out.
pub(super) fn sentence(text: &str) -> String {
    let mut rest = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    for extension in [".cc:", ".cpp:", ".h:"] {
        if let Some((_, behind)) = rest.split_once(extension) {
            rest = behind_signature(behind.trim_start_matches(|c: char| c.is_ascii_digit()));
        }
    }
    for hollow in HOLLOW {
        rest = rest.strip_prefix(hollow).unwrap_or(rest);
    }
    let end = rest.find(". ").unwrap_or(rest.len());
    let first = rest.get(..end).unwrap_or(rest).trim_end_matches('.');
    match first.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", first.get(..end).unwrap_or_default()),
        None => first.to_owned(),
    }
}

/// What stands behind a C++ function with its parameters and qualifiers; all of it if there is none.
fn behind_signature(text: &str) -> &str {
    let mut depth = 0_usize;
    for (index, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ' ' if depth == 0 && text.get(..index).is_some_and(|before| before.ends_with(')')) => {
                let behind = text.get(index..).unwrap_or_default().trim_start();
                return behind.strip_prefix("const ").unwrap_or(behind);
            }
            _ => {}
        }
    }
    text.trim_start()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_heard_for_one_sentence_without_its_own_source() {
        let signature = "static onnxruntime::common::Status onnxruntime::Model::Load(const \
                         std::filesystem::path&, std::function<void(int)>) const";
        for (said, told) in [
            ("Node (a) has no output. Sorry about that.\nStack:", "Node (a) has no output"),
            ("\n  Failed\nhere", "Failed"),
            (&format!("failed:/b/model.cc:182 {signature} too new. See."), "too new"),
            (
                "/b/graph.cc:15 void onnxruntime::F(int (*)(int)) x.size() was false.",
                "x.size() was false",
            ),
            (
                "/b/graph.cc:1 void onnxruntime::G::H() This is an invalid model. Error: it is a circle.",
                "it is a circle",
            ),
            ("Invalid model. Node input 'q' is nothing.", "Node input 'q' is nothing"),
            ("/b/graph.cc:1", ""),
            ("", ""),
        ] {
            assert_eq!(sentence(said), told);
        }
        assert_eq!(sentence(&"é".repeat(999)).chars().count(), 201);
    }
}
