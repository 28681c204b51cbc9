//! Secrets come from files.

use std::path::Path;

/// No user name or password is longer on the wire of MQTT.
const LONGEST: u64 = 65_535;

/// The one line of text in a file, without the line break at its end. The error names the file and
/// never shows what is in it.
pub fn read_secret(path: &Path) -> Result<String, String> {
    let fail = |found: &str| format!("{}: {found}; expected one line of text", path.display());
    let size = std::fs::metadata(path).map_err(|error| fail(&error.to_string()))?.len();
    if size > LONGEST {
        return Err(fail("is too long"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| fail(&error.to_string()))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(fail("is empty"));
    }
    if secret.contains(['\r', '\n']) {
        return Err(fail("holds several lines"));
    }
    Ok(secret.to_owned())
}
