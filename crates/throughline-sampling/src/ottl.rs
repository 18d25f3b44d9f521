//! Conditions in OTTL, the OpenTelemetry Transformation Language: a stated subset, parsed once, evaluated on each span.
//!
//! The subset is the table in `docs/sampling.md`. Text that is not in it is an error with its column and what is allowed;
//! nothing is silently read as something else. Rules of comparison and conversion are the peer's.

mod cursor;
mod error;
mod evaluate;
mod functions;
mod lexer;
mod parser;
mod paths;
mod tree;
mod value;

#[cfg(test)]
mod tests;

use throughline_otlp::WireError;
use throughline_otlp::view::messages;

use self::error::SyntaxError;
use self::evaluate::{Event, Fault, Scene};
use self::tree::{Context, Expression};
use crate::settings::ErrorMode;
use crate::span::{AskedKeys, Keys, Subject};

/// The conditions of one policy.
#[derive(Debug)]
pub(crate) struct Conditions {
    errors: ErrorMode,
    spans: Vec<Condition>,
    span_events: Vec<Condition>,
}

/// One condition with its text, which is what makes it equal to another.
#[derive(Debug)]
struct Condition {
    text: String,
    expression: Expression,
}

/// Text that is no condition, and where it stands.
#[derive(Debug)]
pub(crate) struct Misread {
    /// `span` or `spanevent`.
    pub(crate) list: &'static str,
    /// Which of the list.
    pub(crate) at: usize,
    pub(crate) error: SyntaxError,
}

/// What conditions come to on one span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// One holds.
    Yes,
    /// None holds.
    No,
    /// One could not be evaluated, with `error_mode: propagate`.
    Failed,
}

impl PartialEq for Conditions {
    fn eq(&self, other: &Self) -> bool {
        let texts = |conditions: &[Condition]| -> Vec<String> {
            conditions.iter().map(|condition| condition.text.clone()).collect()
        };
        self.errors == other.errors
            && texts(&self.spans) == texts(&other.spans)
            && texts(&self.span_events) == texts(&other.span_events)
    }
}

impl Conditions {
    /// Parses all conditions of a policy.
    pub(crate) fn compile(
        errors: ErrorMode,
        spans: &[String],
        span_events: &[String],
        keys: &mut AskedKeys,
    ) -> Result<Self, Misread> {
        Ok(Self {
            errors,
            spans: parse_all(Context::Span, "span", spans, keys)?,
            span_events: parse_all(Context::SpanEvent, "spanevent", span_events, keys)?,
        })
    }

    /// Whether the instrumentation scope is asked for.
    pub(crate) fn asks_for_scope(&self) -> bool {
        self.spans.iter().chain(&self.span_events).any(|condition| condition.expression.asks_for_scope())
    }

    /// What they come to on a span and its events; `event_keys` are the plan's.
    pub(crate) fn ask(&self, subject: &Subject<'_, '_>, event_keys: &Keys) -> Result<Outcome, WireError> {
        let on_span = self.first(&self.spans, &Scene { span: *subject, event: None })?;
        if on_span != Outcome::No || self.span_events.is_empty() {
            return Ok(on_span);
        }
        for event in messages(subject.head.raw, 11) {
            let event = Event::read(event?, event_keys)?;
            let on_event = self.first(&self.span_events, &Scene { span: *subject, event: Some(&event) })?;
            if on_event != Outcome::No {
                return Ok(on_event);
            }
        }
        Ok(Outcome::No)
    }

    /// Conditions are asked in order: the first that holds is enough; whether a failure ends it is `error_mode`.
    fn first(&self, conditions: &[Condition], scene: &Scene<'_, '_>) -> Result<Outcome, WireError> {
        for condition in conditions {
            match condition.expression.holds(scene) {
                Ok(true) => return Ok(Outcome::Yes),
                Ok(false) => {}
                Err(Fault::Wire(error)) => return Err(error),
                Err(Fault::Value) if self.errors == ErrorMode::Propagate => return Ok(Outcome::Failed),
                Err(Fault::Value) => {}
            }
        }
        Ok(Outcome::No)
    }
}

fn parse_all(
    context: Context,
    list: &'static str,
    texts: &[String],
    keys: &mut AskedKeys,
) -> Result<Vec<Condition>, Misread> {
    let parse = |(at, text): (usize, &String)| match parser::parse(text, context, keys) {
        Ok(expression) => Ok(Condition { text: text.clone(), expression }),
        Err(error) => Err(Misread { list, at, error }),
    };
    texts.iter().enumerate().map(parse).collect()
}
