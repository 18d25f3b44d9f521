//! `${env:NAME}`, `${env:NAME:-default}`, `${NAME}` and `$$`, as the OpenTelemetry Collector reads them. Knows the
//! environment only through the function it is given; refuses every other scheme.

use std::cell::{Cell, RefCell};

use super::node::{Node, Style, Value};
use super::problem::{Findings, Place};
use super::yaml;

/// How often a variable may name another.
const DEPTH: usize = 16;
/// Largest text that one value may become.
const BYTES: usize = 1 << 20;
/// Most references replaced in one load: sixteen levels of variables that name two others would else be endless.
const REPLACED: usize = 10_000;

/// Replaces references in every value of a tree. Keys stay.
pub(super) struct Expander<'a> {
    environment: &'a dyn Fn(&str) -> Option<String>,
    findings: &'a Findings,
    replaced: Cell<usize>,
    /// Of the value that is being expanded.
    path: RefCell<String>,
}

impl<'a> Expander<'a> {
    pub(super) fn new(environment: &'a dyn Fn(&str) -> Option<String>, findings: &'a Findings) -> Self {
        Self { environment, findings, replaced: Cell::new(0), path: RefCell::default() }
    }

    pub(super) fn expand(&self, node: &mut Node, path: &str) {
        let place = node.place;
        match &mut node.value {
            Value::Null => {}
            Value::Scalar { text, .. } if !text.contains('$') => {}
            Value::Scalar { text, style } => {
                path.clone_into(&mut self.path.borrow_mut());
                match self.scalar(text, *style, place) {
                    Ok(expanded) => *node = expanded,
                    Err(message) => self.findings.error(place, path, message),
                }
            }
            Value::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.expand(item, &format!("{path}[{index}]"));
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    let path =
                        if path.is_empty() { entry.key.clone() } else { format!("{path}::{}", entry.key) };
                    self.expand(&mut entry.value, &path);
                }
            }
        }
    }

    /// A value that is one reference takes the variable's type: a number, a list, a map. Within a longer text it is text.
    fn scalar(&self, text: &str, style: Style, place: Place) -> Result<Node, String> {
        let expanded = self.text(text, place, DEPTH)?;
        if !is_one_reference(text) {
            return Ok(Node::new(place, Value::Scalar { text: expanded, style }));
        }
        // What is no YAML is text: a password may be anything.
        let mut node = yaml::parse(place.source, &expanded).unwrap_or_else(|_| {
            Node::new(place, Value::Scalar { text: expanded.clone(), style: Style::Quoted })
        });
        node.stand_at(place);
        node.original = Some(expanded);
        Ok(node)
    }

    fn text(&self, text: &str, place: Place, depth: usize) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            let (before, from) = rest.split_at(dollar);
            out.push_str(before);
            if let Some(after) = from.strip_prefix("$$") {
                out.push('$');
                rest = after;
            } else if let Some((inner, after)) = reference(from) {
                out.push_str(&self.reference(inner, place, depth)?);
                rest = after;
            } else {
                out.push('$');
                rest = from.strip_prefix('$').unwrap_or_default();
            }
            if out.len() > BYTES {
                return Err(format!("becomes longer than {BYTES} bytes once its variables are replaced"));
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    /// What stands for `${inner}`.
    fn reference(&self, inner: &str, place: Place, depth: usize) -> Result<String, String> {
        self.replaced.set(self.replaced.get() + 1);
        if self.replaced.get() > REPLACED {
            return Err(format!("more than {REPLACED} variables are replaced, the most there may be"));
        }
        let Some(depth) = depth.checked_sub(1) else {
            return Err(format!(
                "`${{{inner}}}` leads through more than {DEPTH} variables: does one name itself?"
            ));
        };
        let inner = self.text(inner, place, depth)?;
        let (name, default) = named(&inner)?;
        match ((self.environment)(name), default) {
            (Some(value), _) => self.text(&value, place, depth),
            (None, Some(default)) => Ok(default.to_owned()),
            (None, None) => {
                let message = format!(
                    "the environment variable {name} is not set, so this is empty; write ${{env:{name}:-default}} for another value"
                );
                self.findings.note(place, &self.path.borrow(), message);
                Ok(String::new())
            }
        }
    }
}

/// The variable's name and what stands for it if it is not set.
fn named(inner: &str) -> Result<(&str, Option<&str>), String> {
    let inner = match inner.split_once(':') {
        Some(("env", name)) => name,
        Some((_, rest)) if rest.starts_with('-') => inner,
        Some((scheme, _)) => {
            return Err(format!(
                "`${{{scheme}:…}}` is not supported; write ${{env:NAME}} or ${{env:NAME:-default}}"
            ));
        }
        None => inner,
    };
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    if !is_name(name) {
        return Err(format!(
            "`{name}` is no name of an environment variable: letters, digits and `_`, not first a digit"
        ));
    }
    Ok((name, default))
}

/// `${inner}rest`, with braces inside it in pairs.
fn reference(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix("${")?;
    let mut depth = 1_usize;
    let mut before = ' ';
    for (at, char) in inner.char_indices() {
        match char {
            '{' if before == '$' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            let (inner, rest) = inner.split_at(at);
            return Some((inner, rest.strip_prefix('}').unwrap_or(rest)));
        }
        before = char;
    }
    None
}

fn is_one_reference(text: &str) -> bool {
    !text.starts_with("$$") && reference(text).is_some_and(|(_, rest)| rest.is_empty())
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && chars.all(|char| char.is_ascii_alphanumeric() || char == '_')
}
