//! The query language of the search box, the URL and `throughline search`: conditions one span meets, all of them.
//!
//! ```text
//! service=api operation="POST /checkout" kind=consumer error duration>500ms duration<2s
//! since=1h after=2026-01-15T14:00:00Z before=2026-01-15T15:00:00Z correlation_id=4bf92f3577b34da6
//! ```
//!
//! `name=` is another word for `operation=`, `status=error` for `error`; `trace_id=`, alone or with `span_id=`, is that trace.
//! Every other `key=value` is an attribute of the span, its resource, its events or its links. A key in quotes is always an
//! attribute, so `"kind"=x` can be asked for. [`Query`]'s `Display` writes text that [`parse_query`] reads back as the same.

use std::fmt;
use std::time::Duration;

use throughline_otlp::{SpanId, SpanKind, TraceId, UnixNanos};
use throughline_store::{Errors, Search};

use crate::units;

mod lexer;
#[cfg(test)]
mod tests;

use lexer::{Key, Operator, Term};

/// Names with a meaning of their own; every other name is an attribute's.
const NAMES: &str =
    "service=, operation=, kind=, error, duration>, duration<, since=, after=, before=, or ATTRIBUTE=VALUE";
const KINDS: &[SpanKind] =
    &[SpanKind::Internal, SpanKind::Server, SpanKind::Client, SpanKind::Producer, SpanKind::Consumer];

/// What a search asks for. `None` or empty: no condition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// `service=`
    pub service: Option<String>,
    /// `operation=`, the span's whole name.
    pub operation: Option<String>,
    /// `kind=`
    pub kind: Option<SpanKind>,
    /// `error`
    pub outcome: Outcome,
    /// `duration>`: at least this long.
    pub at_least: Option<Duration>,
    /// `duration<`: at most this long.
    pub at_most: Option<Duration>,
    /// `after=`: started at or after this time.
    pub after: Option<UnixNanos>,
    /// `before=`: started at or before this time.
    pub before: Option<UnixNanos>,
    /// `since=`: started at most this long ago.
    pub since: Option<Duration>,
    /// `trace_id=`
    pub trace: Option<TraceId>,
    /// `span_id=`, only together with `trace_id=`.
    pub span: Option<SpanId>,
    /// Any other name: an attribute and its value as text.
    pub attributes: Vec<(String, String)>,
}

/// Which outcomes a search is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// Every span.
    #[default]
    Any,
    /// Spans whose status is error.
    Error,
}

/// A query that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {problem}; allowed: {allowed}")]
pub struct QueryError {
    /// Where, counted in characters from 1.
    pub column: usize,
    /// What is wrong there.
    pub problem: String,
    /// What could stand there.
    pub allowed: String,
}

/// Reads a query.
///
/// # Errors
/// The first condition that is not one, or has a value its name does not take, or is given twice.
pub fn parse_query(text: &str) -> Result<Query, QueryError> {
    let mut query = Query::default();
    let mut span_column = None;
    for term in lexer::terms(text)? {
        let column = term.column;
        query.add(term)?;
        span_column = span_column.or(query.span.map(|_| column));
    }
    match span_column.filter(|_| query.trace.is_none()) {
        None => Ok(query),
        Some(column) => Err(QueryError {
            column,
            problem: "`span_id` alone finds nothing: span ids are unique only within a trace".to_owned(),
            allowed: "trace_id=… span_id=…".to_owned(),
        }),
    }
}

/// One condition as the query language writes it; the value is quoted if it must be.
pub(crate) fn condition(start: &str, value: &str) -> String {
    format!("{start}{}", lexer::quoted_value(value))
}

