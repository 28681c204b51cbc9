//! Secrets come from files.

use std::path::Path;

use hyper::header::HeaderValue;

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

/// The value of an `Authorization` header with the token in a file, read anew. The file is read on a thread
/// of its own: a card that hangs holds up this request and no other task.
pub async fn bearer(path: &Path) -> Result<HeaderValue, String> {
    authorization("Bearer", path).await
}

/// The same with another word before the token.
pub async fn authorization(scheme: &str, path: &Path) -> Result<HeaderValue, String> {
    let file = path.to_owned();
    let token = tokio::task::spawn_blocking(move || read_secret(&file)).await;
    let token = token.map_err(|error| error.to_string())??;
    let mut value = HeaderValue::from_str(&format!("{scheme} {token}"))
        .map_err(|_| format!("{}: holds control characters", path.display()))?;
    value.set_sensitive(true);
    Ok(value)
}
