//! Reading `model.toml`: bounded, every key known, every number in its range.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use thiserror::Error;
use toml::{Table, Value};

use super::{InputSpec, OutputSpec, Spec};

/// `model.toml` is a page, not a book.
pub(super) const MAX_SPEC_BYTES: usize = 64 * 1024;
const MAX_SECTIONS: usize = 64;
const MAX_CHANNELS: usize = 4096;
const MAX_PIXELS_A_SIDE: u32 = 8192;

/// A mistake in `model.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpecError {
    /// The file is too long to be one.
    #[error("{found} bytes are over the limit of {MAX_SPEC_BYTES}")]
    TooLarge {
        /// Bytes in the file.
        found: usize,
    },
    /// It is no TOML.
    #[error("line {line}: {reason}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// What the parser said.
        reason: String,
    },
    /// A key is unknown or its value cannot be read.
    #[error("{section}{reason}")]
    Key {
        /// `[input] ` and the like; empty at the top.
        section: String,
        /// The key and what would be right.
        reason: String,
    },
    /// A value is out of its range.
    #[error("{key} = {found}: must be {right}")]
    Range {
        /// The key with its section.
        key: String,
        /// The value.
        found: String,
        /// What it must be.
        right: &'static str,
    },
}

impl Spec {
    /// Reads the text of a `model.toml`.
    ///
    /// `[input]` describes the only input (kept under the empty name), `[input.NAME]` each of several;
    /// likewise outputs.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        if text.len() > MAX_SPEC_BYTES {
            return Err(SpecError::TooLarge { found: text.len() });
        }
        let mut table: Table = text.parse().map_err(|error| syntax(text, &error))?;
        let input = sections(&mut table, "input")?;
        let output = sections(&mut table, "output")?;
        let rest: Self = table.try_into().map_err(|error| key(String::new(), &error))?;
        let spec = Self { input, output, ..rest };
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<(), SpecError> {
        range(
            "tolerance",
            self.tolerance,
            (0.0..=1e6).contains(&self.tolerance),
            "a number from 0",
        )?;
        for (name, input) in &self.input {
            input.check(&section_name("input", name))?;
        }
        for (name, output) in &self.output {
            output.check(&section_name("output", name))?;
        }
        Ok(())
    }
}

impl InputSpec {
    fn check(&self, section: &str) -> Result<(), SpecError> {
        for (name, values) in [("mean", &self.mean), ("scale", &self.scale)] {
            let key = format!("{section}.{name}");
            range(&key, values.len(), values.len() <= MAX_CHANNELS, "at most 4096 numbers")?;
            for value in values {
                range(&key, value, value.is_finite(), "finite numbers")?;
            }
        }
        for side in self.size.iter().flatten() {
            let fits = (1..=MAX_PIXELS_A_SIDE).contains(side);
            range(&format!("{section}.size"), side, fits, "width and height from 1 to 8192")?;
        }
        Ok(())
    }
}

impl OutputSpec {
    fn check(&self, section: &str) -> Result<(), SpecError> {
        if let Some(labels) = &self.labels {
            let key = format!("{section}.labels");
            let plain = !labels.is_empty() && !labels.contains(['/', '\\', '\0']) && labels != "..";
            range(&key, labels, plain, "the name of a file beside model.toml")?;
        }
        for (name, value) in [("score_threshold", self.score_threshold), ("nms_iou", self.nms_iou)]
        {
            let fits = (0.0..=1.0).contains(&value);
            range(&format!("{section}.{name}"), value, fits, "a number from 0 to 1")?;
        }
        let most = self.max_detections;
        let fits = (1..=10_000).contains(&most);
        range(&format!("{section}.max_detections"), most, fits, "from 1 to 10000")
    }
}

/// Takes `[name]` or every `[name.X]` out of the table.
fn sections<T: DeserializeOwned>(
    table: &mut Table,
    name: &str,
) -> Result<BTreeMap<String, T>, SpecError> {
    let Some(value) = table.remove(name) else { return Ok(BTreeMap::new()) };
    let Value::Table(found) = value else {
        let reason = format!("must be a table, written [{name}]");
        return Err(SpecError::Key { section: format!("{name}: "), reason });
    };
    let named = found.values().filter(|value| value.is_table()).count();
    if named == 0 {
        return Ok(BTreeMap::from([(String::new(), section(name, Value::Table(found))?)]));
    }
    if named < found.len() || named > MAX_SECTIONS {
        let reason = format!(
            "use either [{name}] alone or only [{name}.NAME] tables, at most {MAX_SECTIONS}"
        );
        return Err(SpecError::Key { section: format!("[{name}] "), reason });
    }
    found
        .into_iter()
        .map(|(key, value)| Ok((key.clone(), section(&section_name(name, &key), value)?)))
        .collect()
}

