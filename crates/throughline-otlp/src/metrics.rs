//! Metrics, decoded as far as a last-value view of them needs: exemplars and descriptions' markup are left out.

use std::sync::Arc;

use crate::Signal;
use crate::check::check;
use crate::decode::{Groups, attributes};
use crate::ids::UnixNanos;
use crate::model::{KeyValue, Resource, Scope};
use crate::view::{key_values, messages, walk};
use crate::wire::{Fields, Payload, WireError, little_endian, packed_varints};

/// One metric of one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Name.
    pub name: String,
    /// Description.
    pub description: String,
    /// UCUM unit.
    pub unit: String,
    /// What kind it is, and its points.
    pub data: Data,
    /// Resource.
    pub resource: Arc<Resource>,
    /// Scope.
    pub scope: Arc<Scope>,
}

/// The points of a metric.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Gauge.
    Gauge(Vec<Point<Number>>),
    /// Sum.
    Sum {
        /// Points.
        points: Vec<Point<Number>>,
        /// Whether it only rises.
        monotonic: bool,
        /// Over what.
        temporality: Temporality,
    },
    /// Histogram with explicit bounds.
    Histogram {
        /// Points.
        points: Vec<Point<Histogram>>,
        /// Over what.
        temporality: Temporality,
    },
    /// Exponential histogram.
    ExponentialHistogram {
        /// Points.
        points: Vec<Point<Exponential>>,
        /// Over what.
        temporality: Temporality,
    },
    /// Summary.
    Summary(Vec<Point<Summary>>),
    /// None of the above.
    Unknown,
}

/// Over what a point was summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Temporality {
    /// Not stated.
    #[default]
    Unspecified,
    /// Since the last export.
    Delta,
    /// Since the start.
    Cumulative,
}

/// One point of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Point<T> {
    /// Attributes: the series.
    pub attributes: Vec<KeyValue>,
    /// Start of the interval.
    pub start: UnixNanos,
    /// Time of the point.
    pub time: UnixNanos,
    /// Value.
    pub value: T,
}

/// A number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Integer.
    Int(i64),
    /// Double.
    Double(f64),
    /// No value recorded.
    Absent,
}

/// A histogram's value.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Histogram {
    /// Count of measurements.
    pub count: u64,
    /// Sum of measurements, if kept.
    pub sum: Option<f64>,
    /// Count per bucket, one more than bounds.
    pub buckets: Vec<u64>,
    /// Upper bounds.
    pub bounds: Vec<f64>,
}

/// An exponential histogram's value: bucket `i` holds what is above `base^i` and at most `base^(i+1)`, with `base =
/// 2^(2^-scale)`; of the negative ones the same of the magnitude.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Exponential {
    /// Count of measurements.
    pub count: u64,
    /// Sum of measurements, if kept.
    pub sum: Option<f64>,
    /// How fine the buckets are.
    pub scale: i32,
    /// Count of what is as good as zero.
    pub zero_count: u64,
    /// Largest magnitude that is.
    pub zero_threshold: f64,
    /// Above zero.
    pub positive: Buckets,
    /// Below zero.
    pub negative: Buckets,
}

/// Neighbouring buckets of an exponential histogram.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Buckets {
    /// Index of the first.
    pub offset: i32,
    /// Their counts.
    pub counts: Vec<u64>,
}

/// A summary's value.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Summary {
    /// Count of measurements.
    pub count: u64,
    /// Sum of measurements.
    pub sum: f64,
    /// `(quantile, value)`.
    pub quantiles: Vec<(f64, f64)>,
}

/// Every metric of an `ExportMetricsServiceRequest`, in wire order.
///
/// # Errors
/// [`WireError`] if the request is not OTLP.
pub fn decode_metrics(request: &[u8]) -> Result<Vec<Metric>, WireError> {
    check(Signal::Metrics, request)?;
    let mut metrics = Vec::new();
    let mut groups = Groups::default();
    walk(request, &mut |resource, scope, raw| {
        let (resource, scope) = groups.of(resource, scope)?;
        let text = |number| last_text(raw, number);
        metrics.push(Metric {
            name: text(1)?,
            description: text(2)?,
            unit: text(3)?,
            data: data(raw)?,
            resource,
            scope,
        });
        Ok(())
    })?;
    Ok(metrics)
}

fn data(raw: &[u8]) -> Result<Data, WireError> {
    let mut data = Data::Unknown;
    for field in Fields::new(raw) {
        let field = field?;
        data = match field.number {
            5 => Data::Gauge(points(field.bytes()?, number_point)?),
            7 => Data::Sum {
                points: points(field.bytes()?, number_point)?,
                monotonic: varint_of(field.bytes()?, 3)? != 0,
                temporality: temporality(field.bytes()?)?,
            },
            9 => Data::Histogram {
                points: points(field.bytes()?, histogram_point)?,
                temporality: temporality(field.bytes()?)?,
            },
            10 => Data::ExponentialHistogram {
                points: points(field.bytes()?, exponential_point)?,
                temporality: temporality(field.bytes()?)?,
            },
            11 => Data::Summary(points(field.bytes()?, summary_point)?),
            _ => data,
        };
    }
    Ok(data)
}

