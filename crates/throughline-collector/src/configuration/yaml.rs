//! Text to tree. Owns the bounds on what a text may make us hold; refuses what a reader could not tell the user about:
//! two documents, keys that are no text, a key twice, tags of other languages.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::node::{Entry, Node, Style, Value};
use super::problem::Place;

/// Deepest nesting.
const DEPTH: usize = 64;
/// Most values, those that an alias repeats included: what ten lines of aliases to aliases would exceed.
const NODES: usize = 100_000;
/// Largest text.
const BYTES: usize = 4 << 20;

/// Why a text is no tree.
#[derive(Debug)]
pub(super) struct YamlError {
    pub(super) place: Place,
    pub(super) message: String,
}

/// Reads one document. An empty one is null.
pub(super) fn parse(source: usize, text: &str) -> Result<Node, YamlError> {
    let start = Place { source, line: 1, column: 1 };
    if text.len() > BYTES {
        let message = format!("has {} bytes, more than the {BYTES} a configuration may have", text.len());
        return Err(YamlError { place: start, message });
    }
    let mut builder = Builder { source, ..Builder::default() };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| YamlError {
            place: place(source, error.marker()),
            message: format!("is not YAML: {}", error.info()),
        })?;
        builder.take(event, span)?;
    }
    Ok(builder.root.unwrap_or_else(|| Node::new(start, Value::Null)))
}

#[derive(Default)]
struct Builder {
    source: usize,
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    nodes: usize,
    /// Anchored values by anchor, and how many values each is.
    anchors: Vec<(usize, Node, usize)>,
}

/// A list or map that has begun.
struct Open {
    anchor: usize,
    place: Place,
    /// `nodes` when it began.
    before: usize,
    what: Collection,
}

enum Collection {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, key: Option<(String, Place)>, merges: Vec<Node> },
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), YamlError> {
        let at = place(self.source, &span.start);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return fail(at, "begins a second document: give each as its own --config");
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.map(|tag| (tag.is_yaml_core_schema(), tag.suffix.clone()));
                let value = scalar(&text, style, tag.as_ref(), at)?;
                self.count(1, at)?;
                self.finish(Node::new(at, value), anchor, 1)
            }
            Event::SequenceStart(anchor, tag) => {
                collection_tag(tag.as_deref(), at)?;
                self.begin(anchor, at, Collection::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                collection_tag(tag.as_deref(), at)?;
                let what = Collection::Map { entries: Vec::new(), key: None, merges: Vec::new() };
                self.begin(anchor, at, what)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, at),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn count(&mut self, more: usize, at: Place) -> Result<(), YamlError> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes > NODES {
            return fail(
                at,
                format!("holds more than {NODES} values, aliases counted: the most that is read"),
            );
        }
        Ok(())
    }

    fn begin(&mut self, anchor: usize, at: Place, what: Collection) -> Result<(), YamlError> {
        if self.open.len() >= DEPTH {
            return fail(at, format!("is nested deeper than {DEPTH} levels, the most that is read"));
        }
        let before = self.nodes;
        self.count(1, at)?;
        self.open.push(Open { anchor, place: at, before, what });
        Ok(())
    }

    fn end(&mut self) -> Result<(), YamlError> {
        let Some(Open { anchor, place, before, what }) = self.open.pop() else { return Ok(()) };
        let value = match what {
            Collection::List(items) => Value::List(items),
            Collection::Map { mut entries, merges, .. } => {
                for merge in merges {
                    merge_in(&mut entries, merge)?;
                }
                Value::Map(entries)
            }
        };
        self.finish(Node::new(place, value), anchor, self.nodes - before)
    }

    fn alias(&mut self, anchor: usize, at: Place) -> Result<(), YamlError> {
        let Some((_, node, size)) = self.anchors.iter().find(|(id, _, _)| *id == anchor) else {
            return fail(at, "is an alias of a value that it is part of");
        };
        let (node, size) = (node.clone(), *size);
        self.count(size, at)?;
        if self.open.len() + depth(&node) > DEPTH {
            return fail(at, format!("is nested deeper than {DEPTH} levels, the most that is read"));
        }
        self.finish(node, 0, size)
    }

    /// A value is whole: it goes to where it belongs.
    fn finish(&mut self, node: Node, anchor: usize, size: usize) -> Result<(), YamlError> {
        if anchor > 0 {
            // The anchor's copy counts as well: it is held.
            self.count(size, node.place)?;
            self.anchors.push((anchor, node.clone(), size));
        }
        match self.open.last_mut().map(|open| &mut open.what) {
            None => self.root = Some(node),
            Some(Collection::List(items)) => items.push(node),
            Some(Collection::Map { entries, key, merges }) => match key.take() {
                None => *key = Some(key_of(node)?),
                Some((key, place)) if key == "<<" => {
                    let _ = place;
                    merges.push(node);
                }
                Some((key, place)) => {
                    if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                        let line = first.place.line;
                        return fail(
                            place,
                            format!("has the key `{key}` a second time; the first is in line {line}"),
                        );
                    }
                    entries.push(Entry { key, place, value: node });
                }
            },
        }
        Ok(())
    }
}

/// `<<: *defaults`: keys that are not there yet.
fn merge_in(entries: &mut Vec<Entry>, merge: Node) -> Result<(), YamlError> {
    match merge.value {
        Value::Map(more) => {
            for entry in more {
                if !entries.iter().any(|old| old.key == entry.key) {
                    entries.push(entry);
                }
            }
            Ok(())
        }
        Value::List(maps) => maps.into_iter().try_for_each(|map| merge_in(entries, map)),
        _ => fail(merge.place, "is merged with `<<` but is no map"),
    }
}

fn key_of(node: Node) -> Result<(String, Place), YamlError> {
    match node.value {
        Value::Scalar { text, .. } => Ok((text, node.place)),
        _ => fail(node.place, "is a key that is no text"),
    }
}

fn scalar(
    text: &str,
    style: ScalarStyle,
    tag: Option<&(bool, String)>,
    at: Place,
) -> Result<Value, YamlError> {
    let plain = match tag {
        Some((true, suffix)) => style == ScalarStyle::Plain && suffix != "str",
        Some((false, suffix)) if !suffix.is_empty() => {
            return fail(at, format!("has the tag `!{suffix}`, which means nothing here"));
        }
        _ => style == ScalarStyle::Plain,
    };
    if plain && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        return Ok(Value::Null);
    }
    let style = if plain { Style::Plain } else { Style::Quoted };
    Ok(Value::Scalar { text: text.to_owned(), style })
}

fn collection_tag(tag: Option<&saphyr_parser::Tag>, at: Place) -> Result<(), YamlError> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema() => {
            fail(at, format!("has the tag `{tag}`, which means nothing here"))
        }
        _ => Ok(()),
    }
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::Null | Value::Scalar { .. } => 0,
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|entry| depth(&entry.value)).max().unwrap_or(0),
    }
}

fn place(source: usize, marker: &saphyr_parser::Marker) -> Place {
    Place { source, line: marker.line(), column: marker.col() + 1 }
}

fn fail<T>(place: Place, message: impl Into<String>) -> Result<T, YamlError> {
    Err(YamlError { place, message: message.into() })
}
