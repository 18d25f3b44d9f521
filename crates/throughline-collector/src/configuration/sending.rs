//! What all sending exporters have in common: compression, headers, time-outs, retries, and the queue's keys, most of
//! which mean nothing here because the queue is the journal.

use std::time::Duration;

use super::component::ComponentId;
use super::quantity::show;
use super::read::{At, Block};
use super::tls::{self, ClientTls};

const JOURNAL: &str =
    "the queue is the journal: it is durable, and holds what is accepted until it is acknowledged";

/// How an exporter sends over OTLP.
#[derive(Clone, PartialEq)]
pub struct Sending {
    /// `compression`. Default gzip.
    pub compression: Compression,
    /// `headers` of every request.
    pub headers: Vec<(String, String)>,
    /// `timeout` of one attempt.
    pub timeout: Duration,
    /// `tls`
    pub tls: ClientTls,
    /// `auth`: the extension that gives the token.
    pub authenticator: Option<ComponentId>,
    /// `retry_on_failure`
    pub retry: Retry,
    /// `sending_queue::num_consumers`: requests under way at a time.
    pub in_flight: u32,
}

/// `compression`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// `none`
    None,
    /// `gzip`
    #[default]
    Gzip,
    /// `zstd`
    Zstd,
}

/// `retry_on_failure`: what happens after a failure that may pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Retry {
    /// `enabled: false`: what fails is given up and counted.
    Never,
    /// The next attempt after a growing time.
    Backoff(Backoff),
}

/// How the time between attempts grows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// `initial_interval`. Default 5 s.
    pub first: Duration,
    /// `multiplier`. Default 1.5.
    pub factor: f64,
    /// `randomization_factor`: a time is drawn from this much below to this much above it. Default 0.5.
    pub spread: f64,
    /// `max_interval`. Default 30 s.
    pub longest: Duration,
    /// `max_elapsed_time`: then the batch is given up and counted. `None`, written `0s`: never, which is the default.
    pub give_up: Option<Duration>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(5),
            factor: 1.5,
            spread: 0.5,
            longest: Duration::from_secs(30),
            give_up: None,
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::Backoff(Backoff::default())
    }
}

/// Headers carry secrets, so only their names show in a log.
impl std::fmt::Debug for Sending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { compression, headers, timeout, tls, authenticator, retry, in_flight } = self;
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Sending")
            .field("compression", compression)
            .field("headers", &names)
            .field("timeout", timeout)
            .field("tls", tls)
            .field("authenticator", authenticator)
            .field("retry", retry)
            .field("in_flight", in_flight)
            .finish()
    }
}

pub(super) fn sending(block: &mut Block<'_>, timeout: Duration) -> Sending {
    let words = [
        ("gzip", Compression::Gzip),
        ("zstd", Compression::Zstd),
        ("none", Compression::None),
        ("", Compression::None),
    ];
    Sending {
        compression: block.get("compression").and_then(|at| at.one_of(&words)).unwrap_or_default(),
        headers: block.get("headers").map(|at| headers(&at)).unwrap_or_default(),
        timeout: time_limit(block, timeout),
        tls: block.get("tls").and_then(|at| tls::client(&at)).unwrap_or_default(),
        authenticator: tls::authenticator(block),
        retry: retry(block),
        in_flight: queue(block),
    }
}

/// `timeout`; one of zero means none in the peer, and is refused: an attempt without end holds its place for ever.
pub(super) fn time_limit(block: &mut Block<'_>, default: Duration) -> Duration {
    block.get("timeout").and_then(|at| at.some_time()).unwrap_or(default)
}

fn headers(at: &At<'_>) -> Vec<(String, String)> {
    let list = matches!(at.node.value, super::node::Value::List(_));
    let pairs: Vec<(String, At<'_>)> = if list {
        at.list().iter().filter_map(named_header).collect()
    } else {
        at.entries().into_iter().map(|(entry, at)| (entry.key.clone(), at)).collect()
    };
    pairs
        .into_iter()
        .filter_map(|(name, at)| {
            let value = at.text()?;
            if name.parse::<http::HeaderName>().is_err() {
                at.error(format!("`{name}` is no name of a header"));
            } else if http::HeaderValue::from_str(&value).is_err() {
                at.error("has a character that no header may have");
            }
            Some((name, value))
        })
        .collect()
}

/// `{name: …, value: …}`
fn named_header<'a>(at: &At<'a>) -> Option<(String, At<'a>)> {
    let mut block = at.block()?;
    let name = block.required("name").and_then(|at| at.filled());
    let value = block.required("value");
    block.finish();
    Some((name?, value?))
}

pub(super) fn retry(block: &mut Block<'_>) -> Retry {
    let Some(mut block) = block.get("retry_on_failure").and_then(|at| at.block()) else {
        return Retry::default();
    };
    let default = Backoff::default();
    let enabled = block.boolean("enabled").unwrap_or(true);
    let first = block.get("initial_interval").and_then(|at| at.some_time()).unwrap_or(default.first);
    let longest = block.get("max_interval").and_then(|at| at.some_time()).unwrap_or(default.longest);
    let spread = within(&mut block, "randomization_factor", 0.0, 1.0).unwrap_or(default.spread);
    let factor = within(&mut block, "multiplier", 1.0, 1000.0).unwrap_or(default.factor);
    let give_up = match block.duration("max_elapsed_time") {
        Some(Duration::ZERO) => None,
        Some(time) => Some(time),
        None => default.give_up,
    };
    if let Some(time) = give_up.filter(|time| enabled && (*time < first || *time < longest)) {
        let message = format!(
            "`max_elapsed_time` ({}) is less than `initial_interval` ({}) or `max_interval` ({})",
            show(time),
            show(first),
            show(longest)
        );
        block.at().error(message);
    }
    block.finish();
    if enabled { Retry::Backoff(Backoff { first, factor, spread, longest, give_up }) } else { Retry::Never }
}

fn within(block: &mut Block<'_>, key: &'static str, least: f64, most: f64) -> Option<f64> {
    let at = block.get(key)?;
    let number = at.number()?;
    if !(least..=most).contains(&number) {
        at.error(format!("is {number}, expected a number from {least} to {most}"));
        return None;
    }
    Some(number)
}

/// Requests under way at a time; the rest of `sending_queue` is noted.
pub(super) fn queue(block: &mut Block<'_>) -> u32 {
    const DEFAULT: u32 = 10;
    let Some(mut block) = block.get("sending_queue").and_then(|at| at.block()) else { return DEFAULT };
    let consumers = block.get("num_consumers").and_then(|at| at.integer(1, 10_000));
    block.without_effect(
        &["enabled", "queue_size", "block_on_overflow", "wait_for_result", "sizer", "storage", "blocking"],
        JOURNAL,
    );
    block.without_effect(&["batch"], "batches are cut by the `batch` processor of the pipeline");
    block.finish();
    consumers.and_then(|number| u32::try_from(number).ok()).unwrap_or(DEFAULT)
}
