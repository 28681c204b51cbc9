//! JSON as the values of OTLP.

use serde_json::{Number, Value};

use super::message::{AnyKind, AnyValue, ArrayValue, KeyValue, KeyValueList};

/// What lies deeper is written as JSON. Decoders give up at a hundred messages in each other, and each level takes
/// three.
const DEEPEST: usize = 16;

/// The attribute `key`.
pub(super) fn attribute(key: &str, value: impl Into<Value>) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(value.into())) }
}

/// A text.
pub(super) fn text(text: impl Into<String>) -> AnyValue {
    AnyValue { kind: Some(AnyKind::Text(text.into())) }
}

/// All of a JSON value.
pub(super) fn any(value: Value) -> AnyValue {
    level(value, DEEPEST)
}

fn level(value: Value, left: usize) -> AnyValue {
    let kind = match value {
        Value::Null => None,
        Value::Bool(yes) => Some(AnyKind::Bool(yes)),
        Value::Number(number) => Some(numeric(&number)),
        Value::String(text) => Some(AnyKind::Text(text)),
        deep if left == 0 => Some(AnyKind::Text(deep.to_string())),
        Value::Array(values) => {
            let values = values.into_iter().map(|value| level(value, left - 1)).collect();
            Some(AnyKind::Array(ArrayValue { values }))
        }
        Value::Object(table) => {
            let pair = |(key, value)| KeyValue { key, value: Some(level(value, left - 1)) };
            let values = table.into_iter().map(pair).collect();
            Some(AnyKind::Table(KeyValueList { values }))
        }
    };
    AnyValue { kind }
}

/// A whole number that is too large for OTLP stays whole, as a text.
fn numeric(number: &Number) -> AnyKind {
    match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(int), _, _) => AnyKind::Int(int),
        (None, None, Some(double)) => AnyKind::Double(double),
        _ => AnyKind::Text(number.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_of_value_has_its_own() {
        let whole = json!({ "list": [1, -2.5, true, null, "x"], "huge": u64::MAX });
        let int = AnyValue { kind: Some(AnyKind::Int(1)) };
        let double = AnyValue { kind: Some(AnyKind::Double(-2.5)) };
        let yes = AnyValue { kind: Some(AnyKind::Bool(true)) };
        let values = vec![int, double, yes, AnyValue { kind: None }, text("x")];
        let list = AnyValue { kind: Some(AnyKind::Array(ArrayValue { values })) };
        let pairs = [("huge", text(u64::MAX.to_string())), ("list", list)];
        let values = pairs.map(|(key, value)| KeyValue { key: key.into(), value: Some(value) });
        let table = KeyValueList { values: values.into() };
        assert_eq!(any(whole), AnyValue { kind: Some(AnyKind::Table(table)) });
    }

    #[test]
    fn what_lies_deep_is_json_and_can_be_decoded() {
        use prost::Message as _;

        let mut deep = json!({ "x": 1 });
        for _ in 0..100 {
            deep = json!([deep]);
        }
        let bytes = any(deep).encode_to_vec();
        assert!(String::from_utf8_lossy(&bytes).contains("[[[{\"x\":1}]]]"));
        assert!(AnyValue::decode(&bytes[..]).is_ok());
    }
}
