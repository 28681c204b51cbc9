//! A JSON document (RFC 8259), read forward and never stored.
//!
//! Arrays of numbers are what sensors send, thousands of times a second on a small core. The general
//! deserializer spends more on a number than the number takes to read, twice what this does
//! (`cargo bench --bench pipeline`, `decode`), so the walk is our own. The grammar is the standard's,
//! with two freedoms: bytes in a text need not be UTF-8 where nobody asks for them, and `NaN` or
//! `Infinity`, which other writers put, are told as what they are instead of as a stray letter.

use std::borrow::Cow;

use super::DecodeError;
use super::number::{behind_space, digits, short_number};

/// Arrays and objects that lie in one another.
pub(super) const MAX_DEPTH: usize = 128;

/// A whole scalar, or the start of what has parts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'d> {
    /// Its parts follow: [`Cursor::key`].
    Object,
    /// Its parts follow: [`Cursor::element`].
    Array,
    Number(Number<'d>),
    /// Between the quotes, escapes as they stand.
    Text(&'d [u8]),
    Bool(bool),
    Null,
    /// `NaN`, `Infinity` and the like, of which JSON knows none.
    NotANumber,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Number<'d> {
    /// The nearest there is; infinite where the number is larger than any.
    pub value: f64,
    /// As it stands in the document.
    pub text: &'d [u8],
}

/// Where the reading has come to.
#[derive(Debug)]
pub(super) struct Cursor<'d> {
    document: &'d [u8],
    at: usize,
    depth: usize,
    /// An array or object was entered, and nothing of it was read.
    fresh: bool,
}

impl<'d> Cursor<'d> {
    pub(super) fn new(document: &'d [u8]) -> Self {
        Self { document, at: 0, depth: 0, fresh: false }
    }

