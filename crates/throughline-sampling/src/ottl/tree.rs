//! A parsed condition.

use regex::Regex;

use crate::span::Slot;

/// What a condition is written about, which says what a path without a prefix means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    /// `span`
    Span,
    /// `spanevent`
    SpanEvent,
}

/// Something that is true or false of a span.
#[derive(Debug)]
pub(super) enum Expression {
    Constant(bool),
    Not(Box<Self>),
    All(Vec<Self>),
    Any(Vec<Self>),
    Compare(Term, Comparison, Term),
    Call(Call),
}

/// `==` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Something that has a value.
#[derive(Debug)]
pub(super) enum Term {
    Nil,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Id(Vec<u8>),
    Path(Path),
    Call(Box<Call>),
}

/// A property of a span, its event, or what is around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    SpanAttribute(Slot),
    ResourceAttribute(Slot),
    ScopeAttribute(Slot),
    EventAttribute(Slot),
    ScopeName,
    ScopeVersion,
    EventName,
    EventTime,
    Name,
    Kind,
    KindText,
    StatusCode,
    StatusMessage,
    Start,
    End,
    TraceState,
    Flags,
    TraceId,
    SpanId,
    ParentSpanId,
    TraceIdText,
    SpanIdText,
    ParentSpanIdText,
    DroppedAttributes,
    DroppedEvents,
    DroppedLinks,
}

/// A function with its arguments.
#[derive(Debug)]
pub(super) enum Call {
    IsMatch(Term, Regex),
    HasPrefix(Term, Term),
    HasSuffix(Term, Term),
    Is(Type, Term),
    IsRootSpan,
    Len(Term),
    Int(Term),
    Double(Term),
    Text(Term),
    Concat(Vec<Term>, Term),
}

/// What `IsString` and its like ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Bool,
    Int,
    Double,
    List,
    Map,
}

impl Expression {
    /// Whether the instrumentation scope is asked for.
    pub(super) fn asks_for_scope(&self) -> bool {
        match self {
            Self::Constant(_) => false,
            Self::Not(inner) => inner.asks_for_scope(),
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::asks_for_scope),
            Self::Compare(left, _, right) => left.asks_for_scope() || right.asks_for_scope(),
            Self::Call(call) => call.asks_for_scope(),
        }
    }
}

impl Term {
    fn asks_for_scope(&self) -> bool {
        match self {
            Self::Path(path) => {
                matches!(path, Path::ScopeAttribute(_) | Path::ScopeName | Path::ScopeVersion)
            }
            Self::Call(call) => call.asks_for_scope(),
            _ => false,
        }
    }
}

impl Call {
    /// Whether it answers with a boolean, so that it may stand as a condition.
    pub(super) fn is_boolean(&self) -> bool {
        matches!(
            self,
            Self::IsMatch(..) | Self::HasPrefix(..) | Self::HasSuffix(..) | Self::Is(..) | Self::IsRootSpan
        )
    }

    fn asks_for_scope(&self) -> bool {
        match self {
            Self::IsRootSpan => false,
            Self::HasPrefix(one, other) | Self::HasSuffix(one, other) => {
                one.asks_for_scope() || other.asks_for_scope()
            }
            Self::IsMatch(term, _)
            | Self::Is(_, term)
            | Self::Len(term)
            | Self::Int(term)
            | Self::Double(term)
            | Self::Text(term) => term.asks_for_scope(),
            Self::Concat(terms, between) => terms.iter().any(Self::term_asks) || between.asks_for_scope(),
        }
    }

    fn term_asks(term: &Term) -> bool {
        term.asks_for_scope()
    }
}
