//! Typed reading of a tree. [`At`] is a value at its path, [`Block`] a map whose keys are asked for one by one; what was
//! not asked for is unknown. A value that is wrong is reported and read as absent, so that one reading finds everything.

use std::time::Duration;

use super::component::ComponentId;
use super::node::{Entry, Node, Style, Value};
use super::problem::Findings;
use super::quantity;
use super::scalar::{is_number_or_boolean, whole, whole_double};
use super::words::{listed, listed_all, nearest};

/// A value where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<'a> {
    pub(super) node: &'a Node,
    pub(super) path: String,
    pub(super) findings: &'a Findings,
}

impl<'a> At<'a> {
    pub(super) fn new(node: &'a Node, path: impl Into<String>, findings: &'a Findings) -> Self {
        Self { node, path: path.into(), findings }
    }

    pub(super) fn error(&self, message: impl Into<String>) {
        self.findings.error(self.node.place, &self.path, message);
    }

    pub(super) fn note(&self, message: impl Into<String>) {
        self.findings.note(self.node.place, &self.path, message);
    }

    fn expected(&self, what: &str) {
        self.error(format!("is {}, expected {what}", self.node.kind()));
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.node.value, Value::Null)
    }

    /// A map; nothing is an empty one.
    pub(super) fn block(&self) -> Option<Block<'a>> {
        let entries: &'a [Entry] = match &self.node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            _ => {
                self.expected("a map");
                return None;
            }
        };
        Some(Block { at: self.clone(), entries, known: Vec::new() })
    }

    /// A list; nothing is an empty one.
    pub(super) fn list(&self) -> Vec<At<'a>> {
        match &self.node.value {
            Value::List(items) => {
                let item = |(index, node)| At::new(node, format!("{}[{index}]", self.path), self.findings);
                items.iter().enumerate().map(item).collect()
            }
            Value::Null => Vec::new(),
            _ => {
                self.expected("a list");
                Vec::new()
            }
        }
    }

    /// A list of texts; a text by itself is several, with commas between them.
    pub(super) fn texts(&self) -> Vec<String> {
        match &self.node.value {
            Value::Scalar { .. } => self.text().map(|text| split(&text)).unwrap_or_default(),
            _ => self.list().iter().filter_map(At::text).collect(),
        }
    }

    /// As [`At::texts`], each one of a few words.
    pub(super) fn words<T: Clone>(&self, words: &[(&str, T)]) -> Vec<T> {
        let known = |text: String| self.known(&text, words, |word, text| word == text);
        match &self.node.value {
            Value::Scalar { text, .. } => split(text).into_iter().filter_map(known).collect(),
            _ => self.list().iter().filter_map(|at| at.one_of(words)).collect(),
        }
    }

    /// A map of freely chosen keys.
    pub(super) fn entries(&self) -> Vec<(&'a Entry, At<'a>)> {
        match &self.node.value {
            Value::Map(entries) => entries
                .iter()
                .map(|entry| (entry, At::new(&entry.value, below(&self.path, &entry.key), self.findings)))
                .collect(),
            Value::Null => Vec::new(),
            _ => {
                self.expected("a map");
                Vec::new()
            }
        }
    }

    /// Text. A number or a boolean is none unless it has quotes: the peer refuses it too.
    pub(super) fn text(&self) -> Option<String> {
        if let (Value::Scalar { text, style: Style::Plain }, None) = (&self.node.value, &self.node.original)
            && is_number_or_boolean(text)
        {
            self.error(format!("is `{text}`, expected a text: write it in quotes"));
            return None;
        }
        self.written()
    }

    /// What was written, be it a text or a number.
    fn written(&self) -> Option<String> {
        if let Some(original) = &self.node.original {
            return Some(original.clone());
        }
        match &self.node.value {
            Value::Scalar { text, .. } => Some(text.clone()),
            Value::Null => {
                self.error("is empty, expected a text");
                None
            }
            _ => {
                self.expected("a text");
                None
            }
        }
    }

    /// Text that says something; a number is taken as it was written.
    pub(super) fn filled(&self) -> Option<String> {
        let text = self.written()?;
        if text.is_empty() {
            self.error("is empty, expected a text");
            return None;
        }
        Some(text)
    }

    fn plain(&self, what: &str) -> Option<&'a str> {
        match &self.node.value {
            Value::Scalar { text, style: Style::Plain } => Some(text),
            Value::Scalar { text, style: Style::Quoted } if text.trim().parse::<f64>().is_ok() => {
                self.expected(&format!("{what}: write it without quotes"));
                None
            }
            _ => {
                self.expected(what);
                None
            }
        }
    }

    pub(super) fn integer(&self, least: i64, most: i64) -> Option<i64> {
        let what = match (least, most) {
            (i64::MIN, i64::MAX) => "a whole number".to_owned(),
            (least, i64::MAX) => format!("a whole number of at least {least}"),
            (least, most) => format!("a whole number from {least} to {most}"),
        };
        let text = self.plain(&what)?;
        let number =
            whole(text).or_else(|| whole_double(text)).filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.expected(&what);
        }
        number
    }

    /// A whole number of at least `least`.
    pub(super) fn count(&self, least: u32) -> Option<u64> {
        self.integer(least.into(), i64::MAX).and_then(|number| u64::try_from(number).ok())
    }

    pub(super) fn number(&self) -> Option<f64> {
        let text = self.plain("a number")?;
        let number = text.parse::<f64>().ok().or_else(|| whole(text).map(|number| number as f64));
        let number = number.filter(|number| number.is_finite());
        if number.is_none() {
            self.expected("a number");
        }
        number
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match self.plain("true or false")? {
            "true" | "True" | "TRUE" => Some(true),
            "false" | "False" | "FALSE" => Some(false),
            _ => {
                self.expected("true or false");
                None
            }
        }
    }

    /// A length of time in Go's syntax.
    pub(super) fn duration(&self) -> Option<Duration> {
        let Value::Scalar { text, .. } = &self.node.value else {
            self.expected("a length of time such as `30s`");
            return None;
        };
        self.accepted(quantity::duration(text))
    }

    /// A length of time above zero.
    pub(super) fn some_time(&self) -> Option<Duration> {
        let duration = self.duration()?;
        if duration.is_zero() {
            self.error("is zero, expected a length of time above zero");
            return None;
        }
        Some(duration)
    }

    /// A number of bytes, with a unit or without.
    pub(super) fn size(&self) -> Option<u64> {
        let Value::Scalar { text, .. } = &self.node.value else {
            self.expected("a size such as `512MiB`");
            return None;
        };
        self.accepted(quantity::size(text))
    }

    /// One of a few words.
    pub(super) fn one_of<T: Clone>(&self, words: &[(&str, T)]) -> Option<T> {
        self.word(words, |word, text| word == text)
    }

    /// One of a few words, in capitals or not.
    pub(super) fn one_of_any_case<T: Clone>(&self, words: &[(&str, T)]) -> Option<T> {
        self.word(words, str::eq_ignore_ascii_case)
    }

    fn word<T: Clone>(&self, words: &[(&str, T)], equal: impl Fn(&str, &str) -> bool) -> Option<T> {
        self.known(&self.written()?, words, equal)
    }

    fn known<T: Clone>(
        &self,
        text: &str,
        words: &[(&str, T)],
        equal: impl Fn(&str, &str) -> bool,
    ) -> Option<T> {
        let found = words.iter().find(|(word, _)| equal(word, text));
        if found.is_none() {
            let allowed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.error(format!("is `{text}`, expected {}{}", listed(&allowed), nearest(text, &allowed)));
        }
        found.map(|(_, meaning)| meaning.clone())
    }

    /// A number of bytes above zero.
    pub(super) fn some_size(&self) -> Option<u64> {
        let size = self.size()?;
        if size == 0 {
            self.error("is zero, expected a size above zero");
            return None;
        }
        Some(size)
    }

    /// What a parser made of it, or its complaint at this place.
    pub(super) fn accepted<T>(&self, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.error(message)).ok()
    }

    /// Remembers that this names an extension, to be looked up once all are read.
    pub(super) fn refers_to_extension(&self, id: &ComponentId) {
        self.findings.mention(self.node.place, &self.path, id.clone());
    }

    /// A text that `parse` understands.
    pub(super) fn text_with<T>(&self, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.filled()?;
        self.accepted(parse(&text))
    }
}