fn points<T>(raw: &[u8], read: fn(&[u8]) -> Result<Point<T>, WireError>) -> Result<Vec<Point<T>>, WireError> {
    messages(raw, 1).map(|point| read(point?)).collect()
}

fn point<T>(raw: &[u8], attributes_field: u32, value: T) -> Result<Point<T>, WireError> {
    let mut point = Point {
        attributes: attributes(key_values(Fields::new(raw), attributes_field))?,
        start: UnixNanos(0),
        time: UnixNanos(0),
        value,
    };
    for field in Fields::new(raw) {
        let field = field?;
        match field.number {
            2 => point.start = UnixNanos(field.fixed64()?),
            3 => point.time = UnixNanos(field.fixed64()?),
            _ => {}
        }
    }
    Ok(point)
}

fn number_point(raw: &[u8]) -> Result<Point<Number>, WireError> {
    let mut value = Number::Absent;
    for field in Fields::new(raw) {
        let field = field?;
        match field.number {
            4 => value = Number::Double(f64::from_bits(field.fixed64()?)),
            6 => value = Number::Int(field.fixed64()?.cast_signed()),
            _ => {}
        }
    }
    point(raw, 7, value)
}

fn histogram_point(raw: &[u8]) -> Result<Point<Histogram>, WireError> {
    let mut value = Histogram::default();
    for field in Fields::new(raw) {
        let field = field?;
        match field.number {
            4 => value.count = field.fixed64()?,
            5 => value.sum = Some(f64::from_bits(field.fixed64()?)),
            6 => value.buckets.extend(fixed64s(field.payload)),
            7 => value.bounds.extend(fixed64s(field.payload).map(f64::from_bits)),
            _ => {}
        }
    }
    point(raw, 9, value)
}

fn exponential_point(raw: &[u8]) -> Result<Point<Exponential>, WireError> {
    let mut value = Exponential::default();
    for field in Fields::new(raw) {
        let field = field?;
        match field.number {
            4 => value.count = field.fixed64()?,
            5 => value.sum = Some(f64::from_bits(field.fixed64()?)),
            6 => value.scale = zigzag(field.varint32()?),
            7 => value.zero_count = field.fixed64()?,
            8 => buckets(field.bytes()?, &mut value.positive)?,
            9 => buckets(field.bytes()?, &mut value.negative)?,
            14 => value.zero_threshold = f64::from_bits(field.fixed64()?),
            _ => {}
        }
    }
    point(raw, 1, value)
}

/// Occurrences of one message merge.
fn buckets(raw: &[u8], into: &mut Buckets) -> Result<(), WireError> {
    for field in Fields::new(raw) {
        let field = field?;
        match (field.number, field.payload) {
            (1, _) => into.offset = zigzag(field.varint32()?),
            (2, Payload::Varint(count)) => into.counts.push(count),
            (2, Payload::Bytes(packed)) => {
                for count in packed_varints(packed) {
                    into.counts.push(count?);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// A `sint32`.
fn zigzag(value: u32) -> i32 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

fn summary_point(raw: &[u8]) -> Result<Point<Summary>, WireError> {
    let mut value = Summary::default();
    for field in Fields::new(raw) {
        let field = field?;
        match field.number {
            4 => value.count = field.fixed64()?,
            5 => value.sum = f64::from_bits(field.fixed64()?),
            6 => value.quantiles.push(quantile(field.bytes()?)?),
            _ => {}
        }
    }
    point(raw, 7, value)
}

fn quantile(raw: &[u8]) -> Result<(f64, f64), WireError> {
    let mut pair = (0.0, 0.0);
    for field in Fields::new(raw) {
        let field = field?;
        match field.number {
            1 => pair.0 = f64::from_bits(field.fixed64()?),
            2 => pair.1 = f64::from_bits(field.fixed64()?),
            _ => {}
        }
    }
    Ok(pair)
}

/// A repeated fixed64 field, packed or not.
fn fixed64s(payload: Payload<'_>) -> impl Iterator<Item = u64> {
    let (one, packed) = match payload {
        Payload::Fixed64(value) => (Some(value), &[][..]),
        Payload::Bytes(bytes) => (None, bytes),
        _ => (None, &[][..]),
    };
    one.into_iter().chain(packed.chunks_exact(8).map(little_endian))
}

fn temporality(raw: &[u8]) -> Result<Temporality, WireError> {
    Ok(match varint_of(raw, 2)? {
        1 => Temporality::Delta,
        2 => Temporality::Cumulative,
        _ => Temporality::Unspecified,
    })
}

fn varint_of(raw: &[u8], number: u32) -> Result<u64, WireError> {
    let mut value = 0;
    for field in Fields::new(raw) {
        let field = field?;
        if field.number == number {
            value = match field.payload {
                Payload::Bytes(packed) => packed_varints(packed).last().transpose()?.unwrap_or(0),
                _ => field.varint()?,
            };
        }
    }
    Ok(value)
}

fn last_text(raw: &[u8], number: u32) -> Result<String, WireError> {
    let mut text = "";
    for field in Fields::new(raw) {
        let field = field?;
        if field.number == number {
            text = field.text()?;
        }
    }
    Ok(text.to_owned())
}
