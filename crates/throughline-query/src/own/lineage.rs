//! Lineage: the batches with a hash, or the batches a trace went into, each with the traces that contributed to it.

use std::collections::BTreeSet;

use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use serde_json::{Value as Json, json};
use throughline_otlp::{Span, TraceId, UnixNanos, Value};
use throughline_semconv::own::{LINKED_TRACE_ID_COUNT, LINKED_TRACE_ID_HASH};
use throughline_store::Search;
use throughline_trace::time;

use super::found::printable;
use super::{JsonRefusal, TextRefusal};
use crate::app::App;
use crate::load::{self, Source};
use crate::params::Params;
use crate::reads::Reader;
use crate::reply::{self, Failure};

/// Batches in one answer.
const MAX_BATCHES: usize = 100;

/// What lineage is asked of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Of {
    Trace(TraceId),
    Hash(String),
}

/// One batch span and where it came from.
struct Batch {
    span: Span,
    contributors: Vec<Contributor>,
}

struct Contributor {
    trace_id: TraceId,
    /// Its root; `None` if nothing of the trace is in the store.
    root: Option<Span>,
}

pub(super) async fn json(State(app): State<App>, Path(of): Path<String>) -> Result<Response, JsonRefusal> {
    let batches = batches(&app, &of).await?;
    Ok(reply::json(&json!({ "lineage": batches.iter().map(batch_json).collect::<Vec<_>>() })))
}

pub(super) async fn text(
    State(app): State<App>,
    Path(of): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, TextRefusal> {
    let width = Params::read(query.as_deref())?.number("width")?.unwrap_or(usize::MAX);
    let now = app.now();
    let mut text = String::new();
    for line in batches(&app, &of).await?.iter().flat_map(|batch| batch_lines(batch, now)) {
        text.extend(printable(&line).chars().take(width));
        text.push('\n');
    }
    Ok(reply::text(text))
}

async fn batches(app: &App, of: &str) -> Result<Vec<Batch>, Failure> {
    let of = read(of)?;
    let now = app.now();
    app.read(move |reader| {
        let found = find(reader, &of, now)?;
        if found.is_empty() { Err(Failure::Missing(nothing(&of))) } else { Ok(found) }
    })
    .await
}

fn read(text: &str) -> Result<Of, Failure> {
    let hex = text.bytes().all(|b| b.is_ascii_hexdigit());
    match (text.len(), TraceId::from_hex(text)) {
        (32, Some(id)) => Ok(Of::Trace(id)),
        (16, _) if hex => Ok(Of::Hash(text.to_ascii_lowercase())),
        _ => Err(Failure::Bad(format!(
            "{text:?} is neither a trace id (32 hex digits) nor a lineage hash (16)"
        ))),
    }
}

fn nothing(of: &Of) -> String {
    match of {
        Of::Trace(id) => format!("trace {id} is no batch, and no batch in the store links to it"),
        Of::Hash(hash) => format!("no batch in the store has the lineage hash {hash}"),
    }
}

fn find(reader: &Reader<'_>, of: &Of, now: UnixNanos) -> Result<Vec<Batch>, Failure> {
    let traces = match of {
        Of::Trace(id) => {
            let dependants = reader.store().linking_to(*id, MAX_BATCHES)?;
            std::iter::once(*id).chain(dependants).collect()
        }
        Of::Hash(hash) => {
            let attributes = vec![(LINKED_TRACE_ID_HASH.to_owned(), hash.clone())];
            let hits =
                reader.store().search(&Search { attributes, limit: MAX_BATCHES, ..Search::default() })?;
            hits.into_iter().map(|hit| hit.trace_id).collect::<Vec<_>>()
        }
    };
    let mut batches = Vec::new();
    for id in traces {
        reader.dropped();
        let spans = reader.trace(id)?.spans.into_iter().filter(|span| asked(span, of));
        for span in spans.collect::<Vec<_>>() {
            let contributors = contributors(reader, &span, now)?;
            batches.push(Batch { span, contributors });
        }
    }
    Ok(batches)
}

/// Whether this span is a batch, and one that was asked for.
fn asked(span: &Span, of: &Of) -> bool {
    match of {
        Of::Hash(hash) => span.attribute(LINKED_TRACE_ID_HASH).is_some_and(|h| h.to_text() == *hash),
        Of::Trace(id) => {
            let batch = span.attribute(LINKED_TRACE_ID_COUNT).is_some();
            batch && (span.trace_id == *id || span.links.iter().any(|link| link.trace_id == *id))
        }
    }
}

fn contributors(reader: &Reader<'_>, span: &Span, now: UnixNanos) -> Result<Vec<Contributor>, Failure> {
    let ids: BTreeSet<TraceId> =
        span.links.iter().map(|link| link.trace_id).filter(|id| *id != span.trace_id).collect();
    let contributor = |trace_id| {
        reader.dropped();
        let trace = match load::load_alone(reader, trace_id, now) {
            // It is named all the same.
            Err(Failure::TooLarge(_)) => None,
            trace => trace?,
        };
        Ok(Contributor { trace_id, root: trace.and_then(|trace| trace.spans().next().cloned()) })
    };
    ids.into_iter().map(contributor).collect()
}

fn batch_json(batch: &Batch) -> Json {
    let span = &batch.span;
    let contributor = |c: &Contributor| {
        json!({
            "traceID": c.trace_id.to_string(),
            "service": c.root.as_ref().map(|root| root.service()),
            "operation": c.root.as_ref().map(|root| root.name.as_str()),
            "startTimeUnixNano": c.root.as_ref().map(|root| root.start.0.to_string()),
        })
    };
    json!({
        "traceID": span.trace_id.to_string(),
        "spanID": span.span_id.to_string(),
        "service": span.service(),
        "operation": span.name,
        "startTimeUnixNano": span.start.0.to_string(),
        "linked_trace_id_count": span.attribute(LINKED_TRACE_ID_COUNT).map(throughline_otlp::json::value),
        "linked_trace_id_hash": span.attribute(LINKED_TRACE_ID_HASH).map(Value::to_text),
        "contributors": batch.contributors.iter().map(contributor).collect::<Vec<_>>(),
    })
}

fn batch_lines(batch: &Batch, now: UnixNanos) -> Vec<String> {
    let span = &batch.span;
    let count = span.attribute(LINKED_TRACE_ID_COUNT).map_or_else(|| "?".to_owned(), Value::to_text);
    let hash = span.attribute(LINKED_TRACE_ID_HASH).map_or_else(|| "none".to_owned(), Value::to_text);
    let mut lines = vec![
        format!("batch {}  {}  {}", span.name, span.service(), time::age(span.start, now)),
        format!("  trace {}  linked_trace_id_count: {count}  linked_trace_id_hash: {hash}", span.trace_id),
    ];
    for contributor in &batch.contributors {
        let what = match &contributor.root {
            Some(root) => format!("{}  {}  {}", root.service(), root.name, time::age(root.start, now)),
            None => "not in the store".to_owned(),
        };
        lines.push(format!("  from {}  {what}", contributor.trace_id));
    }
    if i64::try_from(batch.contributors.len()).ok().map(|n| n.to_string()) != Some(count) {
        lines.push(format!(
            "  {} of the contributing traces are linked on the span",
            batch.contributors.len()
        ));
    }
    lines
}
