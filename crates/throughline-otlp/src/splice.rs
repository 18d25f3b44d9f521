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
    let mut frames = Frames::default();
    TracesView::new(request).for_each(&mut |resource, scope, view| {
        if view.ids().is_some() {
            let otlp = frames.around(resource, scope, view.raw())?;
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
    let mut frames = Frames::default();
    LogsView::new(request).for_each(&mut |resource, scope, view| {
        let otlp = frames.around(resource, scope, view.raw())?;
        let (resource, scope) = groups.of(resource, scope)?;
        out.push(OneLog { log: decode::log(&view, resource, scope)?, otlp });
        Ok(())
    })?;
    Ok(out)
}

/// What surrounds an item in its request, gathered once a group: walking a group of many spans for each of them would
/// cost the square of its size.
#[derive(Default)]
struct Frames<'a> {
    resource: Option<(&'a [u8], Vec<u8>)>,
    scope: Option<(&'a [u8], Vec<u8>)>,
}

impl<'a> Frames<'a> {
    /// The item as a request of its own.
    fn around(
        &mut self,
        resource: GroupView<'a>,
        scope: GroupView<'a>,
        leaf: &[u8],
    ) -> Result<Vec<u8>, WireError> {
        let scope = frame(&mut self.scope, scope)?;
        let mut scope_group = Vec::with_capacity(scope.len() + leaf.len() + 8);
        scope_group.extend_from_slice(scope);
        put_bytes(&mut scope_group, 2, leaf);
        let resource = frame(&mut self.resource, resource)?;
        let mut resource_group = Vec::with_capacity(resource.len() + scope_group.len() + 8);
        resource_group.extend_from_slice(resource);
        put_bytes(&mut resource_group, 2, &scope_group);
        let mut request = Vec::with_capacity(resource_group.len() + 8);
        put_bytes(&mut request, 1, &resource_group);
        Ok(request)
    }
}

/// The group's frame, from `known` if that is the same group. Compares by address, as [`Groups`] does.
fn frame<'k, 'a>(
    known: &'k mut Option<(&'a [u8], Vec<u8>)>,
    group: GroupView<'a>,
) -> Result<&'k [u8], WireError> {
    let same = matches!(known, Some((raw, _)) if std::ptr::eq(*raw, group.raw()));
    if !same {
        let mut bytes = Vec::new();
        for field in group.frame() {
            bytes.extend_from_slice(field?);
        }
        *known = Some((group.raw(), bytes));
    }
    Ok(known.as_ref().map_or(&[], |(_, bytes)| bytes))
}
