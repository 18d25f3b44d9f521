//! Regular expressions in Go's syntax, which configurations are written in, for the engine that is here: what Go reads as a
//! literal (`/users/{id}`, `[[a]`), as ASCII (`\d`, `\w`, `\s`, `\b`) or not at all (`a**`, `(?x)`) is read so.

use regex::Regex;

/// A regular expression's source in Go's syntax, compiled.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn compile(source: &str) -> Result<Regex, String> {
    Regex::new(&translate(source)?).map_err(|error| brief(&error))
}

/// An engine's error without the drawing above it.
pub(crate) fn brief(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// `source` in the engine's own syntax. Brackets that do not match and the like are left for the engine to complain about.
pub(crate) fn translate(source: &str) -> Result<String, String> {
    let mut translator = Translator { rest: source, out: String::new(), repeated: false };
    while let Some(next) = translator.take() {
        translator.item(next)?;
    }
    Ok(translator.out)
}

struct Translator<'s> {
    rest: &'s str,
    out: String,
    /// What came last is a repetition, which Go does not repeat.
    repeated: bool,
}

/// Most repetitions that Go allows.
const MOST: u32 = 1000;

/// Classes within `[: :]`.
const NAMES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

impl Translator<'_> {
    fn take(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    fn take_prefix(&mut self, prefix: &str) -> bool {
        let after = self.rest.strip_prefix(prefix);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    /// What comes before `end`, which is taken too.
    fn take_until(&mut self, end: &str) -> Option<&str> {
        let (before, after) = self.rest.split_once(end)?;
        self.rest = after;
        Some(before)
    }

    fn item(&mut self, next: char) -> Result<(), String> {
        if matches!(next, '*' | '+' | '?') {
            return self.repetition(&next.to_string());
        }
        if next == '{'
            && let Some(counts) = self.counts()?
        {
            return self.repetition(&counts);
        }
        self.repeated = false;
        match next {
            '\\' => self.escape(),
            '[' => self.class(),
            '(' => self.group(),
            ')' | '|' | '^' | '$' | '.' => {
                self.out.push(next);
                Ok(())
            }
            literal => {
                self.literal(literal);
                Ok(())
            }
        }
    }

    fn literal(&mut self, literal: char) {
        if literal.is_ascii_alphanumeric() || !literal.is_ascii() {
            self.out.push(literal);
        } else {
            self.out.push_str(&format!("\\x{{{:x}}}", u32::from(literal)));
        }
    }

    fn repetition(&mut self, operator: &str) -> Result<(), String> {
        if self.repeated {
            return Err(format!("`{operator}` repeats a repetition; put that in brackets"));
        }
        self.out.push_str(operator);
        if self.take_prefix("?") {
            self.out.push('?');
        }
        self.repeated = true;
        Ok(())
    }

    /// The counts after a `{`, if it is not a literal one.
    fn counts(&mut self) -> Result<Option<String>, String> {
        let Some((inner, after)) = self.rest.split_once('}') else { return Ok(None) };
        let (least, most) = inner.split_once(',').unwrap_or((inner, inner));
        let Some(from) = count(least) else { return Ok(None) };
        let to = if most.is_empty() { Some(from) } else { count(most) };
        let Some(to) = to else { return Ok(None) };
        if from > MOST || to > MOST || to < from {
            return Err(format!(
                "`{{{inner}}}` is no number of repetitions; at most {MOST}, the smaller one first"
            ));
        }
        self.rest = after;
        Ok(Some(format!("{{{inner}}}")))
    }

    /// What follows a `(`.
    fn group(&mut self) -> Result<(), String> {
        if !self.take_prefix("?") {
            self.out.push('(');
            return Ok(());
        }
        if self.take_prefix("P<") || self.take_prefix("<") {
            let name = self.take_until(">").unwrap_or_default();
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err("a group's name is letters, digits and _: (?P<name>…)".to_owned());
            }
            // Go's names may begin with a digit.
            let name = format!("(?P<_{name}>");
            self.out.push_str(&name);
            return Ok(());
        }
        let end = self.rest.find([':', ')']).unwrap_or(self.rest.len());
        let (flags, after) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        if !flags.chars().all(|flag| "imsU-".contains(flag)) {
            return Err(format!(
                "`(?{}` is not supported; allowed: (?:…), (?P<name>…) and the flags i, m, s, U",
                flags.chars().next().unwrap_or_default()
            ));
        }
        self.out.push_str("(?");
        self.out.push_str(flags);
        self.rest = after;
        if let Some(end) = self.take() {
            self.out.push(end);
        }
        Ok(())
    }

    /// What follows a `\`.
    fn escape(&mut self) -> Result<(), String> {
        let next = self.take().ok_or("a `\\` with nothing after it")?;
        match next {
            'Q' => {
                let quoted = self.rest.split_once("\\E").map_or(self.rest, |(quoted, _)| quoted);
                self.rest = self.rest.get(quoted.len()..).unwrap_or_default();
                self.take_prefix("\\E");
                quoted.chars().for_each(|literal| self.literal(literal));
            }
            'A' | 'z' => self.out.extend(['\\', next]),
            'b' | 'B' => self.out.push_str(&format!("(?-u:\\{next})")),
            'p' | 'P' => self.property(next)?,
            _ => match perl(next) {
                Some((class, negated)) => {
                    self.out.push_str(if negated { "[^" } else { "[" });
                    self.out.push_str(class);
                    self.out.push(']');
                }
                None => {
                    let literal = self.escaped(next)?;
                    self.literal(literal);
                }
            },
        }
        Ok(())
    }

    /// A Unicode property after `\p` or `\P`.
    fn property(&mut self, sign: char) -> Result<(), String> {
        let name = if self.take_prefix("{") {
            self.take_until("}").map(str::to_owned)
        } else {
            self.take().map(String::from)
        };
        let name = name.ok_or_else(|| format!("`\\{sign}` without the name of a property"))?;
        let (sign, name) = match (name.strip_prefix('^'), sign) {
            (None, sign) => (sign, name.as_str()),
            (Some(name), 'p') => ('P', name),
            (Some(name), _) => ('p', name),
        };
        self.out.push_str(&format!("\\{sign}{{{name}}}"));
        Ok(())
    }

    /// The character that `\` and `next` stand for, in brackets and outside.
    fn escaped(&mut self, next: char) -> Result<char, String> {
        let octal = |c: &char| matches!(c, '0'..='7');
        match next {
            'a' => Ok('\x07'),
            'f' => Ok('\x0c'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\x0b'),
            'x' => self.hexadecimal(),
            '1'..='7' if !self.rest.starts_with(|c| octal(&c)) => {
                Err(format!("`\\{next}`: backreferences are not supported"))
            }
            '0'..='7' => {
                let more: String = self.rest.chars().take(2).take_while(octal).collect();
                self.rest = self.rest.get(more.len()..).unwrap_or_default();
                let code = u32::from_str_radix(&format!("{next}{more}"), 8).unwrap_or_default();
                Ok(char::from_u32(code).unwrap_or_default())
            }
            _ if next.is_ascii() && !next.is_ascii_alphanumeric() => Ok(next),
            _ => Err(format!("unknown escape `\\{next}`")),
        }
    }

    /// What follows `\x`.
    fn hexadecimal(&mut self) -> Result<char, String> {
        let digits = if self.take_prefix("{") {
            self.take_until("}").unwrap_or_default().to_owned()
        } else {
            let digits: String = self.rest.chars().take(2).collect();
            self.rest = self.rest.get(digits.len()..).unwrap_or_default();
            if digits.len() == 2 { digits } else { String::new() }
        };
        let code = Some(digits.as_str()).filter(|digits| digits.chars().all(|c| c.is_ascii_hexdigit()));
        (code.and_then(|digits| u32::from_str_radix(digits, 16).ok()).and_then(char::from_u32))
            .ok_or_else(|| "`\\x` is followed by two hex digits, or by a character's code in {}".to_owned())
    }

    /// What follows a `[`.
    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.take_prefix("^") {
            self.out.push('^');
        }
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            first = false;
            if self.named_class()? || self.perl_class()? {
                continue;
            }
            let low = self.class_char()?;
            self.literal(low);
            let mut range = self.rest.chars();
            if range.next() == Some('-') && !matches!(range.next(), Some(']') | None) {
                self.take();
                let high = self.class_char()?;
                if high < low {
                    return Err(format!("`{low}-{high}` is no range: its end comes before its start"));
                }
                self.out.push('-');
                self.literal(high);
            }
        }
        self.take();
        self.out.push(']');
        Ok(())
    }

    fn class_char(&mut self) -> Result<char, String> {
        match self.take().ok_or("a `[` without its `]`")? {
            '\\' => {
                let next = self.take().ok_or("a `\\` with nothing after it")?;
                self.escaped(next)
            }
            next => Ok(next),
        }
    }

    /// `[:alpha:]` within brackets.
    fn named_class(&mut self) -> Result<bool, String> {
        let Some((name, after)) = self.rest.strip_prefix("[:").and_then(|rest| rest.split_once(":]")) else {
            return Ok(false);
        };
        if !NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(format!("unknown class `[:{name}:]`; allowed: {}", NAMES.join(", ")));
        }
        self.rest = after;
        self.out.push_str(&format!("[:{name}:]"));
        Ok(true)
    }

    /// `\d` and its like, or a property, within brackets.
    fn perl_class(&mut self) -> Result<bool, String> {
        let Some(next) = self.rest.strip_prefix('\\').and_then(|rest| rest.chars().next()) else {
            return Ok(false);
        };
        let class = perl(next);
        if class.is_none() && !matches!(next, 'p' | 'P') {
            return Ok(false);
        }
        self.rest = self.rest.get(2..).unwrap_or_default();
        match class {
            Some((class, false)) => self.out.push_str(class),
            Some((class, true)) => self.out.push_str(&format!("[^{class}]")),
            None => self.property(next)?,
        }
        Ok(true)
    }
}

