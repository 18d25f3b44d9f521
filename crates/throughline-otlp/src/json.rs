//! OTLP JSON in and out.

use serde_json::{Map, Value as Json};

use crate::model::{KeyValue, Value};

/// A value as plain JSON, the way viewers show it: bytes as hex, 64-bit integers as numbers.
#[must_use]
pub fn value(value: &Value) -> Json {
    match value {
        Value::Empty => Json::Null,
        Value::Str(s) => Json::from(s.as_str()),
        Value::Bool(b) => Json::from(*b),
        Value::Int(i) => Json::from(*i),
        Value::Double(d) => Json::from(*d),
        Value::Bytes(b) => Json::from(b.iter().map(|b| format!("{b:02x}")).collect::<String>()),
        Value::Array(items) => items.iter().map(self::value).collect(),
        Value::Map(entries) => Json::Object(attributes(entries)),
    }
}

/// Attributes as one plain JSON object; the first of two equal keys counts.
#[must_use]
pub fn attributes(entries: &[KeyValue]) -> Map<String, Json> {
    let mut object = Map::new();
    for entry in entries {
        object.entry(entry.key.clone()).or_insert_with(|| value(&entry.value));
    }
    object
}
