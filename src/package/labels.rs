//! The labels file: one class a line, in the order of the model's output.

use std::path::Path;
use std::sync::Arc;

use super::PackageError;
use crate::disk;

const MAX_BYTES: u64 = 4 * 1024 * 1024;
const MAX_LABELS: usize = 100_000;
const MAX_LABEL_BYTES: usize = 256;

/// Reads a labels file. Blank lines at the end do not count; one in the middle is a mistake.
pub(super) fn read(path: &Path) -> Result<Vec<Arc<str>>, PackageError> {
    let bytes = disk::read_bounded(path, MAX_BYTES).map_err(|e| PackageError::read(path, &e))?;
    parse(&bytes).map_err(|reason| PackageError::Labels { path: path.to_owned(), reason })
}

fn parse(bytes: &[u8]) -> Result<Vec<Arc<str>>, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        format!("byte {} is no UTF-8; save the file as UTF-8", error.valid_up_to())
    })?;
    let text = text.trim_start_matches('\u{feff}').trim_end();
    if text.is_empty() {
        return Err("holds no label; write one a line".into());
    }
    let labels: Vec<Arc<str>> =
        text.lines().take(MAX_LABELS + 1).map(|l| l.trim().into()).collect();
    if labels.len() > MAX_LABELS {
        return Err(format!("holds more than {MAX_LABELS} labels"));
    }
    for (index, label) in labels.iter().enumerate() {
        if label.is_empty() || label.len() > MAX_LABEL_BYTES {
            return Err(format!(
                "line {} must hold one label of 1 to {MAX_LABEL_BYTES} bytes",
                index + 1
            ));
        }
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_lines() {
        let labels = parse("\u{feff}healthy\r\ninner race\n\n".as_bytes()).expect("labels");
        assert_eq!(labels.iter().map(|l| &**l).collect::<Vec<_>>(), ["healthy", "inner race"]);
    }

    #[test]
    fn what_is_no_label_is_refused_with_its_line() {
        assert!(parse(b"a\n\nb").expect_err("gap").starts_with("line 2 "));
        assert!(parse(b"a\xff").expect_err("latin").contains("byte 1"));
        assert!(parse(b" \n").expect_err("empty").contains("no label"));
        assert!(parse("x\n".repeat(MAX_LABELS + 1).as_bytes()).is_err());
    }
}