/// What stands for `\d` and its like within brackets, and whether it is that which does not match.
fn perl(name: char) -> Option<(&'static str, bool)> {
    let class = match name.to_ascii_lowercase() {
        'd' => "0-9",
        's' => "\\t\\n\\x{c}\\r\\x{20}",
        'w' => "0-9A-Za-z_",
        _ => return None,
    };
    Some((class, name.is_ascii_uppercase()))
}

/// A count without superfluous zeros.
fn count(digits: &str) -> Option<u32> {
    let fits = !digits.is_empty()
        && digits.bytes().all(|digit| digit.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'));
    // Too many for a number are too many.
    fits.then(|| digits.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Patterns, texts, and what the peer, which is written in Go, says of them.
    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("/users/{id}", &["/users/{id}/x"], &["/users/7"]),
            ("a{,2}|x{2", &["a{,2}", "x{2"], &["aa", "xx"]),
            ("^a{2}$", &["aa"], &["a", "a{2}"]),
            ("a{01}", &["a{01}"], &["a"]),
            ("a{1, 2}", &["a{1, 2}"], &["a"]),
            ("[[a]", &["[", "a"], &["]"]),
            ("[a&&z]2", &["a2", "&2", "z2"], &["b2"]),
            ("[]a]", &["]", "a"], &["["]),
            ("^[^]a]$", &["b"], &["]", "a"]),
            ("^[a-]$|^[-b]$", &["a", "-", "b"], &["c"]),
            (r"^\Qa.\E$|^\Qb*", &["a.", "b*c"], &["ab", "bb"]),
            (r"^\d+$", &["7"], &["٣"]),
            (r"^\w$|^[\w-]!$", &["a", "-!"], &["é", "é!"]),
            (r"^\S\D\W$", &["éa€"], &["é7€"]),
            (r"^[\D]$", &["a", "٣"], &["7"]),
            (r"\bacme\b", &["acme", "éacmeé"], &["acme2"]),
            (r"é\Bé", &["éé"], &["é"]),
            (r"\s", &["a b", "\t"], &["\u{a0}", "\x0b"]),
            (r"\<|\-|\_", &["<", "-", "_"], &["a"]),
            (r"^\x61\x{62}\07\141$", &["ab\x07a"], &["ab"]),
            (r"^\p{^L}\pN\P{^Lu}$", &["17A"], &["a7A", "17a"]),
            ("(?P<1a>x)(?<b>y)(?i:Z)(?s-m:.)(?U)", &["xyz\n"], &["xy"]),
            ("[[:alpha:][:^digit:]]", &["a", "é"], &["7"]),
            ("^a#b c$", &["a#b c"], &["a#bc"]),
            ("}|]", &["}", "]"], &["a"]),
        ];
        for (pattern, matching, others) in cases {
            let compiled = compile(pattern).unwrap();
            for text in *matching {
                assert!(compiled.is_match(text), "{pattern} {text:?}");
            }
            for text in *others {
                assert!(!compiled.is_match(text), "{pattern} {text:?}");
            }
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for pattern in [
            "a**",
            "a++",
            "a?+",
            "a{2}{3}",
            "a{1001}",
            "a{2,1}",
            "(?x) a",
            "(?=a)",
            "(?'n'a)",
            "(?P=n)",
            "(?u:a)",
            r"\C",
            r"\1",
            r"(a)\1",
            r"\u0061",
            r"\h",
            r"\Z",
            r"\e",
            r"\",
            r"[\b]",
            r"[\Q]",
            "[a--z]",
            "[z-a]",
            "[a-",
            "[",
            "[[:foo:]]",
            "a|*",
            "(",
            ")",
            r"\x6",
            r"\x{110000}",
            r"\p{Nothing}",
            r"\p",
            "(?P<>a)",
            "(?P<a b>c)",
            "(?P<a>b)(?P<a>c)",
        ] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
    }
}
