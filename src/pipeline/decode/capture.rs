//! The numbers that a JSON document gave, and the shape in which it gave them.

use super::cursor::{Value, unescape};
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
    pub(super) at: usize,
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

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "what f32 cannot hold becomes infinite")]
    pub(super) fn push(&mut self, value: f64, depth: usize) -> Result<(), DecodeError> {
        let value = value as f32;
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
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "what f32 cannot hold becomes infinite")]
    pub(super) fn push_at(&mut self, value: f64, depth: usize) -> Result<(), DecodeError> {
        let narrow = value as f32;
        if self.span.depth != Some(depth) || !narrow.is_finite() || self.values.len() >= MAX_VALUES
        {
            return self.push_first(value, depth);
        }
        self.values.push(narrow);
        Ok(())
    }

    /// The first number of a field, or one too many, or none that may be there.
    #[cold]
    fn push_first(&mut self, value: f64, depth: usize) -> Result<(), DecodeError> {
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
    pub(super) fn close(&mut self, depth: usize, count: usize) -> Result<(), DecodeError> {
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

    /// What stands where a number should.
    pub(super) fn wrong(&self, value: Value<'_>, depth: usize) -> DecodeError {
        let found = match value {
            Value::NotANumber => return DecodeError::NotFinite { place: self.place(depth) },
            Value::Object => "an object".to_owned(),
            Value::Array => "an array".to_owned(),
            Value::Number(_) => "a number".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Null => "null".to_owned(),
            Value::Text(text) => {
                let text = unescape(text).unwrap_or(text.into());
                let text = String::from_utf8_lossy(&text);
                format!("the text {:?}", text.chars().take(20).collect::<String>())
            }
        };
        DecodeError::WrongType { place: self.place(depth), found }
    }

    pub(super) fn into_samples(self) -> Result<Samples, DecodeError> {
        if self.fields.is_empty() {
            return if self.values.is_empty() {
                Err(DecodeError::Empty { what: "the list of numbers in the payload".to_owned() })
            } else {
                Ok(Samples { channels: 1, order: Order::Interleaved, values: self.values })
            };
        }
        if let Some(missing) = self.spans.iter().position(Option::is_none) {
            return Err(DecodeError::MissingField { pointer: self.fields[missing].clone() });
        }
        let spans = || self.spans.iter().flatten();
        let first = spans().next().copied().unwrap_or_default();
        let odd = |span: &Span| {
            span.len() != first.len() || (span.depth == Some(0)) != (first.depth == Some(0))
        };
        if let Some((odd, span)) = spans().enumerate().find(|(_, span)| odd(span)) {
            return Err(DecodeError::WrongLength {
                place: format!("`{}`", self.fields[odd]),
                found: span.describe(),
                wanted: format!("`{}` has {}", self.fields[0], first.describe()),
            });
        }
        let rows = self.spans.len() == 1 && first.depth > Some(1);
        let channels = if rows { first.inner } else { self.spans.len() };
        if channels > MAX_CHANNELS {
            return Err(DecodeError::WrongLength {
                place: format!("`{}`", self.fields[0]),
                found: format!("arrays of {channels}"),
                wanted: format!("at most {MAX_CHANNELS} channels are decoded"),
            });
        }
        let planar = !rows && channels > 1 && first.len() > 1;
        let order = if planar { Order::Planar } else { Order::Interleaved };
        Ok(Samples { channels, order, values: in_order(self.values, &self.spans) })
    }
}

/// The values of each span in turn; nothing moves where the document had them in that order.
fn in_order(values: Vec<f32>, spans: &[Option<Span>]) -> Vec<f32> {
    let spans = || spans.iter().flatten();
    let mut next = 0;
    let straight = spans().all(|span| {
        let follows = span.start == next;
        next = span.end;
        follows
    });
    if straight && next == values.len() {
        values
    } else {
        spans().flat_map(|span| &values[span.start..span.end]).copied().collect()
    }
}
