//! The functions of the subset and their arguments.

use regex::Regex;

use super::cursor::Cursor;
use super::error::SyntaxError;
use super::lexer::Word;
use super::tree::{Call, Context, Path, Term, Type};
use super::value::double;
use crate::pattern;

const ALLOWED: &str = "IsMatch, HasPrefix, HasSuffix, IsString, IsBool, IsInt, IsDouble, IsList, IsMap, IsRootSpan, Len, Int, \
                       Double, String, Concat, TraceID, SpanID";

/// The function `name`, whose bracket comes next.
pub(super) fn call(parser: &mut Cursor<'_>, name: &str, column: usize) -> Result<Term, SyntaxError> {
    parser.expect_sign("(")?;
    let term = match name {
        "TraceID" => id(parser, 16)?,
        "SpanID" => id(parser, 8)?,
        _ => Term::Call(Box::new(function(parser, name, column)?)),
    };
    parser.expect_sign(")")?;
    if parser.peek_sign("[") {
        return Err(parser.unexpected("no index: a function's result can not be indexed"));
    }
    Ok(term)
}

fn function(parser: &mut Cursor<'_>, name: &str, column: usize) -> Result<Call, SyntaxError> {
    Ok(match name {
        "IsMatch" => {
            let target = textual(parser)?;
            parser.expect_sign(",")?;
            Call::IsMatch(target, pattern(parser)?)
        }
        "HasPrefix" => {
            let (target, prefix) = two(parser)?;
            Call::HasPrefix(target, prefix)
        }
        "HasSuffix" => {
            let (target, suffix) = two(parser)?;
            Call::HasSuffix(target, suffix)
        }
        "IsString" => Call::Is(Type::Text, some(parser)?),
        "IsBool" => Call::Is(Type::Bool, some(parser)?),
        "IsInt" => Call::Is(Type::Int, some(parser)?),
        "IsDouble" => Call::Is(Type::Double, some(parser)?),
        "IsList" => Call::Is(Type::List, some(parser)?),
        "IsMap" => Call::Is(Type::Map, some(parser)?),
        "IsRootSpan" if parser.context == Context::Span => Call::IsRootSpan,
        "IsRootSpan" => {
            let message = "IsRootSpan is for conditions under `span`; here write span.parent_span_id == SpanID(0x0000000000000000)";
            return Err(SyntaxError { column, message: message.to_owned() });
        }
        "Len" => Call::Len(parser.term()?),
        "Int" => Call::Int(parser.term()?),
        "Double" => Call::Double(number(parser)?),
        "String" => Call::Text(textual(parser)?),
        "Concat" => concat(parser)?,
        _ => {
            let message = format!("function `{name}` is not supported; allowed: {ALLOWED}");
            return Err(SyntaxError { column, message });
        }
    })
}

/// A value that `fits`, else an error that says what is expected.
fn argument(
    parser: &mut Cursor<'_>,
    expected: &str,
    fits: impl Fn(&Term) -> bool,
) -> Result<Term, SyntaxError> {
    let column = parser.column();
    let term = parser.term()?;
    if fits(&term) {
        return Ok(term);
    }
    Err(SyntaxError { column, message: format!("this can not be here; expected {expected}") })
}

/// Two values that may turn out to be texts.
fn two(parser: &mut Cursor<'_>) -> Result<(Term, Term), SyntaxError> {
    let text = |parser: &mut Cursor<'_>| {
        argument(parser, "a text", |term| {
            matches!(term, Term::Text(_) | Term::Path(_) | Term::Call(_)) && !is_id(term)
        })
    };
    let first = text(parser)?;
    parser.expect_sign(",")?;
    Ok((first, text(parser)?))
}

/// A value that can be written as a text.
fn textual(parser: &mut Cursor<'_>) -> Result<Term, SyntaxError> {
    argument(
        parser,
        "a value that is a text or a number; of an id: trace_id.string, span_id.string",
        |term| !is_id(term),
    )
}

fn some(parser: &mut Cursor<'_>) -> Result<Term, SyntaxError> {
    argument(parser, "a value; nil has no type", |term| !matches!(term, Term::Nil))
}

/// A value that may turn out to be a number.
fn number(parser: &mut Cursor<'_>) -> Result<Term, SyntaxError> {
    let fits = |term: &Term| !matches!(term, Term::Text(text) if double(text).is_none());
    argument(parser, "a number, or a text that is one", fits)
}

fn is_id(term: &Term) -> bool {
    matches!(term, Term::Id(_) | Term::Path(Path::TraceId | Path::SpanId | Path::ParentSpanId))
}

fn pattern(parser: &mut Cursor<'_>) -> Result<Regex, SyntaxError> {
    let column = parser.column();
    let Some(text) = parser.take_text() else {
        return Err(parser.unexpected("the pattern as a text in double quotes"));
    };
    pattern::compile(text).map_err(|error| {
        let message = format!("invalid regular expression `{text}`: {error}");
        SyntaxError { column, message }
    })
}

fn concat(parser: &mut Cursor<'_>) -> Result<Call, SyntaxError> {
    parser.expect_sign("[")?;
    let mut parts = Vec::new();
    while !parser.peek_sign("]") {
        if !parts.is_empty() {
            parser.expect_sign(",")?;
        }
        parts.push(textual(parser)?);
    }
    parser.expect_sign("]")?;
    parser.expect_sign(",")?;
    Ok(Call::Concat(parts, textual(parser)?))
}

/// The literal of a trace or span id: bytes, or its hex digits as a text.
fn id(parser: &mut Cursor<'_>, length: usize) -> Result<Term, SyntaxError> {
    let column = parser.column();
    let term = parser.term()?;
    let bytes = match term {
        Term::Bytes(bytes) => bytes,
        Term::Text(digits) => from_hex(&digits).unwrap_or_default(),
        _ => Vec::new(),
    };
    if bytes.len() != length {
        let message = format!("an id is 0x and {0} hex digits, or a text of {0} hex digits", length * 2);
        return Err(SyntaxError { column, message });
    }
    Ok(Term::Id(bytes))
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    match super::lexer::words(&format!("0x{digits}")).ok()?.as_slice() {
        [token] => match &token.word {
            Word::Bytes(bytes) => Some(bytes.clone()),
            _ => None,
        },
        _ => None,
    }
}
