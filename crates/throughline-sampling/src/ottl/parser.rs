//! Words to a tree: `or` binds loosest, then `and`, then `not`, then comparisons. Nesting is bounded.

use super::Context;
use super::error::SyntaxError;
use super::functions;
use super::lexer::{Token, Word, words};
use super::paths;
use super::tree::{Comparison, Expression, Term};
use crate::plan::AskedKeys;

/// Deeper nesting of brackets, `not` and calls is refused, so that a hostile text can not exhaust the stack.
const MAX_DEPTH: usize = 64;

/// Parses a condition; the attribute keys it names are asked for in `keys`.
pub(super) fn parse(text: &str, context: Context, keys: &mut AskedKeys) -> Result<Expression, SyntaxError> {
    let tokens = words(text)?;
    let end = text.chars().count() + 1;
    let mut parser = Parser { tokens: &tokens, at: 0, end, depth: 0, context, keys };
    let expression = parser.any()?;
    if parser.peek().is_some() {
        return Err(parser.unexpected("`and`, `or` or the end"));
    }
    Ok(expression)
}

/// The words not yet read.
pub(super) struct Parser<'t> {
    tokens: &'t [Token],
    at: usize,
    /// The column after the last character.
    end: usize,
    depth: usize,
    pub(super) context: Context,
    pub(super) keys: &'t mut AskedKeys,
}

impl<'t> Parser<'t> {
    fn any(&mut self) -> Result<Expression, SyntaxError> {
        let mut parts = vec![self.all()?];
        while self.take_name("or") {
            parts.push(self.all()?);
        }
        Ok(one_or(parts, Expression::Any))
    }

    fn all(&mut self) -> Result<Expression, SyntaxError> {
        let mut parts = vec![self.condition()?];
        while self.take_name("and") {
            parts.push(self.condition()?);
        }
        Ok(one_or(parts, Expression::All))
    }

    fn condition(&mut self) -> Result<Expression, SyntaxError> {
        self.deeper(|parser| {
            if parser.take_name("not") {
                if parser.peek_name("not") {
                    return Err(parser.unexpected("a condition; write not (not …)"));
                }
                return Ok(Expression::Not(Box::new(parser.condition()?)));
            }
            if parser.take_sign("(") {
                let inner = parser.any()?;
                parser.expect_sign(")")?;
                return Ok(inner);
            }
            parser.comparison()
        })
    }

    fn comparison(&mut self) -> Result<Expression, SyntaxError> {
        let column = self.column();
        let left = self.term()?;
        let Some(comparison) = self.take_comparison() else {
            return match left {
                Term::Bool(constant) => Ok(Expression::Constant(constant)),
                Term::Call(call) if call.is_boolean() => Ok(Expression::Call(*call)),
                _ if self.peek().is_some() => Err(self.unexpected("one of == != < <= > >=")),
                _ => {
                    let message = "this is a value, not a condition; compare it: == != < <= > >=".to_owned();
                    Err(SyntaxError { column, message })
                }
            };
        };
        Ok(Expression::Compare(left, comparison, self.term()?))
    }

    /// A value: literal, path or function.
    pub(super) fn term(&mut self) -> Result<Term, SyntaxError> {
        self.deeper(|parser| {
            let Some(token) = parser.peek() else {
                return Err(parser.unexpected("a value: a path, a function or a literal"));
            };
            let column = token.column;
            parser.at += 1;
            let term = match &token.word {
                Word::Text(text) => Ok(Term::Text(text.clone())),
                Word::Int(number) => Ok(Term::Int(*number)),
                Word::Double(number) => Ok(Term::Double(*number)),
                Word::Bytes(bytes) => Ok(Term::Bytes(bytes.clone())),
                Word::Sign(sign @ ("-" | "+")) => parser.signed(sign),
                Word::Name(name) => parser.named(name, column),
                Word::Sign(_) => {
                    parser.at -= 1;
                    Err(parser.unexpected("a value: a path, a function or a literal"))
                }
            }?;
            parser.refuse_arithmetic()?;
            Ok(term)
        })
    }

    fn signed(&mut self, sign: &str) -> Result<Term, SyntaxError> {
        let negative = sign == "-";
        let term = match self.peek().map(|token| &token.word) {
            Some(Word::Int(number)) => Term::Int(if negative { -*number } else { *number }),
            Some(Word::Double(number)) => Term::Double(if negative { -*number } else { *number }),
            _ => return Err(self.unexpected("a number")),
        };
        self.at += 1;
        Ok(term)
    }

