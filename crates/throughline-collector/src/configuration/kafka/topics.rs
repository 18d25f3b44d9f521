//! Topics and what their records are: `traces`, `logs`, `metrics`, and the older keys for all of them at once.

use crate::configuration::read::{At, Block};

/// A topic and what its records are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// `encoding`
    pub encoding: Encoding,
}

/// Topics to read and what their records are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// Their names, at least one.
    pub names: Vec<String>,
    /// `encoding`
    pub encoding: Encoding,
}

/// `encoding` of a topic's records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// `otlp_proto`
    #[default]
    Protobuf,
    /// `otlp_json`
    Json,
}

/// Of traces, logs and metrics. `topic` and `encoding` beside them are the older way to say it for all.
pub(super) fn topics(block: &mut Block<'_>, several: Several) -> [Topics; 3] {
    let all = block.get("topic").and_then(|at| at.text_with(topic_name));
    let encoding = block.get("encoding").and_then(|at| encoding(&at));
    let defaults = [("traces", "otlp_spans"), ("logs", "otlp_logs"), ("metrics", "otlp_metrics")];
    let topics = defaults.map(|(signal, default)| {
        let (names, own) = block.get(signal).and_then(|at| signal_topics(&at, several)).unwrap_or_default();
        let encoding = own.or(encoding).unwrap_or_default();
        if names.is_empty() {
            let name = all.clone().unwrap_or_else(|| default.to_owned());
            return Topics { names: vec![name], encoding };
        }
        Topics { names, encoding }
    });
    block.without_effect(&["profiles"], "profiles are neither received nor sent");
    topics
}

/// Whether there may be `topics` beside `topic`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Several {
    Yes,
    No,
}

fn signal_topics(at: &At<'_>, several: Several) -> Option<(Vec<String>, Option<Encoding>)> {
    let mut block = at.block()?;
    let mut names: Vec<String> =
        block.get("topic").and_then(|at| at.text_with(topic_name)).into_iter().collect();
    if several == Several::Yes {
        let more = block.get("topics").map(|at| at.list()).unwrap_or_default();
        names.extend(more.iter().filter_map(|at| at.text_with(topic_name)));
        block.unsupported(&["exclude_topics", "exclude_topic"], "name the topics");
    } else {
        block.unsupported(&["topic_from_metadata_key"], "name the topic");
    }
    let encoding = block.get("encoding").and_then(|at| encoding(&at));
    block.finish();
    Some((names, encoding))
}

fn encoding(at: &At<'_>) -> Option<Encoding> {
    at.one_of(&[("otlp_proto", Encoding::Protobuf), ("otlp_json", Encoding::Json)])
}

pub(super) fn topic_name(name: &str) -> Result<String, String> {
    let fits = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if name.is_empty() || name.len() > 249 || matches!(name, "." | "..") || !fits {
        return Err(format!("is `{name}`, which is no topic: at most 249 letters, digits, `.`, `_` and `-`"));
    }
    Ok(name.to_owned())
}
