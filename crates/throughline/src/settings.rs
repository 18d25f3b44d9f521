//! What can be set for the whole process: names on spans, the header budget, keys on spans, metrics, the cap on links.
//! Every setting has a default that needs no call. Reading one is an atomic load.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

/// Which generation of names a span is written with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Semantic conventions v1.44 (the default): `send orders`, `process orders`.
    #[default]
    V1_44,
    /// The same, with the older attributes beside them: for the time of a migration. One key cannot have two types, so
    /// `messaging.kafka.offset` stays an int.
    Dup,
    /// The names the source prints: `orders publish`, `orders process`, `messaging.operation`,
    /// `messaging.kafka.consumer.group`, partition as an int and offset as a string.
    Legacy,
}

/// What becomes of a message's key on its spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKeys {
    /// As it is (the default), if it is UTF-8.
    Shown,
    /// The first 16 hex digits of its SHA-256: still groups by key, no longer shows it.
    Hashed,
    /// Not at all.
    Hidden,
}

/// Whether metrics are recorded: the four of messaging, the two of HTTP, and our own counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metrics {
    /// Recorded through the global meter provider (the default).
    On,
    /// Not recorded, and no clock is read for them.
    Off,
}

/// Default byte budget of our own headers.
pub const DEFAULT_HEADER_BUDGET: usize = 12 * 1024;
/// Default cap on a span's links: what the SDK keeps unless it is told otherwise.
pub const DEFAULT_LINK_CAP: usize = 128;

const UNSET: u8 = u8::MAX;
static PROFILE: AtomicU8 = AtomicU8::new(UNSET);
static KEYS: AtomicU8 = AtomicU8::new(0);
static METRICS: AtomicU8 = AtomicU8::new(0);
static BUDGET: AtomicUsize = AtomicUsize::new(DEFAULT_HEADER_BUDGET);
static LINK_CAP: AtomicUsize = AtomicUsize::new(DEFAULT_LINK_CAP);
static ALLOWED: RwLock<Option<Arc<BTreeSet<String>>>> = RwLock::new(None);

/// The profile in force: the last [`set_profile`], else what `OTEL_SEMCONV_STABILITY_OPT_IN` says, else v1.44.
#[must_use]
pub fn profile() -> Profile {
    match PROFILE.load(Relaxed) {
        0 => Profile::V1_44,
        1 => Profile::Dup,
        2 => Profile::Legacy,
        _ => {
            let profile = from_opt_in(&std::env::var("OTEL_SEMCONV_STABILITY_OPT_IN").unwrap_or_default());
            set_profile(profile);
            profile
        }
    }
}

/// `messaging/dup` in the comma list asks for both generations; `messaging`, and silence, for the new one.
fn from_opt_in(list: &str) -> Profile {
    let dup = list.split(',').any(|entry| entry.trim().eq_ignore_ascii_case("messaging/dup"));
    if dup { Profile::Dup } else { Profile::V1_44 }
}

/// Chooses the names spans are written with from now on.
pub fn set_profile(profile: Profile) {
    PROFILE.store(profile as u8, Relaxed);
}

/// What becomes of message keys.
#[must_use]
pub fn message_keys() -> MessageKeys {
    match KEYS.load(Relaxed) {
        0 => MessageKeys::Shown,
        1 => MessageKeys::Hashed,
        _ => MessageKeys::Hidden,
    }
}

/// Chooses what becomes of message keys on spans. Keys never appear in metrics or logs of this library.
pub fn set_message_keys(keys: MessageKeys) {
    KEYS.store(keys as u8, Relaxed);
}

/// Whether metrics are recorded.
#[must_use]
pub fn metrics() -> Metrics {
    if METRICS.load(Relaxed) == Metrics::On as u8 { Metrics::On } else { Metrics::Off }
}

/// Switches the metrics on or off.
pub fn set_metrics(metrics: Metrics) {
    METRICS.store(metrics as u8, Relaxed);
}

/// The byte budget of our own headers, names and values together.
#[must_use]
pub fn header_budget() -> usize {
    BUDGET.load(Relaxed)
}

/// Sets the byte budget of our own headers. Over it they are left out in this order, counted in
/// [`counters`](crate::counters()) and named on the span: pathway, baggage not on the allow-list, baggage, tracestate.
/// `traceparent`, the correlation id and the tenant are never left out, so the budget is not kept below some 400 bytes.
pub fn set_header_budget(bytes: usize) {
    BUDGET.store(bytes, Relaxed);
}

/// The cap on a span's links.
#[must_use]
pub fn link_cap() -> usize {
    LINK_CAP.load(Relaxed)
}

/// Sets the cap on a span's links. Above it the oldest contributors go first and `throughline.links.total` says how many
/// there were. Not higher than the SDK's own limit (`SpanLimits::max_links_per_span`): past that the SDK drops the
/// *newest* in silence.
pub fn set_link_cap(links: usize) {
    LINK_CAP.store(links, Relaxed);
}

/// Names of baggage members that are kept longest when the byte budget is short, may appear on a batch's links, and may
/// leave through the HTTP client layer. Empty until it is set: baggage is untrusted input.
pub fn set_baggage_allow_list<N: Into<String>>(names: impl IntoIterator<Item = N>) {
    let names = Arc::new(names.into_iter().map(Into::into).collect());
    *ALLOWED.write().unwrap_or_else(PoisonError::into_inner) = Some(names);
}

/// Whether a baggage member is on the allow-list.
#[must_use]
pub fn is_baggage_allowed(name: &str) -> bool {
    let allowed = ALLOWED.read().unwrap_or_else(PoisonError::into_inner);
    allowed.as_ref().is_some_and(|names| names.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_opt_in_list_is_read_entry_by_entry() {
        for (list, expected) in [
            ("", Profile::V1_44),
            ("messaging", Profile::V1_44),
            ("http,messaging/dup", Profile::Dup),
            (" http/dup , messaging/dup ", Profile::Dup),
            ("messaging/dup2", Profile::V1_44),
            ("http/dup", Profile::V1_44),
        ] {
            assert_eq!(from_opt_in(list), expected, "{list:?}");
        }
    }
}
