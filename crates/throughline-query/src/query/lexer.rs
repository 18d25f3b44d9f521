//! Splits a query into terms: `key`, `key=value`, `key>value`, `key<value`, where key and value may stand in quotes.
//! It knows quoting and columns, and no name except those that must be quoted to be an attribute's.

use std::iter::Peekable;
use std::str::Chars;

use super::QueryError;

/// Names that mean something when they stand bare.
const RESERVED: &[&str] = &[
    "service",
    "operation",
    "name",
    "kind",
    "error",
    "status",
    "duration",
    "since",
    "after",
    "before",
    "trace_id",
    "span_id",
];

#[derive(Debug)]
pub(super) enum Key {
    Bare(String),
    Quoted(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    /// No operator: the key stands alone.
    Flag,
    Equals,
    Greater,
    Less,
}

#[derive(Debug)]
pub(super) struct Term {
    pub(super) key: Key,
    pub(super) operator: Operator,
    pub(super) value: String,
    pub(super) column: usize,
    pub(super) value_column: usize,
}

impl Key {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Bare(text) | Self::Quoted(text) => text,
        }
    }

    pub(super) fn into_text(self) -> String {
        match self {
            Self::Bare(text) | Self::Quoted(text) => text,
        }
    }
}

pub(super) fn terms(text: &str) -> Result<Vec<Term>, QueryError> {
    let mut reader = Reader { chars: text.chars().peekable(), column: 1 };
    let mut terms = Vec::new();
    while let Some(term) = reader.term()? {
        terms.push(term);
    }
    Ok(terms)
}

/// A value as the query language writes it: bare if it can be.
pub(super) fn quoted_value(value: &str) -> String {
    if value.is_empty() || value.contains(|c: char| c.is_whitespace() || c == '"') {
        quoted(value)
    } else {
        value.to_owned()
    }
}

/// A key of an attribute, likewise; a key that has a meaning of its own is quoted.
pub(super) fn quoted_key(key: &str) -> String {
    let special = |c: char| c.is_whitespace() || matches!(c, '"' | '=' | '<' | '>');
    if key.is_empty() || key.contains(special) || key.ends_with('!') || RESERVED.contains(&key) {
        quoted(key)
    } else {
        key.to_owned()
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
    column: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        self.column += 1;
        self.chars.next()
    }

    fn term(&mut self) -> Result<Option<Term>, QueryError> {
        while self.chars.peek().is_some_and(|c| c.is_whitespace()) {
            self.next();
        }
        let column = self.column;
        let Some(key) = self.key()? else { return Ok(None) };
        // `service!=api` would otherwise ask for an attribute named `service!`.
        if self.chars.peek() == Some(&'=') && matches!(&key, Key::Bare(text) if text.ends_with('!')) {
            return Err(error(self.column - 1, "`!=` is not an operator", "=, or > and < after duration"));
        }
        let operator = self.operator();
        let value_column = self.column;
        let value = if operator == Operator::Flag { String::new() } else { self.value(&key)? };
        Ok(Some(Term { key, operator, value, column, value_column }))
    }

    fn key(&mut self) -> Result<Option<Key>, QueryError> {
        match self.chars.peek() {
            None => Ok(None),
            Some('"') => Ok(Some(Key::Quoted(self.quoted()?))),
            Some('=' | '<' | '>') => Err(error(self.column, "a condition needs a name", "NAME=VALUE")),
            Some(_) => Ok(Some(Key::Bare(self.bare(|c| matches!(c, '=' | '<' | '>'))))),
        }
    }

    fn operator(&mut self) -> Operator {
        let operator = match self.chars.peek() {
            Some('=') => Operator::Equals,
            Some('>') => Operator::Greater,
            Some('<') => Operator::Less,
            _ => return Operator::Flag,
        };
        self.next();
        // `duration>=500ms` is what some people write for `duration>500ms`; both bounds are inclusive.
        if operator != Operator::Equals && self.chars.peek() == Some(&'=') {
            self.next();
        }
        operator
    }

    fn value(&mut self, key: &Key) -> Result<String, QueryError> {
        match self.chars.peek() {
            Some('"') => self.quoted(),
            Some(c) if !c.is_whitespace() => Ok(self.bare(|_| false)),
            _ => {
                let problem = format!("`{}` has no value", key.text());
                Err(error(self.column, &problem, "a value, \"\" for an empty one, without a space before it"))
            }
        }
    }

    fn bare(&mut self, ends: impl Fn(char) -> bool) -> String {
        let mut text = String::new();
        while let Some(c) = self.chars.next_if(|c| !c.is_whitespace() && !ends(*c)) {
            self.column += 1;
            text.push(c);
        }
        text
    }

    fn quoted(&mut self) -> Result<String, QueryError> {
        let column = self.column;
        self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                Some('"') => break,
                Some('\\') => text.extend(self.next()),
                Some(c) => text.push(c),
                None => {
                    return Err(error(
                        column,
                        "this quote is never closed",
                        "\"text\", with \\\" for a quote in it",
                    ));
                }
            }
        }
        match self.chars.peek() {
            Some(c) if !c.is_whitespace() && !matches!(c, '=' | '<' | '>') => Err(error(
                self.column,
                "text directly after a closing quote",
                "a space, or an operator after a key",
            )),
            _ => Ok(text),
        }
    }
}

fn error(column: usize, problem: &str, allowed: &str) -> QueryError {
    QueryError { column, problem: problem.to_owned(), allowed: allowed.to_owned() }
}
