//! JSON Pointers (RFC 6901).

use super::DecodeError;

/// The parts of a pointer, unescaped; none for the whole document.
pub(super) fn parse(pointer: &str) -> Result<Vec<String>, DecodeError> {
    let refuse = |reason| DecodeError::Config { value: pointer.to_owned(), reason };
    let Some(parts) = pointer.strip_prefix('/') else {
        return if pointer.is_empty() {
            Ok(Vec::new())
        } else {
            Err(refuse("is no JSON Pointer; it starts with `/`"))
        };
    };
    parts
        .split('/')
        .map(|part| {
            unescape(part)
                .ok_or_else(|| refuse("is no JSON Pointer; `~` is written `~0`, `/` `~1`"))
        })
        .collect()
}

/// `None` where a `~` is followed by neither `0` nor `1`.
fn unescape(part: &str) -> Option<String> {
    let mut pieces = part.split('~');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match piece.split_at_checked(1)? {
            ("0", rest) => out.extend(["~", rest]),
            ("1", rest) => out.extend(["/", rest]),
            _ => return None,
        }
    }
    Some(out)
}

/// STUB
pub fn pointer_text(_payload: &[u8], _pointer: &str) -> Option<String> {
    None
}