    /// The value here: a scalar is read, an array or object is entered.
    pub(super) fn value(&mut self) -> Result<Value<'d>, DecodeError> {
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'"') => self.text().map(Value::Text),
            Some(b'[') => self.enter().map(|()| Value::Array),
            Some(b'{') => self.enter().map(|()| Value::Object),
            _ => self.word(),
        }
    }

    /// Moves to the next element of the array that was entered; false at its end.
    #[inline]
    pub(super) fn element(&mut self) -> Result<bool, DecodeError> {
        self.part(b']', "`,` or `]`")
    }

    /// Reads the next element of the array that was entered, if it is a number as most are; otherwise
    /// nothing moves, and [`Cursor::element`] tells.
    #[inline]
    pub(super) fn short_number(&mut self) -> Option<f64> {
        let mut at = behind_space(self.document, self.at);
        if !self.fresh {
            if self.document.get(at) != Some(&b',') {
                return None;
            }
            at = behind_space(self.document, at + 1);
        }
        let (value, end) = short_number(self.document, at)?;
        (self.at, self.fresh) = (end, false);
        Some(value)
    }

    /// Moves to the next value of the object that was entered, and tells its key; `None` at its end.
    pub(super) fn key(&mut self) -> Result<Option<Cow<'d, [u8]>>, DecodeError> {
        if !self.part(b'}', "`,` or `}`")? {
            return Ok(None);
        }
        if self.peek() != Some(b'"') {
            return Err(self.fault("a key in quotes"));
        }
        let key = self.text()?;
        if self.peek() != Some(b':') {
            return Err(self.fault("`:`"));
        }
        self.at += 1;
        unescape(key).map(Some).ok_or_else(|| self.fault("a key with known escapes"))
    }

    /// Reads over the value here.
    pub(super) fn skip(&mut self) -> Result<(), DecodeError> {
        match self.value()? {
            Value::Array => {
                while self.element()? {
                    self.skip()?;
                }
            }
            Value::Object => {
                while self.key()?.is_some() {
                    self.skip()?;
                }
            }
            Value::NotANumber => return Err(self.fault("a finite number")),
            _ => {}
        }
        Ok(())
    }

    /// Nothing but space may follow.
    pub(super) fn end(&mut self) -> Result<(), DecodeError> {
        if self.peek().is_none() { Ok(()) } else { Err(self.fault("the end")) }
    }

    /// The document does not go on as it should.
    #[cold]
    pub(super) fn fault(&self, wanted: &str) -> DecodeError {
        let before = &self.document[..self.at];
        let mut lines = before.split(|b| *b == b'\n');
        let (line, column) = (lines.clone().count(), 1 + lines.next_back().map_or(0, <[u8]>::len));
        let reason = match self.document.get(self.at) {
            Some(_) => format!("{wanted} is missing at line {line} column {column}"),
            None => {
                format!("the payload ends at line {line} column {column} where {wanted} should be")
            }
        };
        DecodeError::Syntax { format: "JSON", reason }
    }

    /// The next byte that is no space.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        self.at = behind_space(self.document, self.at);
        self.document.get(self.at).copied()
    }

    fn enter(&mut self) -> Result<(), DecodeError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(DecodeError::Depth);
        }
        self.at += 1;
        self.fresh = true;
        Ok(())
    }

    #[inline]
    fn part(&mut self, close: u8, wanted: &str) -> Result<bool, DecodeError> {
        match self.peek() {
            Some(byte) if byte == close => {
                self.at += 1;
                self.depth -= 1;
                self.fresh = false;
                Ok(false)
            }
            Some(_) if std::mem::take(&mut self.fresh) => Ok(true),
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            _ => Err(self.fault(wanted)),
        }
    }

    fn number(&mut self) -> Result<Value<'d>, DecodeError> {
        let start = self.at;
        let value = match short_number(self.document, start) {
            Some((value, end)) => {
                self.at = end;
                value
            }
            None => match self.any_number()? {
                Some(value) => value,
                None => return Ok(Value::NotANumber),
            },
        };
        Ok(Value::Number(Number { value, text: &self.document[start..self.at] }))
    }

    /// Any number that the grammar knows; `None` for one that is none.
    #[cold]
    fn any_number(&mut self) -> Result<Option<f64>, DecodeError> {
        let start = self.at;
        self.at += usize::from(self.document[start] == b'-');
        let whole = self.digits();
        if whole == 0 {
            return match self.word() {
                Ok(Value::NotANumber) => Ok(None),
                _ => Err(self.fault("a digit")),
            };
        }
        if whole > 1 && self.document[self.at - whole] == b'0' {
            self.at = start;
            return Err(self.fault("a number without leading zeros"));
        }
        if self.document.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if matches!(self.document.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.document.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits()?;
        }
        let text = str::from_utf8(&self.document[start..self.at]).unwrap_or_default();
        text.parse().map(Some).map_err(|_| self.fault("a number"))
    }

    fn some_digits(&mut self) -> Result<(), DecodeError> {
        if self.digits() == 0 { Err(self.fault("a digit")) } else { Ok(()) }
    }

    /// Reads digits and counts them.
    fn digits(&mut self) -> usize {
        let (_, end) = digits(self.document, self.at, 0);
        let count = end - self.at;
        self.at = end;
        count
    }

    /// `true`, `false`, `null`, or what others write for a number that is none.
    fn word(&mut self) -> Result<Value<'d>, DecodeError> {
        let rest = &self.document[self.at..];
        let length = rest.iter().take_while(|b| b.is_ascii_alphabetic()).count();
        let word = &rest[..length];
        let starts = |with: &[u8]| word.get(..3).is_some_and(|w| w.eq_ignore_ascii_case(with));
        let value = match word {
            b"true" => Value::Bool(true),
            b"false" => Value::Bool(false),
            b"null" => Value::Null,
            _ if starts(b"nan") || starts(b"inf") => Value::NotANumber,
            _ => return Err(self.fault("a value")),
        };
        self.at += length;
        Ok(value)
    }

    /// What stands between the quotes; its escapes are looked at when they are wanted.
    fn text(&mut self) -> Result<&'d [u8], DecodeError> {
        self.at += 1;
        let start = self.at;
        while let Some(byte) = self.document.get(self.at) {
            match byte {
                b'"' => {
                    self.at += 1;
                    return Ok(&self.document[start..self.at - 1]);
                }
                b'\\' => self.escape()?,
                0..0x20 => return Err(self.fault("an escape for a control character")),
                _ => self.at += 1,
            }
        }
        Err(self.fault("`\"`"))
    }

    fn escape(&mut self) -> Result<(), DecodeError> {
        let rest = &self.document[self.at..];
        let length = match rest.get(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') if rest.get(2..6).is_some_and(|h| h.iter().all(u8::is_ascii_hexdigit)) => 6,
            _ => return Err(self.fault("a known escape")),
        };
        self.at += length;
        Ok(())
    }
}

