//! Text to words, each with its column.

use std::iter::Peekable;
use std::str::Chars;

use super::error::SyntaxError;

/// A word.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Word {
    /// Letters, digits and `_`, beginning with a letter: paths, functions, `and`, `nil`, enums.
    Name(String),
    /// A text in double quotes, its escapes resolved.
    Text(String),
    Int(i64),
    Double(f64),
    /// `0x…`
    Bytes(Vec<u8>),
    /// An operator or a bracket.
    Sign(&'static str),
}

/// A word and the column where it begins, from 1.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) word: Word,
    pub(super) column: usize,
}

/// Longer texts are no conditions that a person wrote.
const MAX_LENGTH: usize = 16 * 1024;

/// Signs, longer ones before their beginnings.
const SIGNS: [&str; 18] =
    ["==", "!=", "<=", ">=", "<", ">", "=", "(", ")", "[", "]", ",", ".", "-", "+", "*", "/", "{"];

/// The words of `text`.
pub(super) fn words(text: &str) -> Result<Vec<Token>, SyntaxError> {
    if text.len() > MAX_LENGTH {
        let message = format!("a condition of {} bytes; at most {MAX_LENGTH} are read", text.len());
        return Err(SyntaxError { column: 1, message });
    }
    let mut lexer = Lexer { rest: text.chars().peekable(), column: 1 };
    let mut tokens = Vec::new();
    while let Some(first) = lexer.rest.peek().copied() {
        let column = lexer.column;
        if first.is_whitespace() {
            lexer.next();
            continue;
        }
        tokens.push(Token { word: lexer.word(first)?, column });
    }
    Ok(tokens)
}

struct Lexer<'t> {
    rest: Peekable<Chars<'t>>,
    column: usize,
}

impl Lexer<'_> {
    fn next(&mut self) -> Option<char> {
        self.column += 1;
        self.rest.next()
    }

    fn error(&self, column: usize, message: impl Into<String>) -> SyntaxError {
        SyntaxError { column, message: message.into() }
    }

    fn word(&mut self, first: char) -> Result<Word, SyntaxError> {
        match first {
            '"' => self.text(),
            '0'..='9' => self.number(),
            'a'..='z' | 'A'..='Z' => Ok(Word::Name(self.run(|c| c.is_ascii_alphanumeric() || c == '_'))),
            _ => self.sign(first),
        }
    }

    /// The longest run of characters that `fit`.
    fn run(&mut self, fits: impl Fn(char) -> bool) -> String {
        let mut run = String::new();
        while let Some(c) = self.rest.peek().copied().filter(|c| fits(*c)) {
            run.push(c);
            self.next();
        }
        run
    }

    fn sign(&mut self, first: char) -> Result<Word, SyntaxError> {
        let column = self.column;
        self.next();
        let second = self.rest.peek().copied();
        let two = second.map(|second| format!("{first}{second}"));
        if let Some(sign) = SIGNS.iter().find(|sign| two.as_deref() == Some(**sign)) {
            self.next();
            return Ok(Word::Sign(sign));
        }
        match SIGNS.iter().find(|sign| sign.len() == 1 && sign.starts_with(first)) {
            Some(sign) => Ok(Word::Sign(sign)),
            None if first == '\'' => Err(self.error(column, "texts stand in double quotes")),
            None => Err(self.error(column, format!("unexpected `{first}`"))),
        }
    }

    fn number(&mut self) -> Result<Word, SyntaxError> {
        let column = self.column;
        let mut number = self.run(|c| c.is_ascii_digit());
        if number == "0" && self.rest.peek() == Some(&'x') {
            self.next();
            return self.bytes(column);
        }
        if self.rest.peek() == Some(&'.') {
            number.push('.');
            self.next();
            number.push_str(&self.run(|c| c.is_ascii_digit()));
            if let Some(e) = self.rest.peek().copied().filter(|c| matches!(c, 'e' | 'E')) {
                number.push(e);
                self.next();
                if let Some(sign) = self.rest.peek().copied().filter(|c| matches!(c, '+' | '-')) {
                    number.push(sign);
                    self.next();
                }
                number.push_str(&self.run(|c| c.is_ascii_digit()));
            }
            let double =
                number.parse().map_err(|_| self.error(column, format!("`{number}` is not a number")))?;
            return Ok(Word::Double(double));
        }
        if number.len() > 1 && number.starts_with('0') {
            // The peer takes it for an octal one.
            return Err(self.error(column, format!("`{number}`: a whole number does not begin with 0")));
        }
        let int = number.parse();
        Ok(Word::Int(int.map_err(|_| self.error(column, format!("`{number}` does not fit into 64 bits")))?))
    }

    /// What follows `0x`.
    fn bytes(&mut self, column: usize) -> Result<Word, SyntaxError> {
        let digits = self.run(|c| c.is_ascii_hexdigit());
        if digits.is_empty() || digits.len() % 2 == 1 {
            return Err(self.error(column, "bytes are 0x and an even number of hex digits"));
        }
        let nibbles: Vec<u8> = digits.chars().filter_map(|c| u8::try_from(c.to_digit(16)?).ok()).collect();
        let pairs = nibbles.chunks_exact(2);
        Ok(Word::Bytes(pairs.map(|pair| pair.iter().fold(0, |byte, nibble| byte << 4 | nibble)).collect()))
    }

    fn text(&mut self) -> Result<Word, SyntaxError> {
        let column = self.column;
        self.next();
        let mut text = String::new();
        loop {
            let at = self.column;
            match self.next() {
                None => return Err(self.error(column, "this text has no closing quote")),
                Some('"') => return Ok(Word::Text(text)),
                Some('\\') => text.push(self.escaped(at)?),
                Some(c) => text.push(c),
            }
        }
    }

    /// What follows a backslash.
    fn escaped(&mut self, column: usize) -> Result<char, SyntaxError> {
        const ALLOWED: &str = r#"unknown escape; allowed: \\ \" \n \r \t \u0000; a backslash itself is \\"#;
        match self.next() {
            Some(c @ ('\\' | '"')) => Ok(c),
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some('u') => {
                let mut code = 0;
                for _ in 0..4 {
                    let digit = self.next().and_then(|c| c.to_digit(16));
                    code = code << 4 | digit.ok_or_else(|| self.error(column, ALLOWED))?;
                }
                char::from_u32(code).ok_or_else(|| self.error(column, ALLOWED))
            }
            _ => Err(self.error(column, ALLOWED)),
        }
    }
}
