//! OTLP's messages as tables: field numbers, JSON names and types. One table serves the whole-request scan
//! ([`crate::check`]) and the JSON transcoder ([`crate::json`]), so the two cannot disagree.
//!
//! tidy: long file, because it is one table.

use Kind::{
    Base64, Bool, Double, Enum, Fixed32, Fixed64, Hex, Int32, Int64, Message, Sfixed64, Sint32, Text, Uint32,
    Uint64,
};

/// One message type.
pub(crate) struct Schema {
    pub(crate) name: &'static str,
    pub(crate) fields: &'static [Column],
}

/// One field of a message type.
pub(crate) struct Column {
    pub(crate) number: u32,
    pub(crate) json: &'static str,
    pub(crate) kind: Kind,
    pub(crate) repeated: Repeated,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeated {
    No,
    Yes,
}

/// Wire type and JSON form in one.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Text,
    /// Bytes that OTLP JSON writes as hex: trace and span ids.
    Hex,
    Base64,
    Bool,
    Uint32,
    Uint64,
    Int32,
    Int64,
    Sint32,
    Fixed32,
    Fixed64,
    Sfixed64,
    Double,
    /// Names in number order: `(number, name)`.
    Enum(&'static [(i32, &'static str)]),
    Message(&'static Schema),
}

impl Schema {
    pub(crate) fn column(&self, number: u32) -> Option<&'static Column> {
        // Fields stand in number order from 1 in almost every message, so the first guess is almost always right.
        let guess = self.fields.get(number.wrapping_sub(1) as usize).filter(|c| c.number == number);
        guess.or_else(|| self.fields.iter().find(|c| c.number == number))
    }

    /// By JSON name; protobuf's JSON mapping also takes the original `snake_case`.
    pub(crate) fn named(&self, name: &str) -> Option<&'static Column> {
        self.fields.iter().find(|c| c.json == name || same_in_snake_case(c.json, name))
    }
}

fn same_in_snake_case(camel: &str, name: &str) -> bool {
    let mut rest = name.bytes();
    camel.bytes().all(|c| {
        if c.is_ascii_uppercase() {
            rest.next() == Some(b'_') && rest.next() == Some(c.to_ascii_lowercase())
        } else {
            rest.next() == Some(c)
        }
    }) && rest.next().is_none()
}

const fn one(number: u32, json: &'static str, kind: Kind) -> Column {
    Column { number, json, kind, repeated: Repeated::No }
}

const fn many(number: u32, json: &'static str, kind: Kind) -> Column {
    Column { number, json, kind, repeated: Repeated::Yes }
}