/// A text without its escapes; `None` for half a surrogate pair.
pub(super) fn unescape(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !text.contains(&b'\\') {
        return Some(Cow::Borrowed(text));
    }
    let quoted = [b"\"", text, b"\""].concat();
    let text: String = serde_json::from_slice(&quoted).ok()?;
    Some(Cow::Owned(text.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accepts(document: &[u8]) -> bool {
        let mut cursor = Cursor::new(document);
        cursor.skip().and_then(|()| cursor.end()).is_ok()
    }

    fn number(text: &str) -> Option<f64> {
        match Cursor::new(text.as_bytes()).value() {
            Ok(Value::Number(number)) if number.text == text.as_bytes() => Some(number.value),
            _ => None,
        }
    }

    #[test]
    fn the_grammar_is_the_standards() {
        let good = [
            "0",
            "-0",
            "-0.0e-7",
            "1E+2",
            "[]",
            "{}",
            " [ 1 , 2 ] ",
            "\"\\u00e9\\n\"",
            "{\"\":[{}]}",
            "true",
            "null",
            "\r\n\t1",
        ];
        for text in good {
            assert!(accepts(text.as_bytes()), "{text}");
        }
        let bad = [
            "",
            " ",
            "01",
            "-",
            "-01",
            "1.",
            ".5",
            "+1",
            "1e",
            "1e+",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "[1}",
            "\"a",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\n\"",
            "tru",
            "truex",
            "nul",
            "1 2",
            "NaN",
            "-Infinity",
            "]",
            "{\"a\" 1}",
            "[",
        ];
        for text in bad {
            assert!(!accepts(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_fault_is_placed() {
        let mut cursor = Cursor::new(b"{\"a\":1,\n \"b\" 2}");
        let error = cursor.skip().expect_err("no colon").to_string();
        assert!(error.contains("`:` is missing at line 2 column 6"), "{error}");
        let error = Cursor::new(b"[1").skip().expect_err("no end").to_string();
        assert!(error.contains("ends at line 1 column 3 where `,` or `]` should be"), "{error}");
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_what_the_library_accepts(
            text in r#"([\[\]{},:]|"[xy\\nu/é]{0,3}"|-?[0-9]{1,3}(\.[0-9]{0,2})?([eE][+-]?[0-9]{0,3})?|null|true|false| ){0,12}"#
        ) {
            let library = serde_json::from_str::<serde_json::Value>(&text);
            // At a number larger than any the library gives up, and what follows is unknown.
            let large = |error: &serde_json::Error| error.to_string().starts_with("number out of");
            prop_assume!(!library.as_ref().is_err_and(large));
            let library = library.is_ok();
            prop_assert_eq!(accepts(text.as_bytes()), library, "{}", text);
        }

        #[test]
        fn numbers_are_the_nearest_there_are(
            text in r"-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?"
        ) {
            let value: f64 = text.parse().expect("a number");
            prop_assert_eq!(number(&text).map(f64::to_bits), Some(value.to_bits()));
        }
    }
}