    fn named(&mut self, name: &str, column: usize) -> Result<Term, SyntaxError> {
        match name {
            "nil" => Ok(Term::Nil),
            "true" => Ok(Term::Bool(true)),
            "false" => Ok(Term::Bool(false)),
            "and" | "or" | "not" => {
                self.at -= 1;
                Err(self.unexpected("a value: a path, a function or a literal"))
            }
            _ if self.peek_sign("(") => functions::call(self, name, column),
            _ => paths::path_or_enum(self, name, column),
        }
    }

    fn refuse_arithmetic(&self) -> Result<(), SyntaxError> {
        match self.peek() {
            Some(Token { word: Word::Sign("-" | "+" | "*" | "/"), column }) => {
                let message = "arithmetic is not supported; compare with the result".to_owned();
                Err(SyntaxError { column: *column, message })
            }
            _ => Ok(()),
        }
    }

    fn take_comparison(&mut self) -> Option<Comparison> {
        let comparison = match self.peek()?.word {
            Word::Sign("==") => Comparison::Equal,
            Word::Sign("!=") => Comparison::NotEqual,
            Word::Sign("<") => Comparison::Less,
            Word::Sign("<=") => Comparison::LessOrEqual,
            Word::Sign(">") => Comparison::Greater,
            Word::Sign(">=") => Comparison::GreaterOrEqual,
            _ => return None,
        };
        self.at += 1;
        Some(comparison)
    }

    fn deeper<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, SyntaxError>,
    ) -> Result<T, SyntaxError> {
        if self.depth == MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH}");
            return Err(SyntaxError { column: self.column(), message });
        }
        self.depth += 1;
        let done = work(self);
        self.depth -= 1;
        done
    }

    pub(super) fn peek(&self) -> Option<&'t Token> {
        self.tokens.get(self.at)
    }

    /// The column of the next word, or of the end.
    pub(super) fn column(&self) -> usize {
        self.peek().map_or(self.end, |token| token.column)
    }

    pub(super) fn peek_sign(&self, sign: &str) -> bool {
        self.peek().is_some_and(|token| matches!(token.word, Word::Sign(found) if found == sign))
    }

    pub(super) fn take_sign(&mut self, sign: &str) -> bool {
        let found = self.peek_sign(sign);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect_sign(&mut self, sign: &str) -> Result<(), SyntaxError> {
        if self.take_sign(sign) { Ok(()) } else { Err(self.unexpected(&format!("`{sign}`"))) }
    }

    fn peek_name(&self, name: &str) -> bool {
        self.peek().is_some_and(|token| matches!(&token.word, Word::Name(found) if found == name))
    }

    fn take_name(&mut self, name: &str) -> bool {
        let found = self.peek_name(name);
        self.at += usize::from(found);
        found
    }

    /// The next word, if it is a name.
    pub(super) fn take_any_name(&mut self) -> Option<&'t str> {
        let Word::Name(name) = &self.peek()?.word else { return None };
        self.at += 1;
        Some(name)
    }

    /// The next word, if it is a text.
    pub(super) fn take_text(&mut self) -> Option<&'t str> {
        let Word::Text(text) = &self.peek()?.word else { return None };
        self.at += 1;
        Some(text)
    }

    pub(super) fn unexpected(&self, expected: &str) -> SyntaxError {
        let found = match self.peek().map(|token| &token.word) {
            None => "the end".to_owned(),
            Some(Word::Name(name)) => format!("`{name}`"),
            Some(Word::Sign(sign)) => format!("`{sign}`"),
            Some(Word::Text(_)) => "a text".to_owned(),
            Some(Word::Int(_) | Word::Double(_)) => "a number".to_owned(),
            Some(Word::Bytes(_)) => "bytes".to_owned(),
        };
        SyntaxError { column: self.column(), message: format!("unexpected {found}; expected {expected}") }
    }
}

fn one_or(mut parts: Vec<Expression>, several: impl FnOnce(Vec<Expression>) -> Expression) -> Expression {
    match (parts.len(), parts.pop()) {
        (1, Some(only)) => only,
        (_, last) => several(parts.into_iter().chain(last).collect()),
    }
}
