//! Ids of components and pipelines: `type` or `type/name`.

use std::fmt;

/// `otlphttp/tempo`: which kind of component, and which of them.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentId {
    /// What it is, as it was written: `otlphttp` and `otlp_http` are ids of their own.
    pub kind: String,
    /// Which one, if it has a name.
    pub name: Option<String>,
}

impl ComponentId {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (kind, name) = match text.split_once('/') {
            Some((kind, name)) => (kind.trim(), Some(name.trim())),
            None => (text.trim(), None),
        };
        if kind.is_empty() || name == Some("") {
            return Err(format!("`{text}` is no id of a component; write type or type/name"));
        }
        if text.chars().any(char::is_control) || text.len() > 256 {
            return Err("has an id of more than 256 bytes, or with control characters in it".to_owned());
        }
        Ok(Self { kind: kind.to_owned(), name: name.map(str::to_owned) })
    }
}

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{}/{name}", self.kind),
            None => f.write_str(&self.kind),
        }
    }
}

impl fmt::Debug for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
