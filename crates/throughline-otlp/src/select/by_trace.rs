//! A request cut into one request a trace, in one walk. Bytes as in [`select_traces`](super::select_traces): what is around
//! a span is copied with it, in order; unknown fields of the request itself are left out.

use std::collections::BTreeMap;

use super::trace_id;
use crate::Signal;
use crate::ids::TraceId;
use crate::view::{GroupView, walk};
use crate::wire::{WireError, put_bytes};

/// One trace's part of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfTrace {
    /// Which trace.
    pub trace: TraceId,
    /// An `ExportTraceServiceRequest` with its spans and no others.
    pub request: Vec<u8>,
    /// How many spans that is.
    pub spans: usize,
}

/// Cuts a request of spans by trace, in the order in which traces first occur. Spans without a valid trace id are left out.
///
/// # Errors
/// [`WireError`] if the request is not OTLP.
pub fn split_by_trace(request: &[u8]) -> Result<Vec<OfTrace>, WireError> {
    let (mut resources, mut scopes) = (Frames::default(), Frames::default());
    let mut numbers: BTreeMap<TraceId, usize> = BTreeMap::new();
    let mut traces: Vec<(TraceId, Vec<Leaf<'_>>)> = Vec::new();
    walk(request, &mut |resource, scope, span| {
        let leaf = Leaf { resource: resources.number(resource)?, scope: scopes.number(scope)?, span };
        let Some(trace) = trace_id(Signal::Traces, span)? else { return Ok(()) };
        let number = *numbers.entry(trace).or_insert_with(|| {
            traces.push((trace, Vec::new()));
            traces.len() - 1
        });
        if let Some((_, leaves)) = traces.get_mut(number) {
            leaves.push(leaf);
        }
        Ok(())
    })?;
    let whole = |(trace, leaves): (TraceId, Vec<Leaf<'_>>)| OfTrace {
        trace,
        spans: leaves.len(),
        request: written(&leaves, &resources, &scopes),
    };
    Ok(traces.into_iter().map(whole).collect())
}

/// A span, and which groups it stands in.
struct Leaf<'a> {
    resource: usize,
    scope: usize,
    span: &'a [u8],
}

/// Everything of each group but its children, gathered once a group.
#[derive(Default)]
struct Frames<'a> {
    last: Option<&'a [u8]>,
    frames: Vec<Vec<u8>>,
}

impl<'a> Frames<'a> {
    /// The number of a group; the walk visits each in one go, so that only the last one can be meant again.
    fn number(&mut self, group: GroupView<'a>) -> Result<usize, WireError> {
        if !self.last.is_some_and(|known| std::ptr::eq(known, group.raw())) {
            let mut frame = Vec::new();
            for field in group.frame() {
                frame.extend_from_slice(field?);
            }
            self.frames.push(frame);
            self.last = Some(group.raw());
        }
        Ok(self.frames.len() - 1)
    }

    fn of(&self, number: usize) -> &[u8] {
        self.frames.get(number).map_or(&[], Vec::as_slice)
    }
}

fn written(leaves: &[Leaf<'_>], resources: &Frames<'_>, scopes: &Frames<'_>) -> Vec<u8> {
    let mut request = Vec::new();
    for of_resource in leaves.chunk_by(|one, next| one.resource == next.resource) {
        let Some(first) = of_resource.first() else { continue };
        let mut resource = resources.of(first.resource).to_vec();
        for of_scope in of_resource.chunk_by(|one, next| one.scope == next.scope) {
            let Some(first) = of_scope.first() else { continue };
            let mut scope = scopes.of(first.scope).to_vec();
            of_scope.iter().for_each(|leaf| put_bytes(&mut scope, 2, leaf.span));
            put_bytes(&mut resource, 2, &scope);
        }
        put_bytes(&mut request, 1, &resource);
    }
    request
}
