//! YAML as a tree in which every value knows its place. Owns merging and paths; knows no key.

use throughline_sampling::Step;

use super::problem::Place;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
    /// The text of an expanded `${…}`, for where a text is expected: a password is no list, even if it begins with `[`.
    pub(super) original: Option<String>,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Text; its type is what the reader expects.
    Scalar { text: String, style: Style },
    /// `[a, b]`
    List(Vec<Node>),
    /// `{a: b}`, in order; keys are distinct.
    Map(Vec<Entry>),
}

/// Whether a scalar may be a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Quoted,
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) value: Node,
}

impl Node {
    pub(super) fn new(place: Place, value: Value) -> Self {
        Self { place, value, original: None }
    }

    /// The value of `key`, if this is a map that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    pub(super) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The node that `path` leads to, or the last one on the way that is there; and the path that was gone.
    pub(super) fn find(&self, path: &[Step]) -> (&Node, String) {
        let mut node = self;
        let mut gone = String::new();
        for step in path {
            let next = match (step, &node.value) {
                (Step::Key(key), _) => node.get(key),
                (Step::Index(index), Value::List(items)) => items.get(*index),
                (Step::Index(_), _) => None,
            };
            let Some(next) = next else { break };
            node = next;
            match step {
                Step::Key(key) => gone.push_str(&format!("::{key}")),
                Step::Index(index) => gone.push_str(&format!("[{index}]")),
            }
        }
        (node, gone)
    }

    /// Lays `over` on this: maps merge key by key, anything else is replaced, as the OpenTelemetry Collector does.
    pub(super) fn merge(&mut self, over: Node) {
        match (&mut self.value, over) {
            (Value::Map(entries), Node { value: Value::Map(more), place, .. }) => {
                self.place = place;
                for entry in more {
                    match entries.iter_mut().find(|old| old.key == entry.key) {
                        Some(old) => {
                            old.place = entry.place;
                            old.value.merge(entry.value);
                        }
                        None => entries.push(entry),
                    }
                }
            }
            (_, over) => *self = over,
        }
    }

    /// `a::b: c` at the top is `a: {b: c}`, as `--config yaml:a::b: c` is written.
    pub(super) fn unfold_paths(&mut self) {
        let Value::Map(entries) = &mut self.value else { return };
        if !entries.iter().any(|entry| entry.key.contains("::")) {
            return;
        }
        let mut whole = Node::new(self.place, Value::Map(Vec::new()));
        for entry in std::mem::take(entries) {
            let Entry { key, place, mut value } = entry;
            for part in key.rsplit("::") {
                let entry = Entry { key: part.to_owned(), place, value };
                value = Node::new(place, Value::Map(vec![entry]));
            }
            whole.merge(value);
        }
        whole.place = self.place;
        *self = whole;
    }

    /// Says that all of this stands at `place`: it came out of one `${…}`.
    pub(super) fn stand_at(&mut self, place: Place) {
        self.place = place;
        match &mut self.value {
            Value::Null | Value::Scalar { .. } => {}
            Value::List(items) => items.iter_mut().for_each(|item| item.stand_at(place)),
            Value::Map(entries) => {
                for entry in entries {
                    entry.place = place;
                    entry.value.stand_at(place);
                }
            }
        }
    }

    /// What this is, for an error.
    pub(super) fn kind(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Scalar { text, style: Style::Plain } => format!("`{}`", shortened(text)),
            Value::Scalar { text, style: Style::Quoted } => format!("the text \"{}\"", shortened(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
