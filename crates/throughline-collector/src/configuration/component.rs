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
        let forbidden = |c: char| c.is_control() || c.is_whitespace() || "$+<=>^`|~".contains(c);
        if kind.contains(forbidden) || name.is_some_and(|name| name.contains(forbidden)) || text.len() > 256 {
            let message = "has an id of more than 256 bytes, or with a space, a control character or one of $+<=>^`|~ in it";
            return Err(message.to_owned());
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
