//! JSON Pointers (RFC 6901).

use super::DecodeError;
use super::cursor::{self, Cursor, Value};

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

/// A part as a place in an array (RFC 6901, section 4): digits without leading zeros.
pub(super) fn array_index(part: &str) -> Option<usize> {
    let plain = part == "0" || !part.starts_with('0');
    if plain && part.bytes().all(|b| b.is_ascii_digit()) { part.parse().ok() } else { None }
}

/// Whether a text is a JSON Pointer; the error says why not.
pub fn check_pointer(pointer: &str) -> Result<(), DecodeError> {
    parse(pointer).map(drop)
}

/// No name of a message is longer, in bytes; a longer one counts as none, since cutting it would
/// make two messages one.
const MAX_TEXT: usize = 128;

/// The text or integer at `pointer`, as the name of a message; `None` where there is none, and where
/// the payload is no JSON up to there. What follows is not looked at.
pub fn pointer_text(payload: &[u8], pointer: &str) -> Option<String> {
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return None;
    }
    let mut rest = pointer;
    let mut cursor = Cursor::new(payload);
    loop {
        let value = cursor.value().ok()?;
        let Some(parts) = rest.strip_prefix('/') else { return name(value) };
        let part;
        (part, rest) = parts.find('/').map_or((parts, ""), |at| parts.split_at(at));
        match value {
            Value::Object => {
                let wanted = unescape(part)?;
                while *cursor.key().ok()?? != *wanted.as_bytes() {
                    cursor.skip().ok()?;
                }
            }
            Value::Array => {
                for at in 0..=array_index(part)? {
                    if at > 0 {
                        cursor.skip().ok()?;
                    }
                    if !cursor.element().ok()? {
                        return None;
                    }
                }
            }
            _ => return None,
        }
    }
}

/// A text or integer as a name, if it can be one.
fn name(value: Value<'_>) -> Option<String> {
    let name = match value {
        Value::Text(text) => cursor::unescape(text)?,
        Value::Number(number) if !number.text.iter().any(|b| b".eE".contains(b)) => {
            number.text.into()
        }
        _ => return None,
    };
    let fits = (1..=MAX_TEXT).contains(&name.len());
    String::from_utf8(name.into_owned()).ok().filter(|_| fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_integers_are_names() {
        let payload =
            br#"{"a":[{"id":"x-1"},-7],"seq":18446744073709551615,"f":1.5,"t/~":"y","n":null}"#;
        for (pointer, text) in [
            ("/a/0/id", Some("x-1")),
            ("/a/1", Some("-7")),
            ("/seq", Some("18446744073709551615")),
            ("/t~1~0", Some("y")),
            ("/f", None),
            ("/n", None),
            ("/a", None),
            ("/a/01", None),
            ("/a/2", None),
            ("/a/0/id/0", None),
            ("", None),
            ("seq", None),
        ] {
            assert_eq!(pointer_text(payload, pointer).as_deref(), text, "{pointer}");
        }
        assert_eq!(pointer_text(b"\"whole\"", "").as_deref(), Some("whole"));
    }

    #[test]
    fn a_name_is_bounded_and_never_cut() {
        let long = |n| serde_json::json!({ "id": "x".repeat(n) }).to_string();
        assert!(pointer_text(long(128).as_bytes(), "/id").is_some());
        assert_eq!(pointer_text(long(129).as_bytes(), "/id"), None);
        assert_eq!(pointer_text("[".repeat(10_000).as_bytes(), &"/0".repeat(10_000)), None);
        assert_eq!(pointer_text(b"{\"id\":\"\"}", "/id"), None);
    }
}
