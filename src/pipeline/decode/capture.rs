//! The numbers that a JSON document gave, and the shape in which it gave them.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{DecodeError, MAX_CHANNELS, MAX_VALUES};
use crate::event::{Order, Samples};

/// What was found so far.
#[derive(Debug)]
pub(super) struct Found<'f> {
    fields: &'f [String],
    /// In the order of the document.
    values: Vec<f32>,
    /// One a field; `None` until it is found.
    spans: Vec<Option<Span>>,
    /// The field whose value is being read.
    current: Option<usize>,
    span: Span,
    /// The place of the element being read, innermost array only.
    at: usize,
    /// Why the walk was given up; `serde` can carry only text.
    error: Option<DecodeError>,
}

/// The numbers of one field.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: usize,
    end: usize,
    /// In how many arrays each number lies; `None` before the first number.
    depth: Option<usize>,
    /// The length of the innermost arrays; 0 until the first is complete.
    inner: usize,
}

impl Span {
    fn len(&self) -> usize {
        self.end - self.start
    }

    fn describe(&self) -> String {
        match (self.depth, self.len()) {
            (Some(0), _) => "a single number".to_owned(),
            (_, 1) => "1 number in an array".to_owned(),
            (_, n) => format!("{n} numbers"),
        }
    }
}

impl<'f> Found<'f> {
    /// For a document of `bytes` bytes; a number in one takes about eight of them.
    pub(super) fn new(fields: &'f [String], bytes: usize) -> Self {
        Self {
            fields,
            values: Vec::with_capacity((bytes / 8).min(MAX_VALUES)),
            spans: vec![None; fields.len()],
            current: None,
            span: Span::default(),
            at: 0,
            error: None,
        }
    }

    /// A key that comes twice counts as it came last.
    pub(super) fn begin(&mut self, field: usize) {
        self.current = Some(field);
        self.span = Span { start: self.values.len(), ..Span::default() };
    }

    pub(super) fn end(&mut self, field: usize) {
        self.span.end = self.values.len();
        self.spans[field] = Some(self.span);
        self.current = None;
    }

    /// The field being read, and the element within its innermost array.
    fn place(&self, depth: usize) -> String {
        let field = match self.current {
            Some(field) => format!("`{}`", self.fields[field]),
            None => "the payload".to_owned(),
        };
        if depth == 0 { field } else { format!("{field}[{}]", self.at) }
    }

    fn push(&mut self, value: f32, depth: usize) -> Result<(), DecodeError> {
        if !value.is_finite() {
            return Err(DecodeError::NotFinite { place: self.place(depth) });
        }
        if self.values.len() == MAX_VALUES {
            return Err(DecodeError::TooMany { limit: MAX_VALUES });
        }
        self.values.push(value);
        Ok(())
    }

    /// Each number of a field lies equally deep.
    fn push_at(&mut self, value: f32, depth: usize) -> Result<(), DecodeError> {
        let expected = *self.span.depth.get_or_insert(depth);
        if expected != depth {
            return Err(DecodeError::WrongLength {
                place: self.place(0),
                found: format!("numbers in {expected} and in {depth} arrays"),
                wanted: "all must lie equally deep".to_owned(),
            });
        }
        self.push(value, depth)
    }

    /// An array of `count` elements is complete; its elements lie at `depth`.
    fn close(&mut self, depth: usize, count: usize) -> Result<(), DecodeError> {
        if count == 0 {
            return Err(DecodeError::Empty { what: format!("an array of {}", self.place(0)) });
        }
        if self.span.depth == Some(depth) {
            if self.span.inner == 0 {
                self.span.inner = count;
            }
            if self.span.inner != count {
                return Err(DecodeError::WrongLength {
                    place: self.place(0),
                    found: format!("an array of {count}"),
                    wanted: format!("the first has {}", self.span.inner),
                });
            }
        }
        Ok(())
    }

    /// Ends the walk with an error of ours.
    fn fail<E: Error>(&mut self, error: DecodeError) -> E {
        self.error = Some(error);
        E::custom("")
    }

    /// What the error of the parser means.
    pub(super) fn explain(self, payload: &[u8], error: &serde_json::Error) -> DecodeError {
        let text = error.to_string();
        if let Some(ours) = self.error {
            ours
        } else if text.starts_with("recursion limit") {
            DecodeError::Depth
        } else if self.current.is_some()
            && (text.starts_with("number out of range") || not_a_number(payload, error))
        {
            DecodeError::NotFinite { place: self.place(0) }
        } else {
            DecodeError::Syntax { format: "JSON", reason: text }
        }
    }

