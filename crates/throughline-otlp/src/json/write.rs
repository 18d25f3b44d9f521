//! Protobuf to OTLP/JSON, driven by the schema tables. Ids are hex, 64-bit integers strings, enums numbers.

use base64::Engine as _;
use serde_json::{Map, Value as Json};

use crate::schema::{self, Column, Kind, Repeated, Schema};
use crate::wire::{Field, Fields, MAX_DEPTH, Payload, WireError, little_endian, packed_varints};

/// Traces requests as one `{"resourceSpans": […]}`; equal resources and scopes stand together.
///
/// # Errors
/// [`WireError`] if one of them is not OTLP.
pub fn traces<'a>(requests: impl IntoIterator<Item = &'a [u8]>) -> Result<Json, WireError> {
    grouped(&schema::TRACES_REQUEST, requests, ["resourceSpans", "scopeSpans", "spans"])
}

/// Logs requests as one `{"resourceLogs": […]}`; equal resources and scopes stand together.
///
/// # Errors
/// [`WireError`] if one of them is not OTLP.
pub fn logs<'a>(requests: impl IntoIterator<Item = &'a [u8]>) -> Result<Json, WireError> {
    grouped(&schema::LOGS_REQUEST, requests, ["resourceLogs", "scopeLogs", "logRecords"])
}

fn grouped<'a>(
    schema: &Schema,
    requests: impl IntoIterator<Item = &'a [u8]>,
    [top, middle, leaves]: [&str; 3],
) -> Result<Json, WireError> {
    let mut groups: Vec<Json> = Vec::new();
    for request in requests {
        let mut request = message(schema, request, MAX_DEPTH)?;
        for mut resource in take_array(&mut request, top) {
            let scopes = take_array(&mut resource, middle);
            let into = same_group(&mut groups, resource, middle);
            for mut scope in scopes {
                let items = take_array(&mut scope, leaves);
                same_group(into, scope, leaves).extend(items);
            }
        }
    }
    let mut out = Map::new();
    out.insert(top.to_owned(), Json::Array(groups));
    Ok(Json::Object(out))
}

fn take_array(object: &mut Json, key: &str) -> Vec<Json> {
    match object.get_mut(key).map(Json::take) {
        Some(Json::Array(items)) => {
            if let Some(object) = object.as_object_mut() {
                object.remove(key);
            }
            items
        }
        _ => Vec::new(),
    }
}

/// The children of the group in `groups` that equals `frame`, which is added if there is none.
fn same_group<'g>(groups: &'g mut Vec<Json>, frame: Json, children: &str) -> &'g mut Vec<Json> {
    let same = |group: &Json| match (group, &frame) {
        (Json::Object(group), Json::Object(frame)) => {
            group.len() == frame.len() + 1 && frame.iter().all(|(key, value)| group.get(key) == Some(value))
        }
        _ => false,
    };
    let at = groups.iter().position(same).unwrap_or_else(|| {
        let mut group = frame.clone();
        if let Json::Object(group) = &mut group {
            group.insert(children.to_owned(), Json::Array(Vec::new()));
        }
        groups.push(group);
        groups.len() - 1
    });
    match groups.get_mut(at).and_then(|group| group.get_mut(children)) {
        Some(Json::Array(items)) => items,
        _ => unreachable!("the group has an array of children: it was found by that, or made with it"),
    }
}

fn message(schema: &Schema, bytes: &[u8], depth: u32) -> Result<Json, WireError> {
    let mut object = Map::new();
    for field in Fields::at_depth(bytes, depth) {
        let field = field?;
        let Some(column) = schema.column(field.number) else { continue };
        if column.repeated == Repeated::Yes {
            let items = object.entry(column.json).or_insert_with(|| Json::Array(Vec::new()));
            if let Json::Array(items) = items {
                extend(items, column, &field, depth)?;
            }
        } else {
            let new = one(column, &field, depth)?;
            match (object.get_mut(column.json), new) {
                (Some(Json::Object(before)), Json::Object(new)) => before.extend(new),
                (_, new) => drop(object.insert(column.json.to_owned(), new)),
            }
        }
    }
    Ok(Json::Object(object))
}

fn extend(items: &mut Vec<Json>, column: &Column, field: &Field<'_>, depth: u32) -> Result<(), WireError> {
    match (column.kind, field.payload) {
        (Kind::Fixed64 | Kind::Double, Payload::Bytes(packed)) => {
            for chunk in packed.chunks_exact(8) {
                let bits = little_endian(chunk);
                items.push(if matches!(column.kind, Kind::Double) {
                    double(f64::from_bits(bits))
                } else {
                    Json::from(bits.to_string())
                });
            }
        }
        (Kind::Uint64, Payload::Bytes(packed)) => {
            for value in packed_varints(packed) {
                items.push(Json::from(value?.to_string()));
            }
        }
        _ => items.push(one(column, field, depth)?),
    }
    Ok(())
}

fn one(column: &Column, field: &Field<'_>, depth: u32) -> Result<Json, WireError> {
    Ok(match column.kind {
        Kind::Text => Json::from(field.text()?),
        Kind::Hex => Json::from(hex(field.bytes()?)),
        Kind::Base64 => Json::from(base64::engine::general_purpose::STANDARD.encode(field.bytes()?)),
        Kind::Bool => Json::from(field.varint()? != 0),
        Kind::Uint32 => Json::from(field.varint32()?),
        Kind::Int32 | Kind::Enum(_) => Json::from(field.varint32()?.cast_signed()),
        Kind::Sint32 => {
            let raw = field.varint32()?;
            Json::from((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
        }
        Kind::Uint64 => Json::from(field.varint()?.to_string()),
        Kind::Int64 => Json::from(field.varint()?.cast_signed().to_string()),
        Kind::Fixed32 => Json::from(field.fixed32()?),
        Kind::Fixed64 => Json::from(field.fixed64()?.to_string()),
        Kind::Sfixed64 => Json::from(field.fixed64()?.cast_signed().to_string()),
        Kind::Double => double(f64::from_bits(field.fixed64()?)),
        Kind::Message(inner) => {
            message(inner, field.bytes()?, depth.checked_sub(1).ok_or(WireError::TooDeep)?)?
        }
    })
}

/// A double as JSON; what JSON cannot carry becomes its name, as protobuf's mapping has it.
pub(super) fn double(value: f64) -> Json {
    let name = if value.is_nan() {
        "NaN"
    } else if value == f64::INFINITY {
        "Infinity"
    } else if value == f64::NEG_INFINITY {
        "-Infinity"
    } else {
        return Json::from(value);
    };
    Json::from(name)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
