//! OTLP JSON in and out, and plain JSON for people and programs.
//!
//! - [`to_protobuf`]: an OTLP/JSON request as the protobuf request it stands for, at the door.
//! - [`traces`], [`logs`]: stored requests as OTLP/JSON, for the query APIs.
//! - [`value`], [`attributes`]: a value the way viewers show it.

mod read;
mod write;

pub use read::{JsonError, to_protobuf};
use serde_json::{Map, Value as Json};
pub use write::{logs, traces};

use crate::model::{KeyValue, Value};

impl Value {
    /// The value as text: strings, bytes (hex) and infinities bare, the rest as JSON would write it.
    #[must_use]
    pub fn to_text(&self) -> String {
        match value(self) {
            Json::String(text) => text,
            other => other.to_string(),
        }
    }
}

/// A value as plain JSON, the way viewers show it: bytes as hex, 64-bit integers as numbers, a double that JSON cannot
/// carry (NaN, infinities) as its name.
#[must_use]
pub fn value(value: &Value) -> Json {
    match value {
        Value::Empty => Json::Null,
        Value::Str(s) => Json::from(s.as_str()),
        Value::Bool(b) => Json::from(*b),
        Value::Int(i) => Json::from(*i),
        Value::Double(d) => write::double(*d),
        Value::Bytes(b) => Json::from(write::hex(b)),
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
