//! JSON Pointers (RFC 6901).

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

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
    let mut text = None;
    let mut json = serde_json::Deserializer::from_slice(payload);
    // The error is how the walk ends as soon as the place is found.
    drop(Walk { pointer, text: &mut text }.deserialize(&mut json));
    text
}

/// Follows `pointer` into one value.
struct Walk<'w> {
    pointer: &'w str,
    text: &'w mut Option<String>,
}

impl<'w> Walk<'w> {
    /// The first part, still escaped, and the pointer behind it.
    fn split(&self) -> Option<(&'w str, &'w str)> {
        let parts = self.pointer.strip_prefix('/')?;
        Some(parts.find('/').map_or((parts, ""), |at| parts.split_at(at)))
    }

    fn take(self, text: &str) {
        if self.pointer.is_empty() && (1..=MAX_TEXT).contains(&text.len()) {
            *self.text = Some(text.to_owned());
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((part, pointer)) = self.split() else { return Err(A::Error::custom("found")) };
        while let Some(found) = map.next_key_seed(IsKey(part))? {
            if found {
                map.next_value_seed(Walk { pointer, text: self.text })?;
                return Err(A::Error::custom("found"));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let place = self.split().and_then(|(part, rest)| Some((array_index(part)?, rest)));
        let Some((index, pointer)) = place else { return Err(A::Error::custom("found")) };
        for _ in 0..index {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        seq.next_element_seed(Walk { pointer, text: self.text })?;
        Err(A::Error::custom("found"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.take(text);
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.take(&value.to_string());
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.take(&value.to_string());
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Whether a key is the one that an escaped part names.
struct IsKey<'w>(&'w str);

impl<'de> DeserializeSeed<'de> for IsKey<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for IsKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        Ok(if self.0.contains('~') {
            unescape(self.0).as_deref() == Some(key)
        } else {
            self.0 == key
        })
    }
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
