//! JSON: one pass over the text that stops only at the wanted places.
//!
//! The pointers become a tree; the document is walked along it, everything else is skipped without
//! being stored. The cursor bounds the depth, the payload's length bounds the rest.

use super::capture::Found;
use super::cursor::{Cursor, MAX_DEPTH, Value};
use super::{DecodeError, MAX_CHANNELS, pointer};
use crate::event::Samples;

#[derive(Debug, Clone)]
pub(super) struct JsonDecoder {
    fields: Vec<String>,
    tree: Node,
}

/// A place in the document: a wanted number, or the way to some.
#[derive(Debug, Clone, Default)]
struct Node {
    field: Option<usize>,
    /// Sorted by token.
    children: Vec<Child>,
}

#[derive(Debug, Clone)]
struct Child {
    token: String,
    /// The token as a place in an array.
    index: Option<usize>,
    node: Node,
}

impl JsonDecoder {
    pub(super) fn new(fields: &[String]) -> Result<Self, DecodeError> {
        let refuse = |value: &str, reason| DecodeError::Config { value: value.to_owned(), reason };
        if fields.len() > MAX_CHANNELS {
            return Err(refuse("fields", "has more than 4096 pointers"));
        }
        let mut tree = Node::default();
        for (field, text) in fields.iter().enumerate() {
            let parts = pointer::parse(text)?;
            if parts.len() >= MAX_DEPTH {
                return Err(refuse(text, "has more than 127 parts"));
            }
            if !tree.insert(parts, field) {
                return Err(refuse(text, "is, holds or lies within another of the fields"));
            }
        }
        Ok(Self { fields: fields.to_vec(), tree })
    }

    pub(super) fn decode(&self, payload: &[u8]) -> Result<Samples, DecodeError> {
        let mut found = Found::new(&self.fields, payload.len());
        let mut cursor = Cursor::new(payload);
        if self.fields.is_empty() {
            every(&mut cursor, &mut found)?;
        } else {
            walk(&self.tree, &mut cursor, &mut found)?;
        }
        cursor.end()?;
        found.into_samples()
    }
}

impl Node {
    /// False where another field is there, above or below.
    fn insert(&mut self, parts: Vec<String>, field: usize) -> bool {
        let mut node = self;
        for token in parts {
            if node.field.is_some() {
                return false;
            }
            let at = match node.find(token.as_bytes()) {
                Ok(at) => at,
                Err(at) => {
                    let index = pointer::array_index(&token);
                    node.children.insert(at, Child { token, index, node: Self::default() });
                    at
                }
            };
            node = &mut node.children[at].node;
        }
        let free = node.field.is_none() && node.children.is_empty();
        node.field = Some(field);
        free
    }

    fn find(&self, token: &[u8]) -> Result<usize, usize> {
        self.children.binary_search_by(|child| child.token.as_bytes().cmp(token))
    }
}

/// Follows the tree into the value at the cursor. A value that is no object or array has nothing below
/// it: the field will be missed at the end.
fn walk(node: &Node, cursor: &mut Cursor<'_>, found: &mut Found<'_>) -> Result<(), DecodeError> {
    let value = cursor.value()?;
    if let Some(field) = node.field {
        found.begin(field);
        numbers(value, 0, cursor, found)?;
        found.end(field);
        return Ok(());
    }
    match value {
        Value::Object => {
            while let Some(key) = cursor.key()? {
                match node.find(&key) {
                    Ok(at) => walk(&node.children[at].node, cursor, found)?,
                    Err(_) => cursor.skip()?,
                }
            }
        }
        Value::Array => {
            let mut at = 0;
            while cursor.element()? {
                match node.children.iter().find(|child| child.index == Some(at)) {
                    Some(child) => walk(&child.node, cursor, found)?,
                    None => cursor.skip()?,
                }
                at += 1;
            }
        }
        Value::NotANumber => return Err(cursor.fault("a value")),
        Value::Number(_) | Value::Text(_) | Value::Bool(_) | Value::Null => {}
    }
    Ok(())
}

/// A number, or arrays of them, for the field that was begun.
fn numbers(
    value: Value<'_>,
    depth: usize,
    cursor: &mut Cursor<'_>,
    found: &mut Found<'_>,
) -> Result<(), DecodeError> {
    match value {
        Value::Number(number) => found.push_at(number.value, depth),
        Value::Array => {
            let mut count = 0;
            loop {
                found.at = count;
                if let Some(number) = cursor.short_number() {
                    found.push_at(number, depth + 1)?;
                } else if cursor.element()? {
                    numbers(cursor.value()?, depth + 1, cursor, found)?;
                } else {
                    break;
                }
                count += 1;
            }
            found.close(depth + 1, count)
        }
        other => Err(found.wrong(other, depth)),
    }
}