fn section<T: DeserializeOwned>(name: &str, value: Value) -> Result<T, SpecError> {
    value.try_into().map_err(|error| key(format!("[{name}] "), &error))
}

fn section_name(section: &str, name: &str) -> String {
    if name.is_empty() { section.to_owned() } else { format!("{section}.{name}") }
}

fn key(section: String, error: &toml::de::Error) -> SpecError {
    // The error's own text ends with the path of the key on a line of its own.
    let reason = error.to_string().trim().replace("\nin ", " in ");
    SpecError::Key { section, reason }
}

fn syntax(text: &str, error: &toml::de::Error) -> SpecError {
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    let line = text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1;
    SpecError::Syntax { line, reason: error.message().to_owned() }
}

fn range(
    key: &str,
    found: impl ToString,
    fits: bool,
    right: &'static str,
) -> Result<(), SpecError> {
    if fits {
        return Ok(());
    }
    Err(SpecError::Range { key: key.to_owned(), found: found.to_string(), right })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::{Activation, DetectionLayout, Fit, InputKind, Layout, Task};
    use proptest::prelude::*;

    fn refusal(text: &str) -> String {
        Spec::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn the_only_input_goes_by_the_empty_name() {
        let spec = Spec::parse(
            "task = \"detection\"\n[input]\nkind = \"image\"\nlayout = \"NCHW\"\nsize = [320, 240]\n\
             fit = \"letterbox\"\n[output]\nlayout = \"yolov8\"\nlabels = \"labels.txt\"",
        )
        .expect("spec");
        assert_eq!(spec.task, Task::Detection);
        let input = &spec.input[""];
        assert_eq!((input.kind, input.layout), (InputKind::Image, Some(Layout::Nchw)));
        assert_eq!((input.fit, input.size), (Fit::Letterbox, Some([320, 240])));
        assert_eq!(spec.output[""].layout, Some(DetectionLayout::Yolov8));
        assert!((spec.output[""].nms_iou - 0.45).abs() < 1e-6);
    }

    #[test]
    fn several_inputs_and_outputs_have_names() {
        let spec = Spec::parse(
            "[input.left]\nkind = \"image\"\n[input.right]\n[output.a]\nactivation = \"sigmoid\"",
        )
        .expect("spec");
        assert_eq!(spec.input.keys().collect::<Vec<_>>(), ["left", "right"]);
        assert_eq!(spec.output["a"].activation, Activation::Sigmoid);
    }

    #[test]
    fn a_bare_file_has_the_defaults() {
        assert_eq!(Spec::parse(""), Ok(Spec::default()));
        assert!(Spec::default().tolerance > 0.0);
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_known_ones() {
        let error = refusal("taks = \"anomaly\"");
        assert!(error.contains("taks") && error.contains("`task`"), "{error}");
        let error = refusal("[input]\nmeans = [1.0]");
        assert!(error.starts_with("[input] ") && error.contains("`mean`"), "{error}");
        let error = refusal("[output.boxes]\nlayout = \"yolo\"");
        assert!(error.starts_with("[output.boxes] ") && error.contains("yolov8"), "{error}");
    }

    #[test]
    fn mistakes_say_where_and_what_would_be_right() {
        assert!(refusal("task = \"anomaly\"\n]").starts_with("line 2: "));
        assert!(refusal("tolerance = nan").contains("from 0"));
        assert!(refusal("[output]\nnms_iou = 2.0").contains("output.nms_iou = 2: "));
        assert!(refusal("[input]\nsize = [0, 1]").contains("input.size = 0"));
        assert!(refusal("[output]\nlabels = \"../../etc/passwd\"").contains("beside"));
        assert!(refusal("input = 3").contains("[input]"));
        assert!(refusal("[input]\nkind = \"image\"\n[input.x]").contains("either"));
        assert!(refusal(&"#".repeat(MAX_SPEC_BYTES + 1)).contains("limit"));
        assert!(Spec::parse(&format!("a = {}", "[".repeat(60_000))).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,200}") {
            let _either = Spec::parse(&text);
        }

        #[test]
        fn no_mixture_of_known_words_panics(
            words in proptest::collection::vec(
                prop_oneof![
                    Just("[input]\n"), Just("[output.a]\n"), Just("kind"), Just("="), Just("\"image\""),
                    Just("size"), Just("[1, 2]"), Just("\n"), Just("mean"), Just("[1e40]"), Just("task"),
                    Just("input"), Just("."), Just("[["), Just("-1"),
                ],
                0..24,
            )
        ) {
            let _either = Spec::parse(&words.concat());
        }
    }
}
