//! What OpenTelemetry's specification has a variable for and this set-up does not do: said, never ignored in silence.

use super::super::settings::Signal;

const SCHEME: &str = "the endpoint's scheme says it: http or https";
const TRUST: &str = "https is verified with the roots this build has (feature otlp-tls), without client certificates; for another \
                     authority, send to a collector on this machine";
const UNLIMITED: &str = "values are sent whole";
const FIXED: &str = "128 is used";
const TIMEOUT: &str = "OTEL_EXPORTER_OTLP_TIMEOUT says how long one export may take";

/// Of each signal and of all: behind `OTEL_EXPORTER_OTLP[_SIGNAL]_`.
const OF_EXPORTERS: [(&str, &str); 4] =
    [("CERTIFICATE", TRUST), ("CLIENT_KEY", TRUST), ("CLIENT_CERTIFICATE", TRUST), ("INSECURE", SCHEME)];

/// By their whole name, with what holds instead.
const OTHERS: [(&str, &str); 16] = [
    ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", UNLIMITED),
    ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", UNLIMITED),
    ("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", UNLIMITED),
    ("OTEL_ATTRIBUTE_COUNT_LIMIT", "for spans, OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT says it"),
    ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", FIXED),
    ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", FIXED),
    ("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "log records are sent with all their attributes"),
    ("OTEL_BSP_EXPORT_TIMEOUT", TIMEOUT),
    ("OTEL_BLRP_EXPORT_TIMEOUT", TIMEOUT),
    ("OTEL_METRIC_EXPORT_TIMEOUT", TIMEOUT),
    ("OTEL_METRICS_EXEMPLAR_FILTER", "metrics have no exemplars"),
    (
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        "histograms have the bounds of the semantic conventions",
    ),
    ("OTEL_LOG_LEVEL", "RUST_LOG says it"),
    ("OTEL_ENTITIES", "OTEL_RESOURCE_ATTRIBUTES says it"),
    ("OTEL_CONFIG_FILE", "there is no configuration file; the other variables count"),
    ("OTEL_EXPERIMENTAL_CONFIG_FILE", "there is no configuration file; the other variables count"),
];

/// Every variable that has no effect, with what holds instead.
pub(super) fn unsupported() -> impl Iterator<Item = (String, &'static str)> {
    let signals =
        [Signal::Traces, Signal::Metrics, Signal::Logs].map(|signal| format!("{}_", signal.upper()));
    let prefixes = signals.into_iter().chain([String::new()]);
    let of_exporters = prefixes.flat_map(|prefix| {
        OF_EXPORTERS.map(|(what, instead)| (format!("OTEL_EXPORTER_OTLP_{prefix}{what}"), instead))
    });
    of_exporters.chain(OTHERS.map(|(name, instead)| (name.to_owned(), instead)))
}
