//! Where the reading of a condition stands: the words not yet read, and what is noted on the way.

use super::error::SyntaxError;
use super::lexer::{Token, Word};
use super::tree::Context;
use crate::span::AskedKeys;

/// Deeper nesting of brackets, `not` and calls is refused, so that a hostile text can not exhaust the stack.
const MAX_DEPTH: usize = 64;

/// The words not yet read.
pub(super) struct Cursor<'t> {
    tokens: &'t [Token],
    at: usize,
    /// The column after the last character.
    end: usize,
    depth: usize,
    pub(super) context: Context,
    pub(super) keys: &'t mut AskedKeys,
}

impl<'t> Cursor<'t> {
    /// At the first of these words; `end` is the column behind the last.
    pub(super) fn new(tokens: &'t [Token], end: usize, context: Context, keys: &'t mut AskedKeys) -> Self {
        Self { tokens, at: 0, end, depth: 0, context, keys }
    }

    /// Behind the next word.
    pub(super) fn skip(&mut self) {
        self.at += 1;
    }

    /// At the word before.
    pub(super) fn back(&mut self) {
        self.at = self.at.saturating_sub(1);
    }

    /// Does `work` one level further down.
    pub(super) fn deeper<T>(
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

    pub(super) fn peek_name(&self, name: &str) -> bool {
        self.peek().is_some_and(|token| matches!(&token.word, Word::Name(found) if found == name))
    }

    /// Whether the next word is this name; then it is taken.
    pub(super) fn take_name(&mut self, name: &str) -> bool {
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
