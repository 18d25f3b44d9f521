//! Cutting requests into one-span (one-record) requests without decoding them: the bytes of span, resource and scope
//! are copied as they stand, unknown fields and both schema URLs included.

use crate::Signal;
use crate::check::check;
use crate::decode::{self, Groups};
use crate::model::{LogRecord, Span};
use crate::view::{GroupView, LogsView, TracesView};
use crate::wire::{WireError, put_bytes};

/// One span, decoded and as a request of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct OneSpan {
    /// The span.
    pub span: Span,
    /// An `ExportTraceServiceRequest` with only this span, its resource and its scope. Several of these concatenated are
    /// a valid request again (repeated field 1).
    pub otlp: Vec<u8>,
}

/// One log record, decoded and as a request of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct OneLog {
    /// The record.
    pub log: LogRecord,
    /// An `ExportLogsServiceRequest` with only this record, its resource and its scope.
    pub otlp: Vec<u8>,
}

/// Every span with valid ids, in wire order.
///
/// # Errors
/// [`WireError`] if the request is not OTLP.
pub fn split_traces(request: &[u8]) -> Result<Vec<OneSpan>, WireError> {
    check(Signal::Traces, request)?;
    let mut out = Vec::new();
    let mut groups = Groups::default();
    TracesView::new(request).for_each(&mut |resource, scope, view| {
        if view.ids().is_some() {
            let otlp = one(resource, scope, view.raw())?;
            let (resource, scope) = groups.of(resource, scope)?;
            out.extend(decode::span(&view, resource, scope)?.map(|span| OneSpan { span, otlp }));
        }
        Ok(())
    })?;
    Ok(out)
}

/// Every log record, in wire order.
///
/// # Errors
/// [`WireError`] if the request is not OTLP.
pub fn split_logs(request: &[u8]) -> Result<Vec<OneLog>, WireError> {
    check(Signal::Logs, request)?;
    let mut out = Vec::new();
    let mut groups = Groups::default();
    LogsView::new(request).for_each(&mut |resource, scope, view| {
        let otlp = one(resource, scope, view.raw())?;
        let (resource, scope) = groups.of(resource, scope)?;
        out.push(OneLog { log: decode::log(&view, resource, scope)?, otlp });
        Ok(())
    })?;
    Ok(out)
}

fn one(resource: GroupView<'_>, scope: GroupView<'_>, leaf: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut scope_group = Vec::with_capacity(leaf.len() + 64);
    for field in scope.frame() {
        scope_group.extend_from_slice(field?);
    }
    put_bytes(&mut scope_group, 2, leaf);
    let mut resource_group = Vec::with_capacity(scope_group.len() + 256);
    for field in resource.frame() {
        resource_group.extend_from_slice(field?);
    }
    put_bytes(&mut resource_group, 2, &scope_group);
    let mut request = Vec::with_capacity(resource_group.len() + 8);
    put_bytes(&mut request, 1, &resource_group);
    Ok(request)
}