impl Query {
    /// Whether there is no condition at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The earliest start asked for, given the time now.
    #[must_use]
    pub fn earliest(&self, now: UnixNanos) -> Option<UnixNanos> {
        let since = self.since.map(|length| {
            UnixNanos(now.0.saturating_sub(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)))
        });
        self.after.max(since)
    }

    /// The question to the store.
    #[must_use]
    pub fn search(&self, now: UnixNanos, limit: usize) -> Search {
        Search {
            service: self.service.clone(),
            operation: self.operation.clone(),
            kind: self.kind,
            errors: match self.outcome {
                Outcome::Any => Errors::Any,
                Outcome::Error => Errors::Only,
            },
            min_duration: self.at_least,
            max_duration: self.at_most,
            start: self.earliest(now),
            end: self.before,
            attributes: self.attributes.clone(),
            limit,
        }
    }

    fn add(&mut self, term: Term) -> Result<(), QueryError> {
        let Key::Bare(name) = &term.key else { return self.add_attribute(term) };
        match (name.as_str(), term.operator) {
            ("service", Operator::Equals) => set(&mut self.service, term.value.clone(), &term),
            ("operation" | "name", Operator::Equals) => set(&mut self.operation, term.value.clone(), &term),
            ("kind", Operator::Equals) => set(&mut self.kind, kind(&term)?, &term),
            ("error", Operator::Flag) => {
                self.outcome = Outcome::Error;
                Ok(())
            }
            ("error", Operator::Equals) if term.value == "true" => {
                self.outcome = Outcome::Error;
                Ok(())
            }
            ("status", Operator::Equals) if term.value.eq_ignore_ascii_case("error") => {
                self.outcome = Outcome::Error;
                Ok(())
            }
            ("trace_id", Operator::Equals) => {
                let id =
                    TraceId::from_hex(&term.value).ok_or_else(|| term.value_error("up to 32 hex digits"))?;
                set(&mut self.trace, id, &term)
            }
            ("span_id", Operator::Equals) => {
                let id =
                    SpanId::from_hex(&term.value).ok_or_else(|| term.value_error("up to 16 hex digits"))?;
                set(&mut self.span, id, &term)
            }
            ("error", _) => Err(term.value_error("error or error=true")),
            ("duration", Operator::Greater) => set(&mut self.at_least, length(&term)?, &term),
            ("duration", Operator::Less) => set(&mut self.at_most, length(&term)?, &term),
            ("duration", _) => {
                Err(term.error("`duration` needs a bound".to_owned(), "duration>500ms, duration<2s"))
            }
            ("since", Operator::Equals) => set(&mut self.since, length(&term)?, &term),
            ("after", Operator::Equals) => set(&mut self.after, time(&term)?, &term),
            ("before", Operator::Equals) => set(&mut self.before, time(&term)?, &term),
            _ => self.add_attribute(term),
        }
    }

    fn add_attribute(&mut self, term: Term) -> Result<(), QueryError> {
        match term.operator {
            Operator::Equals => {
                self.attributes.push((term.key.into_text(), term.value));
                Ok(())
            }
            Operator::Flag => Err(term.error(format!("`{}` is not a condition", term.key.text()), NAMES)),
            Operator::Greater | Operator::Less => Err(term.error(
                format!("`{}` can only be compared with =", term.key.text()),
                "> and < after duration",
            )),
        }
    }
}

fn set<T>(field: &mut Option<T>, value: T, term: &Term) -> Result<(), QueryError> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(term.error(format!("`{}` is given twice", term.key.text()), "each condition once")),
    }
}

fn kind(term: &Term) -> Result<SpanKind, QueryError> {
    let names: Vec<_> = KINDS.iter().map(|k| k.as_str()).collect();
    KINDS
        .iter()
        .copied()
        .find(|k| k.as_str().eq_ignore_ascii_case(&term.value))
        .ok_or_else(|| term.value_error(&names.join(", ")))
}

fn length(term: &Term) -> Result<Duration, QueryError> {
    units::parse_duration(&term.value)
        .ok_or_else(|| term.value_error("a length like 100us, 500ms, 1.5s, 10m, 2h, 3d"))
}

fn time(term: &Term) -> Result<UnixNanos, QueryError> {
    units::parse_timestamp(&term.value).ok_or_else(|| {
        term.value_error("a time like 2026-01-15T14:03:22Z, 2026-01-15T14:03+01:00 or 2026-01-15")
    })
}

impl Term {
    fn error(&self, problem: String, allowed: &str) -> QueryError {
        QueryError { column: self.column, problem, allowed: allowed.to_owned() }
    }

    fn value_error(&self, allowed: &str) -> QueryError {
        QueryError {
            column: self.value_column,
            problem: format!("`{}` is no value for `{}`", self.value, self.key.text()),
            allowed: allowed.to_owned(),
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut terms: Vec<String> = Vec::new();
        let mut term = |name: &str, value: Option<String>| terms.extend(value.map(|v| format!("{name}{v}")));
        term("service=", self.service.as_deref().map(lexer::quoted_value));
        term("operation=", self.operation.as_deref().map(lexer::quoted_value));
        term("kind=", self.kind.map(|k| k.as_str().to_owned()));
        term("error", (self.outcome == Outcome::Error).then(String::new));
        term("duration>", self.at_least.map(units::exact));
        term("duration<", self.at_most.map(units::exact));
        term("since=", self.since.map(units::exact));
        term("after=", self.after.map(units::timestamp));
        term("before=", self.before.map(units::timestamp));
        term("trace_id=", self.trace.map(|id| id.to_string()));
        term("span_id=", self.span.map(|id| id.to_string()));
        for (key, value) in &self.attributes {
            terms.push(format!("{}={}", lexer::quoted_key(key), lexer::quoted_value(value)));
        }
        f.write_str(&terms.join(" "))
    }
}
