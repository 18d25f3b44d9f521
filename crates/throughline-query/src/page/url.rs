//! Addresses of our own pages. The only place that puts foreign text into one.

use throughline_otlp::{SpanId, TraceId};

use crate::params::encode;
use crate::query::Query;

pub(super) fn trace(id: TraceId) -> String {
    format!("/trace/{id}")
}

/// The trace with one span open and in view.
pub(super) fn span(trace: TraceId, span: SpanId) -> String {
    format!("/trace/{trace}?span={span}#s-{span}")
}

pub(super) fn search(query: &str) -> String {
    if query.is_empty() { "/".to_owned() } else { format!("/?q={}", encode(query)) }
}

pub(super) fn service(name: &str) -> String {
    search(&Query { service: Some(name.to_owned()), ..Query::default() }.to_string())
}

pub(super) fn operation(service: &str, name: &str) -> String {
    let query =
        Query { service: Some(service.to_owned()), operation: Some(name.to_owned()), ..Query::default() };
    search(&query.to_string())
}

pub(super) fn attribute(key: &str, value: &str) -> String {
    search(&Query { attributes: vec![(key.to_owned(), value.to_owned())], ..Query::default() }.to_string())
}
