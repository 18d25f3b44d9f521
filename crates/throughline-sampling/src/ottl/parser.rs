//! Words to a tree: `or` binds loosest, then `and`, then `not`, then comparisons. Nesting is bounded.

use super::cursor::Cursor;
use super::error::SyntaxError;
use super::functions;
use super::lexer::{Token, Word, words};
use super::paths;
use super::tree::{Comparison, Context, Expression, Term};
use crate::span::AskedKeys;

/// Parses a condition; the attribute keys it names are asked for in `keys`.
pub(super) fn parse(text: &str, context: Context, keys: &mut AskedKeys) -> Result<Expression, SyntaxError> {
    let tokens = words(text)?;
    let end = text.chars().count() + 1;
    let mut parser = Cursor::new(&tokens, end, context, keys);
    let expression = parser.any()?;
    if parser.peek().is_some() {
        return Err(parser.unexpected("`and`, `or` or the end"));
    }
    Ok(expression)
}

impl Cursor<'_> {
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
            parser.skip();
            let term = match &token.word {
                Word::Text(text) => Ok(Term::Text(text.clone())),
                Word::Int(number) => Ok(Term::Int(*number)),
                Word::Double(number) => Ok(Term::Double(*number)),
                Word::Bytes(bytes) => Ok(Term::Bytes(bytes.clone())),
                Word::Sign(sign @ ("-" | "+")) => parser.signed(sign),
                Word::Name(name) => parser.named(name, column),
                Word::Sign(_) => {
                    parser.back();
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
        self.skip();
        Ok(term)
    }

    fn named(&mut self, name: &str, column: usize) -> Result<Term, SyntaxError> {
        match name {
            "nil" => Ok(Term::Nil),
            "true" => Ok(Term::Bool(true)),
            "false" => Ok(Term::Bool(false)),
            "and" | "or" | "not" => {
                self.back();
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
        self.skip();
        Some(comparison)
    }
}

fn one_or(mut parts: Vec<Expression>, several: impl FnOnce(Vec<Expression>) -> Expression) -> Expression {
    match (parts.len(), parts.pop()) {
        (1, Some(only)) => only,
        (_, last) => several(parts.into_iter().chain(last).collect()),
    }
}