/// Every number, wherever it is.
fn every(cursor: &mut Cursor<'_>, found: &mut Found<'_>) -> Result<(), DecodeError> {
    match cursor.value()? {
        Value::Number(number) => found.push(number.value, 0)?,
        Value::Array => {
            while cursor.element()? {
                every(cursor, found)?;
            }
        }
        Value::Object => {
            while cursor.key()?.is_some() {
                every(cursor, found)?;
            }
        }
        Value::NotANumber => return Err(found.wrong(Value::NotANumber, 0)),
        Value::Text(_) | Value::Bool(_) | Value::Null => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Order;
    use proptest::prelude::*;

    fn decode(fields: &[&str], payload: &str) -> Result<Samples, DecodeError> {
        let fields: Vec<_> = fields.iter().map(|f| (*f).to_owned()).collect();
        JsonDecoder::new(&fields).expect("pointers").decode(payload.as_bytes())
    }

    fn samples(channels: usize, order: Order, values: &[f32]) -> Samples {
        Samples { channels, order, values: values.to_vec() }
    }

    #[test]
    fn the_shapes_of_a_document() {
        use Order::{Interleaved, Planar};
        let cases: [(&[&str], &str, _); 9] = [
            (&["/x", "/y"], r#"{"x":1,"y":2.5}"#, samples(2, Interleaved, &[1., 2.5])),
            (&["/x", "/y"], r#"{"y":[3,4],"x":[1,2]}"#, samples(2, Planar, &[1., 2., 3., 4.])),
            (&["/x"], r#"{"t":"é","x":[1,2],"x":[3]}"#, samples(1, Interleaved, &[3.])),
            (
                &["/r"],
                r#"{"r":[[1,2],[3,4],[5,6]]}"#,
                samples(2, Interleaved, &[1., 2., 3., 4., 5., 6.]),
            ),
            (&[""], "[[[1,2]],[[3,4]]]", samples(2, Interleaved, &[1., 2., 3., 4.])),
            (&["/a~1b/1/~0"], r#"{"a/b":[0,{"~":7}]}"#, samples(1, Interleaved, &[7.])),
            (&["/b", "/a"], r#"{"a":1,"z":[{}],"b":2}"#, samples(2, Interleaved, &[2., 1.])),
            (
                &["/1", "/0"],
                "[-1,18446744073709551615]",
                samples(2, Interleaved, &[1.844_674_4e19, -1.]),
            ),
            (
                &[],
                r#"{"a":[1,{"b":2}],"c":"3","d":null,"e":4e0}"#,
                samples(1, Interleaved, &[1., 2., 4.]),
            ),
        ];
        for (fields, payload, expected) in cases {
            assert_eq!(decode(fields, payload), Ok(expected), "{payload}");
        }
    }

    #[test]
    fn every_error_names_its_field() {
        let brackets = "[".repeat(10_000);
        let deep = format!("{{\"x\":{brackets}");
        let cases: &[(&[&str], &str, &str, &str)] = &[
            (&["/x"], r#"{"y":1}"#, "missing_field", "`/x`"),
            (&["/x/y"], r#"{"x":1}"#, "missing_field", "`/x/y`"),
            (&["/x"], r#"{"x":"1"}"#, "wrong_type", "`/x` is the text \"1\""),
            (&["/x"], r#"{"x":null}"#, "wrong_type", "`/x` is null"),
            (&["/x"], r#"{"x":[1,true]}"#, "wrong_type", "`/x`[1] is true"),
            (&["/x"], r#"{"x":{"a":1}}"#, "wrong_type", "`/x` is an object"),
            (&["/x"], r#"{"x":[]}"#, "empty", "`/x`"),
            (&["/x"], r#"{"x":[[1,2],[3]]}"#, "wrong_length", "`/x`"),
            (&["/x"], r#"{"x":[[1,2],3]}"#, "wrong_length", "`/x`"),
            (
                &["/x", "/y"],
                r#"{"x":[1,2],"y":[1]}"#,
                "wrong_length",
                "`/y` has 1 number in an array, `/x` has 2",
            ),
            (&["/x", "/y"], r#"{"x":[1],"y":1}"#, "wrong_length", "`/y` has a single number"),
            (&["/y"], r#"{"x":1e999,"y":1e999}"#, "not_finite", "`/y`"),
            (&["/y"], r#"{"y":[1,1e39]}"#, "not_finite", "`/y`[1]"),
            (&["/y"], r#"{"y":[1,NaN]}"#, "not_finite", "`/y`"),
            (&["/y"], r#"{"y":-Infinity}"#, "not_finite", "`/y`"),
            (&["/y"], r#"{"y":1"#, "syntax", "line 1"),
            (&["/y"], r#"{"y":1} x"#, "syntax", "line 1"),
            (&["/y"], "\u{0}\u{1}", "syntax", "JSON"),
            (&["/x"], &deep, "depth", "128"),
            (&[""], &brackets, "depth", "128"),
            (&[], &deep, "depth", "128"),
            (&["/y"], &deep, "depth", "128"),
            (&["/y"], r#"{"x":[1,[2"#, "syntax", "ends at line 1"),
            (&[], r#"{"a":"1"}"#, "empty", "payload"),
        ];
        for (fields, payload, kind, text) in cases {
            let error = decode(fields, payload).expect_err(payload);
            let short: String = payload.chars().take(60).collect();
            assert_eq!(error.kind(), *kind, "{short}: {error}");
            assert!(error.to_string().contains(text), "{short}: {error}");
        }
    }

    #[test]
    fn a_bad_pointer_is_refused_with_its_text() {
        for fields in
            [vec!["x"], vec!["/a~2"], vec!["/a", "/a"], vec!["/a/b", "/a"], vec!["", "/a"]]
        {
            let fields: Vec<_> = fields.into_iter().map(str::to_owned).collect();
            let error = JsonDecoder::new(&fields).expect_err("no pointers");
            let last = fields.last().expect("a field");
            assert!(error.to_string().contains(&format!("`{last}`")), "{error}");
        }
        assert!(JsonDecoder::new(&["/a".repeat(128)]).is_err());
    }

    proptest! {
        #[test]
        fn numbers_survive_the_round_trip(values in prop::collection::vec(-1e30_f32..1e30, 1..50)) {
            let text = serde_json::to_string(&serde_json::json!({ "t": [0], "x": values })).expect("json");
            prop_assert_eq!(decode(&["/x"], &text), Ok(samples(1, Order::Interleaved, &values)));
        }
    }
}