macro_rules! schema {
    ($(#[$doc:meta])* $name:ident, $text:literal, [$($column:expr),* $(,)?]) => {
        $(#[$doc])*
        pub(crate) static $name: Schema = Schema { name: $text, fields: &[$($column),*] };
    };
}

schema!(TRACES_REQUEST, "ExportTraceServiceRequest", [many(1, "resourceSpans", Message(&RESOURCE_SPANS))]);
schema!(LOGS_REQUEST, "ExportLogsServiceRequest", [many(1, "resourceLogs", Message(&RESOURCE_LOGS))]);
schema!(
    METRICS_REQUEST,
    "ExportMetricsServiceRequest",
    [many(1, "resourceMetrics", Message(&RESOURCE_METRICS))]
);

schema!(
    RESOURCE_SPANS,
    "ResourceSpans",
    [
        one(1, "resource", Message(&RESOURCE)),
        many(2, "scopeSpans", Message(&SCOPE_SPANS)),
        one(3, "schemaUrl", Text),
    ]
);
schema!(
    SCOPE_SPANS,
    "ScopeSpans",
    [one(1, "scope", Message(&SCOPE)), many(2, "spans", Message(&SPAN)), one(3, "schemaUrl", Text),]
);
schema!(
    RESOURCE,
    "Resource",
    [
        many(1, "attributes", Message(&KEY_VALUE)),
        one(2, "droppedAttributesCount", Uint32),
        many(3, "entityRefs", Message(&ENTITY_REF)),
    ]
);
schema!(
    ENTITY_REF,
    "EntityRef",
    [
        one(1, "schemaUrl", Text),
        one(2, "type", Text),
        many(3, "idKeys", Text),
        many(4, "descriptionKeys", Text),
    ]
);
schema!(
    SCOPE,
    "InstrumentationScope",
    [
        one(1, "name", Text),
        one(2, "version", Text),
        many(3, "attributes", Message(&KEY_VALUE)),
        one(4, "droppedAttributesCount", Uint32),
    ]
);
schema!(
    KEY_VALUE,
    "KeyValue",
    [one(1, "key", Text), one(2, "value", Message(&ANY_VALUE)), one(3, "keyStrindex", Int32),]
);
schema!(
    ANY_VALUE,
    "AnyValue",
    [
        one(1, "stringValue", Text),
        one(2, "boolValue", Bool),
        one(3, "intValue", Int64),
        one(4, "doubleValue", Double),
        one(5, "arrayValue", Message(&ARRAY_VALUE)),
        one(6, "kvlistValue", Message(&KEY_VALUE_LIST)),
        one(7, "bytesValue", Base64),
        one(8, "stringValueStrindex", Int32),
    ]
);
schema!(ARRAY_VALUE, "ArrayValue", [many(1, "values", Message(&ANY_VALUE))]);
schema!(KEY_VALUE_LIST, "KeyValueList", [many(1, "values", Message(&KEY_VALUE))]);
schema!(
    SPAN,
    "Span",
    [
        one(1, "traceId", Hex),
        one(2, "spanId", Hex),
        one(3, "traceState", Text),
        one(4, "parentSpanId", Hex),
        one(5, "name", Text),
        one(6, "kind", Enum(SPAN_KIND)),
        one(7, "startTimeUnixNano", Fixed64),
        one(8, "endTimeUnixNano", Fixed64),
        many(9, "attributes", Message(&KEY_VALUE)),
        one(10, "droppedAttributesCount", Uint32),
        many(11, "events", Message(&EVENT)),
        one(12, "droppedEventsCount", Uint32),
        many(13, "links", Message(&LINK)),
        one(14, "droppedLinksCount", Uint32),
        one(15, "status", Message(&STATUS)),
        one(16, "flags", Fixed32),
    ]
);
schema!(
    EVENT,
    "Event",
    [
        one(1, "timeUnixNano", Fixed64),
        one(2, "name", Text),
        many(3, "attributes", Message(&KEY_VALUE)),
        one(4, "droppedAttributesCount", Uint32),
    ]
);
schema!(
    LINK,
    "Link",
    [
        one(1, "traceId", Hex),
        one(2, "spanId", Hex),
        one(3, "traceState", Text),
        many(4, "attributes", Message(&KEY_VALUE)),
        one(5, "droppedAttributesCount", Uint32),
        one(6, "flags", Fixed32),
    ]
);
schema!(STATUS, "Status", [one(2, "message", Text), one(3, "code", Enum(STATUS_CODE))]);

schema!(
    RESOURCE_LOGS,
    "ResourceLogs",
    [
        one(1, "resource", Message(&RESOURCE)),
        many(2, "scopeLogs", Message(&SCOPE_LOGS)),
        one(3, "schemaUrl", Text),
    ]
);
schema!(
    SCOPE_LOGS,
    "ScopeLogs",
    [
        one(1, "scope", Message(&SCOPE)),
        many(2, "logRecords", Message(&LOG_RECORD)),
        one(3, "schemaUrl", Text),
    ]
);
schema!(
    LOG_RECORD,
    "LogRecord",
    [
        one(1, "timeUnixNano", Fixed64),
        one(2, "severityNumber", Enum(SEVERITY)),
        one(3, "severityText", Text),
        one(5, "body", Message(&ANY_VALUE)),
        many(6, "attributes", Message(&KEY_VALUE)),
        one(7, "droppedAttributesCount", Uint32),
        one(8, "flags", Fixed32),
        one(9, "traceId", Hex),
        one(10, "spanId", Hex),
        one(11, "observedTimeUnixNano", Fixed64),
        one(12, "eventName", Text),
    ]
);

schema!(
    RESOURCE_METRICS,
    "ResourceMetrics",
    [
        one(1, "resource", Message(&RESOURCE)),
        many(2, "scopeMetrics", Message(&SCOPE_METRICS)),
        one(3, "schemaUrl", Text),
    ]
);
schema!(
    SCOPE_METRICS,
    "ScopeMetrics",
    [one(1, "scope", Message(&SCOPE)), many(2, "metrics", Message(&METRIC)), one(3, "schemaUrl", Text),]
);
schema!(
    METRIC,
    "Metric",
    [
        one(1, "name", Text),
        one(2, "description", Text),
        one(3, "unit", Text),
        one(5, "gauge", Message(&GAUGE)),
        one(7, "sum", Message(&SUM)),
        one(9, "histogram", Message(&HISTOGRAM)),
        one(10, "exponentialHistogram", Message(&EXPONENTIAL_HISTOGRAM)),
        one(11, "summary", Message(&SUMMARY)),
        many(12, "metadata", Message(&KEY_VALUE)),
    ]
);
schema!(GAUGE, "Gauge", [many(1, "dataPoints", Message(&NUMBER_POINT))]);
schema!(
    SUM,
    "Sum",
    [
        many(1, "dataPoints", Message(&NUMBER_POINT)),
        one(2, "aggregationTemporality", Enum(TEMPORALITY)),
        one(3, "isMonotonic", Bool),
    ]
);
schema!(
    HISTOGRAM,
    "Histogram",
    [many(1, "dataPoints", Message(&HISTOGRAM_POINT)), one(2, "aggregationTemporality", Enum(TEMPORALITY)),]
);
schema!(
    EXPONENTIAL_HISTOGRAM,
    "ExponentialHistogram",
    [many(1, "dataPoints", Message(&EXPONENTIAL_POINT)), one(2, "aggregationTemporality", Enum(TEMPORALITY)),]
);
schema!(SUMMARY, "Summary", [many(1, "dataPoints", Message(&SUMMARY_POINT))]);
schema!(
    NUMBER_POINT,
    "NumberDataPoint",
    [
        one(2, "startTimeUnixNano", Fixed64),
        one(3, "timeUnixNano", Fixed64),
        one(4, "asDouble", Double),
        many(5, "exemplars", Message(&EXEMPLAR)),
        one(6, "asInt", Sfixed64),
        many(7, "attributes", Message(&KEY_VALUE)),
        one(8, "flags", Uint32),
    ]
);
schema!(
    HISTOGRAM_POINT,
    "HistogramDataPoint",
    [
        one(2, "startTimeUnixNano", Fixed64),
        one(3, "timeUnixNano", Fixed64),
        one(4, "count", Fixed64),
        one(5, "sum", Double),
        many(6, "bucketCounts", Fixed64),
        many(7, "explicitBounds", Double),
        many(8, "exemplars", Message(&EXEMPLAR)),
        many(9, "attributes", Message(&KEY_VALUE)),
        one(10, "flags", Uint32),
        one(11, "min", Double),
        one(12, "max", Double),
    ]
);
schema!(
    EXPONENTIAL_POINT,
    "ExponentialHistogramDataPoint",
    [
        many(1, "attributes", Message(&KEY_VALUE)),
        one(2, "startTimeUnixNano", Fixed64),
        one(3, "timeUnixNano", Fixed64),
        one(4, "count", Fixed64),
        one(5, "sum", Double),
        one(6, "scale", Sint32),
        one(7, "zeroCount", Fixed64),
        one(8, "positive", Message(&BUCKETS)),
        one(9, "negative", Message(&BUCKETS)),
        one(10, "flags", Uint32),
        many(11, "exemplars", Message(&EXEMPLAR)),
        one(12, "min", Double),
        one(13, "max", Double),
        one(14, "zeroThreshold", Double),
    ]
);
schema!(BUCKETS, "Buckets", [one(1, "offset", Sint32), many(2, "bucketCounts", Uint64)]);
schema!(
    SUMMARY_POINT,
    "SummaryDataPoint",
    [
        one(2, "startTimeUnixNano", Fixed64),
        one(3, "timeUnixNano", Fixed64),
        one(4, "count", Fixed64),
        one(5, "sum", Double),
        many(6, "quantileValues", Message(&QUANTILE)),
        many(7, "attributes", Message(&KEY_VALUE)),
        one(8, "flags", Uint32),
    ]
);
schema!(QUANTILE, "ValueAtQuantile", [one(1, "quantile", Double), one(2, "value", Double)]);
schema!(
    EXEMPLAR,
    "Exemplar",
    [
        one(2, "timeUnixNano", Fixed64),
        one(3, "asDouble", Double),
        one(4, "spanId", Hex),
        one(5, "traceId", Hex),
        one(6, "asInt", Sfixed64),
        many(7, "filteredAttributes", Message(&KEY_VALUE)),
    ]
);

const SPAN_KIND: &[(i32, &str)] = &[
    (0, "SPAN_KIND_UNSPECIFIED"),
    (1, "SPAN_KIND_INTERNAL"),
    (2, "SPAN_KIND_SERVER"),
    (3, "SPAN_KIND_CLIENT"),
    (4, "SPAN_KIND_PRODUCER"),
    (5, "SPAN_KIND_CONSUMER"),
];
const STATUS_CODE: &[(i32, &str)] =
    &[(0, "STATUS_CODE_UNSET"), (1, "STATUS_CODE_OK"), (2, "STATUS_CODE_ERROR")];
const TEMPORALITY: &[(i32, &str)] = &[
    (0, "AGGREGATION_TEMPORALITY_UNSPECIFIED"),
    (1, "AGGREGATION_TEMPORALITY_DELTA"),
    (2, "AGGREGATION_TEMPORALITY_CUMULATIVE"),
];
const SEVERITY: &[(i32, &str)] = &[
    (0, "SEVERITY_NUMBER_UNSPECIFIED"),
    (1, "SEVERITY_NUMBER_TRACE"),
    (2, "SEVERITY_NUMBER_TRACE2"),
    (3, "SEVERITY_NUMBER_TRACE3"),
    (4, "SEVERITY_NUMBER_TRACE4"),
    (5, "SEVERITY_NUMBER_DEBUG"),
    (6, "SEVERITY_NUMBER_DEBUG2"),
    (7, "SEVERITY_NUMBER_DEBUG3"),
    (8, "SEVERITY_NUMBER_DEBUG4"),
    (9, "SEVERITY_NUMBER_INFO"),
    (10, "SEVERITY_NUMBER_INFO2"),
    (11, "SEVERITY_NUMBER_INFO3"),
    (12, "SEVERITY_NUMBER_INFO4"),
    (13, "SEVERITY_NUMBER_WARN"),
    (14, "SEVERITY_NUMBER_WARN2"),
    (15, "SEVERITY_NUMBER_WARN3"),
    (16, "SEVERITY_NUMBER_WARN4"),
    (17, "SEVERITY_NUMBER_ERROR"),
    (18, "SEVERITY_NUMBER_ERROR2"),
    (19, "SEVERITY_NUMBER_ERROR3"),
    (20, "SEVERITY_NUMBER_ERROR4"),
    (21, "SEVERITY_NUMBER_FATAL"),
    (22, "SEVERITY_NUMBER_FATAL2"),
    (23, "SEVERITY_NUMBER_FATAL3"),
    (24, "SEVERITY_NUMBER_FATAL4"),
];
