//! OTLP/JSON to protobuf, driven by the schema tables: one pass over the text, no tree in between.
//!
//! Follows the OTLP specification's JSON mapping: ids are hex, enums are numbers (names are taken too), 64-bit integers
//! may be strings, unknown fields are ignored, `null` is absent.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::Signal;
use crate::schema::{self, Column, Kind, Repeated, Schema};
use crate::wire::{put_bytes, put_tag, put_varint};

/// What is wrong with an OTLP/JSON request: the text says what, and at which line and column.
#[derive(Debug, thiserror::Error)]
#[error("not OTLP/JSON: {0}")]
pub struct JsonError(#[from] serde_json::Error);

/// The protobuf request that an OTLP/JSON request stands for.
///
/// # Errors
/// [`JsonError`] on malformed JSON, a value of the wrong type, an id that is not hex, a number out of range.
pub fn to_protobuf(signal: Signal, json: &[u8]) -> Result<Vec<u8>, JsonError> {
    let schema = match signal {
        Signal::Traces => &schema::TRACES_REQUEST,
        Signal::Logs => &schema::LOGS_REQUEST,
        Signal::Metrics => &schema::METRICS_REQUEST,
    };
    let mut out = Vec::with_capacity(json.len() / 2);
    let mut text = serde_json::Deserializer::from_slice(json);
    MessageSeed { schema, out: &mut out }.deserialize(&mut text)?;
    text.end()?;
    Ok(out)
}

struct MessageSeed<'o> {
    schema: &'static Schema,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for MessageSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MessageSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object ({})", self.schema.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            match self.schema.named(&name) {
                Some(column) => {
                    map.next_value_seed(FieldSeed { column, element: Repeated::No, out: self.out })?
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// A field's value, or (`element`) one element of a repeated field.
struct FieldSeed<'o> {
    column: &'static Column,
    element: Repeated,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FieldSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match (self.wants_array(), self.column.kind) {
            (true, _) => "an array",
            (false, Kind::Text) => "a string",
            (false, Kind::Hex) => "a string of hex digits",
            (false, Kind::Base64) => "a base64 string",
            (false, Kind::Bool) => "a boolean",
            (false, Kind::Message(inner)) => {
                return write!(f, "an object ({}) in `{}`", inner.name, self.column.json);
            }
            (false, Kind::Double) => "a number",
            (false, _) => "an integer",
        };
        write!(f, "{what} in `{}`", self.column.json)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        if self.element == Repeated::Yes {
            Err(E::invalid_type(serde::de::Unexpected::Unit, &self))
        } else {
            Ok(())
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if !self.wants_array() {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Seq, &self));
        }
        loop {
            let element = FieldSeed { column: self.column, element: Repeated::Yes, out: &mut *self.out };
            if seq.next_element_seed(element)?.is_none() {
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Kind::Message(schema) = self.column.kind else {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self));
        };
        if self.wants_array() {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self));
        }
        let mut inner = Vec::new();
        MessageSeed { schema, out: &mut inner }.visit_map(map)?;
        put_bytes(self.out, self.column.number, &inner);
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.column.kind {
            Kind::Bool if !self.wants_array() => self.put_varint(u64::from(value)),
            _ => return Err(E::invalid_type(serde::de::Unexpected::Bool(value), &self)),
        }
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.integer(i128::from(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.integer(i128::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        match self.column.kind {
            _ if self.wants_array() => Err(E::invalid_type(serde::de::Unexpected::Float(value), &self)),
            Kind::Double => {
                self.put_fixed64(value.to_bits());
                Ok(())
            }
            // `1e3` is an integer in JSON's eyes too.
            #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and within 64 bits")]
            _ if value.fract() == 0.0 && value.abs() < 9.2e18 => self.integer(value as i128),
            _ => Err(E::invalid_type(serde::de::Unexpected::Float(value), &self)),
        }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        let wrong = |seed: &Self| Err(E::invalid_value(serde::de::Unexpected::Str(value), seed));
        match self.column.kind {
            _ if self.wants_array() => return wrong(&self),
            Kind::Text => put_bytes(self.out, self.column.number, value.as_bytes()),
            Kind::Hex => match hex(value) {
                Some(bytes) => put_bytes(self.out, self.column.number, &bytes),
                None => return wrong(&self),
            },
            Kind::Base64 => match base64(value) {
                Some(bytes) => put_bytes(self.out, self.column.number, &bytes),
                None => return wrong(&self),
            },
            Kind::Double => match value.parse::<f64>() {
                Ok(number) => self.put_fixed64(number.to_bits()),
                Err(_) => return wrong(&self),
            },
            Kind::Enum(names) => {
                let known = names.iter().find(|(_, name)| *name == value).map(|(number, _)| *number);
                match known.or_else(|| value.parse().ok()) {
                    Some(number) => return self.integer(i128::from(number)),
                    None => return wrong(&self),
                }
            }
            Kind::Bool | Kind::Message(_) => return wrong(&self),
            _ => match value.parse() {
                Ok(number) => return self.integer(number),
                Err(_) => return wrong(&self),
            },
        }
        Ok(())
    }
}

impl FieldSeed<'_> {
    fn wants_array(&self) -> bool {
        self.column.repeated == Repeated::Yes && self.element == Repeated::No
    }

    fn integer<E: Error>(self, value: i128) -> Result<(), E> {
        let range = match self.column.kind {
            _ if self.wants_array() => None,
            Kind::Uint32 | Kind::Fixed32 => Some(0..=i128::from(u32::MAX)),
            Kind::Uint64 | Kind::Fixed64 => Some(0..=i128::from(u64::MAX)),
            Kind::Int32 | Kind::Sint32 | Kind::Enum(_) => Some(i128::from(i32::MIN)..=i128::from(i32::MAX)),
            Kind::Int64 | Kind::Sfixed64 => Some(i128::from(i64::MIN)..=i128::from(i64::MAX)),
            Kind::Double => Some(i128::MIN..=i128::MAX),
            _ => None,
        };
        if !range.is_some_and(|range| range.contains(&value)) {
            return Err(E::custom(format_args!(
                "invalid value: integer `{value}`, expected {}",
                Expecting(&self)
            )));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "in range, see above"
        )]
        match self.column.kind {
            Kind::Double => self.put_fixed64((value as f64).to_bits()),
            Kind::Fixed64 | Kind::Sfixed64 => self.put_fixed64(value as u64),
            Kind::Fixed32 => self.put_fixed32(value as u32),
            Kind::Sint32 => self.put_varint(zigzag(value as i32)),
            _ => self.put_varint(value as u64),
        }
        Ok(())
    }

    fn put_varint(self, value: u64) {
        put_tag(self.out, self.column.number, 0);
        put_varint(self.out, value);
    }

    fn put_fixed64(self, value: u64) {
        put_tag(self.out, self.column.number, 1);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn put_fixed32(self, value: u32) {
        put_tag(self.out, self.column.number, 5);
        self.out.extend_from_slice(&value.to_le_bytes());
    }
}

struct Expecting<'s, 'o>(&'s FieldSeed<'o>);

impl fmt::Display for Expecting<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Visitor::expecting(self.0, f)
    }
}

fn zigzag(value: i32) -> u64 {
    u64::from(((value << 1) ^ (value >> 31)).cast_unsigned())
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let digits = digits?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// Standard or URL-safe alphabet, padded or not: protobuf's JSON mapping takes all four.
fn base64(text: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet = if text.contains(['-', '_']) { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    GeneralPurpose::new(alphabet, config).decode(text).ok()
}