    pub(super) fn into_samples(self) -> Result<Samples, DecodeError> {
        if self.fields.is_empty() {
            return if self.values.is_empty() {
                Err(DecodeError::Empty { what: "the list of numbers in the payload".to_owned() })
            } else {
                Ok(Samples { channels: 1, order: Order::Interleaved, values: self.values })
            };
        }
        let spans = self
            .spans
            .iter()
            .zip(self.fields)
            .map(|(span, pointer)| {
                span.ok_or_else(|| DecodeError::MissingField { pointer: pointer.clone() })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let first = spans[0];
        let odd = |span: &Span| {
            span.len() != first.len() || (span.depth == Some(0)) != (first.depth == Some(0))
        };
        if let Some(odd) = spans.iter().position(odd) {
            return Err(DecodeError::WrongLength {
                place: format!("`{}`", self.fields[odd]),
                found: spans[odd].describe(),
                wanted: format!("`{}` has {}", self.fields[0], first.describe()),
            });
        }
        let rows = spans.len() == 1 && first.depth > Some(1);
        let channels = if rows { first.inner } else { spans.len() };
        if channels > MAX_CHANNELS {
            return Err(DecodeError::WrongLength {
                place: format!("`{}`", self.fields[0]),
                found: format!("arrays of {channels}"),
                wanted: format!("at most {MAX_CHANNELS} channels are decoded"),
            });
        }
        let planar = !rows && channels > 1 && first.len() > 1;
        let order = if planar { Order::Planar } else { Order::Interleaved };
        Ok(Samples { channels, order, values: in_order(self.values, &spans) })
    }
}

/// The values of each span in turn; nothing moves where the document had them in that order.
fn in_order(values: Vec<f32>, spans: &[Span]) -> Vec<f32> {
    let mut next = 0;
    let straight = spans.iter().all(|span| {
        let follows = span.start == next;
        next = span.end;
        follows
    });
    if straight && next == values.len() {
        values
    } else {
        spans.iter().flat_map(|span| &values[span.start..span.end]).copied().collect()
    }
}

/// Whether the parser stopped at what other writers of JSON put for a number that is none.
fn not_a_number(payload: &[u8], error: &serde_json::Error) -> bool {
    let line = payload.split(|b| *b == b'\n').nth(error.line().saturating_sub(1));
    let near = line.and_then(|line| {
        let at = error.column().min(line.len());
        line.get(at.saturating_sub(3)..(at + 8).min(line.len()))
    });
    let near = near.map(<[u8]>::to_ascii_lowercase).unwrap_or_default();
    near.windows(3).any(|word| word == b"nan" || word == b"inf")
}

/// Reads a number, or arrays of them, into the field that was begun.
pub(super) struct Number<'w, 'f> {
    pub(super) found: &'w mut Found<'f>,
    pub(super) depth: usize,
}

impl Number<'_, '_> {
    #[expect(clippy::cast_possible_truncation, reason = "what f32 cannot hold becomes infinite")]
    fn number<E: Error>(self, value: f64) -> Result<(), E> {
        self.found.push_at(value as f32, self.depth).map_err(|error| self.found.fail(error))
    }

    fn wrong<E: Error>(self, found: &str) -> E {
        let place = self.found.place(self.depth);
        self.found.fail(DecodeError::WrongType { place, found: found.to_owned() })
    }
}

impl<'de> DeserializeSeed<'de> for Number<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Number<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or an array of numbers")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.number(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.number(value as f64)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.number(value as f64)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let depth = self.depth + 1;
        let mut count = 0;
        loop {
            self.found.at = count;
            if seq.next_element_seed(Number { found: &mut *self.found, depth })?.is_none() {
                break;
            }
            count += 1;
        }
        self.found.close(depth, count).map_err(|error| self.found.fail(error))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(self.wrong("an object"))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        Err(self.wrong(if value { "true" } else { "false" }))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let text: String = text.chars().take(20).collect();
        Err(self.wrong(&format!("the text {text:?}")))
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Err(self.wrong("null"))
    }
}

/// Reads every number, wherever it is.
pub(super) struct Every<'w, 'f>(pub(super) &'w mut Found<'f>);

impl Every<'_, '_> {
    #[expect(clippy::cast_possible_truncation, reason = "what f32 cannot hold becomes infinite")]
    fn number<E: Error>(self, value: f64) -> Result<(), E> {
        self.0.push(value as f32, 0).map_err(|error| self.0.fail(error))
    }
}

impl<'de> DeserializeSeed<'de> for Every<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Every<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.number(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.number(value as f64)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.number(value as f64)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Every(&mut *self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key::<serde::de::IgnoredAny>()?.is_some() {
            map.next_value_seed(Every(&mut *self.0))?;
        }
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}
