//! What a search asks of the store, as query and parameters say it; shared by the lists and the summaries they are made of.

use throughline_otlp::{Span, SpanId, TraceId, UnixNanos};
use throughline_store::Search;

use crate::params::Params;
use crate::query::Query;
use crate::reply::Failure;

/// Traces in one answer unless asked for otherwise, and at most.
pub(crate) const LIMIT: usize = 50;
pub(crate) const MAX_LIMIT: usize = 1_000;
/// What is asked of the store.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) search: Search,
    /// Only this trace, and only this span of it.
    pub(crate) trace: Option<TraceId>,
    pub(crate) span: Option<SpanId>,
    pub(crate) matching: Matching,
    /// What there is to say of the limit.
    pub(crate) note: Option<String>,
}

/// What becomes of the spans that match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matching {
    Listed,
    Counted,
}

impl Asked {
    /// Of a query and `limit=`.
    pub(crate) fn of(
        query: &Query,
        params: &Params,
        now: UnixNanos,
        matching: Matching,
    ) -> Result<Self, Failure> {
        let (limit, note) = params.limit(LIMIT, MAX_LIMIT)?;
        Ok(Self { search: query.search(now, limit), trace: query.trace, span: query.span, matching, note })
    }

    /// Whether a span meets every condition.
    pub(crate) fn matches(&self, span: &Span) -> bool {
        self.span.is_none_or(|id| span.span_id == id) && self.search.matches(span)
    }
}