/// A map whose keys are asked for one by one.
#[derive(Debug)]
pub(super) struct Block<'a> {
    at: At<'a>,
    entries: &'a [Entry],
    known: Vec<&'static str>,
}

impl<'a> Block<'a> {
    /// The map itself.
    pub(super) fn at(&self) -> &At<'a> {
        &self.at
    }

    /// The value of `key`, even if it is nothing (`grpc:`).
    pub(super) fn present(&mut self, key: &'static str) -> Option<At<'a>> {
        self.known.push(key);
        self.at.findings.asked(&self.at.path, key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(At::new(&entry.value, below(&self.at.path, key), self.at.findings))
    }

    /// The value of `key`; a key with nothing after it is an absent one.
    pub(super) fn get(&mut self, key: &'static str) -> Option<At<'a>> {
        self.present(key).filter(|at| !at.is_null())
    }

    /// The value of `key`, or an error that says that it is missing.
    pub(super) fn required(&mut self, key: &'static str) -> Option<At<'a>> {
        let value = self.get(key);
        if value.is_none() {
            self.at.error(format!("`{key}` is missing"));
        }
        value
    }

    /// The value of `key`, which must be there but may be nothing.
    pub(super) fn required_or_empty(&mut self, key: &'static str) -> Option<At<'a>> {
        let value = self.present(key);
        if value.is_none() {
            self.at.error(format!("`{key}` is missing"));
        }
        value
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        self.get(key)?.text()
    }

    /// A text that is not empty; an empty one is an absent one.
    pub(super) fn some_text(&mut self, key: &'static str) -> Option<String> {
        self.get(key)?.text().filter(|text| !text.is_empty())
    }

    pub(super) fn texts(&mut self, key: &'static str) -> Vec<String> {
        self.get(key).map(|at| at.texts()).unwrap_or_default()
    }

    pub(super) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        self.get(key)?.boolean()
    }

    pub(super) fn duration(&mut self, key: &'static str) -> Option<Duration> {
        self.get(key)?.duration()
    }

    pub(super) fn count(&mut self, key: &'static str, least: u32) -> Option<u64> {
        self.get(key)?.count(least)
    }

    /// Known keys that change nothing here, and why.
    pub(super) fn without_effect(&mut self, keys: &[&'static str], why: &str) {
        for key in keys {
            if let Some(at) = self.present(key) {
                at.note(format!("has no effect: {why}"));
            }
        }
    }

    /// Keys of the OpenTelemetry Collector that would change what is done, and are not supported.
    pub(super) fn unsupported(&mut self, keys: &[&'static str], what_instead: &str) {
        for key in keys {
            if let Some(at) = self.get(key) {
                at.error(format!("is not supported: {what_instead}"));
            }
        }
    }

    /// Whatever was not asked for is unknown.
    pub(super) fn finish(mut self) {
        self.known.sort_unstable();
        self.known.dedup();
        for entry in self.entries.iter().filter(|entry| !self.known.contains(&entry.key.as_str())) {
            let Entry { key, place, .. } = entry;
            let allowed = match self.known.as_slice() {
                [] => "nothing can be set here".to_owned(),
                known => format!("allowed: {}", listed_all(known)),
            };
            let message = format!("unknown key `{key}`; {allowed}{}", nearest(key, &self.known));
            self.at.findings.error(*place, &self.at.path, message);
        }
    }
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}::{key}") }
}

fn split(text: &str) -> Vec<String> {
    if text.is_empty() { Vec::new() } else { text.split(',').map(str::to_owned).collect() }
}
