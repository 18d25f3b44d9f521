//! Values and how they compare: the peer's rules. Numbers compare with numbers, texts with texts; values of different types
//! are not equal and never less or greater; `nil` equals only `nil`.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write as _;

use super::tree::{Comparison, Type};
use crate::span::Scalar;

/// The value of a term on one span.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'v> {
    Nil,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Cow<'v, str>),
    Bytes(&'v [u8]),
    Id(&'v [u8]),
    /// A list of so many elements.
    List(usize),
    /// A map of so many entries.
    Map(usize),
}

impl<'v> From<Scalar<'v>> for Value<'v> {
    fn from(scalar: Scalar<'v>) -> Self {
        match scalar {
            Scalar::Empty => Self::Nil,
            Scalar::Text(text) => Self::Text(Cow::Borrowed(text)),
            Scalar::Bool(value) => Self::Bool(value),
            Scalar::Int(value) => Self::Int(value),
            Scalar::Double(value) => Self::Double(value),
            Scalar::Bytes(bytes) => Self::Bytes(bytes),
            Scalar::List(length) => Self::List(length),
            Scalar::Map(length) => Self::Map(length),
        }
    }
}

/// Whether `left comparison right`. Lists and maps only have their length here: they equal nothing.
pub(super) fn compare(left: &Value<'_>, comparison: Comparison, right: &Value<'_>) -> bool {
    let equality_only = matches!((left, right), (Value::Id(_), Value::Id(_)));
    match order(left, right) {
        Comparable::No => comparison == Comparison::NotEqual,
        Comparable::Unordered => comparison == Comparison::NotEqual,
        Comparable::Yes(order) => match comparison {
            Comparison::Equal => order.is_eq(),
            Comparison::NotEqual => order.is_ne(),
            _ if equality_only => false,
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        },
    }
}

enum Comparable {
    Yes(Ordering),
    /// NaN.
    Unordered,
    No,
}

fn order(left: &Value<'_>, right: &Value<'_>) -> Comparable {
    match (left, right) {
        (Value::Nil, Value::Nil) => Comparable::Yes(Ordering::Equal),
        (Value::Bool(left), Value::Bool(right)) => Comparable::Yes(left.cmp(right)),
        (Value::Int(left), Value::Int(right)) => Comparable::Yes(left.cmp(right)),
        (Value::Text(left), Value::Text(right)) => Comparable::Yes(left.cmp(right)),
        (Value::Bytes(left), Value::Bytes(right)) | (Value::Id(left), Value::Id(right)) => {
            Comparable::Yes(left.cmp(right))
        }
        _ => match (as_double(left), as_double(right)) {
            (Some(left), Some(right)) => {
                left.partial_cmp(&right).map_or(Comparable::Unordered, Comparable::Yes)
            }
            _ => Comparable::No,
        },
    }
}

#[expect(clippy::cast_precision_loss, reason = "the peer compares whole numbers with doubles as doubles")]
fn as_double(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Int(number) => Some(*number as f64),
        Value::Double(number) => Some(*number),
        _ => None,
    }
}

impl<'v> Value<'v> {
    /// Whether it is of this type.
    pub(super) fn is(&self, wanted: Type) -> bool {
        match wanted {
            Type::Text => matches!(self, Self::Text(_)),
            Type::Bool => matches!(self, Self::Bool(_)),
            Type::Int => matches!(self, Self::Int(_)),
            Type::Double => matches!(self, Self::Double(_)),
            Type::List => matches!(self, Self::List(_)),
            Type::Map => matches!(self, Self::Map(_)),
        }
    }

    /// As a text, as `String` and `IsMatch` see it; `None` of `nil`, an error of a list or map.
    pub(super) fn into_text(self) -> Result<Option<Cow<'v, str>>, ()> {
        Ok(Some(match self {
            Self::Nil => return Ok(None),
            Self::Text(text) => text,
            Self::Bool(value) => Cow::Owned(value.to_string()),
            Self::Int(number) => Cow::Owned(number.to_string()),
            Self::Double(number) => Cow::Owned(double_text(number).ok_or(())?),
            Self::Bytes(bytes) => Cow::Owned(hex(bytes)),
            Self::Id(_) | Self::List(_) | Self::Map(_) => return Err(()),
        }))
    }

    /// As `Int` sees it: `nil` of a text that is no whole number.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a double's fraction is cut off, what does not fit is bounded"
    )]
    pub(super) fn into_int(self) -> Result<Value<'static>, ()> {
        Ok(match self {
            Self::Nil => Value::Nil,
            Self::Int(number) => Value::Int(number),
            Self::Double(number) => Value::Int(number as i64),
            Self::Bool(value) => Value::Int(i64::from(value)),
            Self::Text(text) => text.parse().map_or(Value::Nil, Value::Int),
            _ => return Err(()),
        })
    }

    /// As `Double` sees it: an error of a text that is no number.
    pub(super) fn into_double(self) -> Result<Value<'static>, ()> {
        Ok(match self {
            Self::Nil => Value::Nil,
            Self::Bool(value) => Value::Double(f64::from(u8::from(value))),
            Self::Text(text) => Value::Double(double(&text).ok_or(())?),
            other => Value::Double(as_double(&other).ok_or(())?),
        })
    }

    /// As `Len` sees it: bytes of a text, elements of a list, entries of a map.
    pub(super) fn length(&self) -> Result<i64, ()> {
        let length = match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(length) | Self::Map(length) => *length,
            _ => return Err(()),
        };
        i64::try_from(length).map_err(drop)
    }
}

/// The number that a text is, as the peer reads it: `1_000` is one, what is too large for a double is none.
pub(super) fn double(text: &str) -> Option<f64> {
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    let apart = text.split('_').collect::<Vec<_>>();
    let between = |pair: &[&str]| match pair {
        [left, right] => digit(left.chars().next_back()) && digit(right.chars().next()),
        _ => true,
    };
    let number: f64 = apart.windows(2).all(between).then(|| apart.concat())?.parse().ok()?;
    (number.is_finite() || !text.contains(|c: char| c.is_ascii_digit())).then_some(number)
}

/// A double as JSON writes it in the peer: plain from 1e-6 to 1e21, exponents with two digits.
fn double_text(number: f64) -> Option<String> {
    let size = number.abs();
    if !size.is_finite() {
        return None;
    }
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return Some(number.to_string());
    }
    let text = format!("{number:e}");
    Some(match text.split_once("e-") {
        Some((number, exponent)) => format!("{number}e-{exponent:0>2}"),
        None => text.replace('e', "e+"),
    })
}

/// Lower-case hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
