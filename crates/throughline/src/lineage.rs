//! Batch lineage: which traces contributed to a batch. Links, count, hash, oldest and newest origin, and what all messages
//! agree on. Pure: headers in, [`Lineage`] out; the span is made elsewhere.

mod agreement;
mod batch;
#[cfg(test)]
mod tests;

pub(crate) use batch::BatchSlot;

use crate::context::Incoming;
use crate::headers::HeaderSource;
use crate::settings::{self, Profile};
use crate::span::{position, rename_position, shown_key};
use agreement::Agreement;
use batch::Place;
use opentelemetry::trace::{Link, TraceContextExt, TraceId};
use opentelemetry::{Context, KeyValue, StringValue};
use sha2::{Digest, Sha256};
use throughline_semconv::{attribute, own};

/// One message of a batch.
#[derive(Clone, Debug, Default)]
pub struct Contribution {
    /// What its headers carried.
    pub incoming: Incoming,
    /// The topic, queue or stream it came from. Without it the messages of a batch from several cannot be told apart.
    pub destination: Option<StringValue>,
    /// Its partition.
    pub partition: Option<i32>,
    /// Its offset.
    pub offset: Option<i64>,
    /// Its key, as bytes.
    pub key: Option<Vec<u8>>,
    /// When its record was stamped, in Unix milliseconds.
    pub record_timestamp: Option<i64>,
}

/// Anything that can stand for one message of a batch: an [`Incoming`], a [`Contribution`], any headers, a client's message.
pub trait Contributor {
    /// What it contributes.
    fn contribution(&self) -> Contribution;
}

impl<H: HeaderSource + ?Sized> Contributor for H {
    fn contribution(&self) -> Contribution {
        Contribution { incoming: crate::extract(self), ..Contribution::default() }
    }
}

impl Contributor for Incoming {
    fn contribution(&self) -> Contribution {
        Contribution { incoming: self.clone(), ..Contribution::default() }
    }
}

impl Contributor for &Incoming {
    fn contribution(&self) -> Contribution {
        (**self).contribution()
    }
}

impl Contributor for Contribution {
    fn contribution(&self) -> Contribution {
        self.clone()
    }
}

impl Contributor for &Contribution {
    fn contribution(&self) -> Contribution {
        (**self).clone()
    }
}

/// Where a batch came from.
///
/// Give it to [`SpanSpec::lineage`](crate::SpanSpec::lineage), which sets everything; or take it apart as the source does.
#[derive(Debug, Default)]
pub struct Lineage {
    /// A link per message that carried a trace, oldest first, at most as many as asked for: the newest are kept. Each names
    /// its message: topic, partition, offset, key, correlation id, tenant, baggage on the allow-list. (A span that is given
    /// the whole lineage says itself what all messages agree on, and its links only what varies.)
    pub links: Vec<Link>,
    /// How many links there would be without the cap.
    pub links_total: usize,
    /// How many messages, with or without a trace.
    pub messages: usize,
    /// How many distinct traces contributed; never capped.
    pub linked_trace_id_count: usize,
    /// 16 hex digits over the distinct trace ids of all contributors; `None` if there are none. Batches of the same
    /// contributors have the same hash, in whatever order they came.
    pub linked_trace_id_hash: Option<String>,
    /// The oldest record timestamp, in Unix milliseconds.
    pub oldest_origin: Option<i64>,
    /// The newest one.
    pub newest_origin: Option<i64>,
    /// One of the messages had two different `traceparent` headers.
    pub(crate) conflict: bool,
    /// Correlation id, tenant and baggage that all messages agree on.
    pub(crate) agreed: Context,
    pub(crate) places: Vec<Place>,
    /// The names in which positions stand on links and places.
    profile: Profile,
}

/// The lineage of a batch, from its messages in the order they came: the source's `extractBatchLineage`.
///
/// ```
/// use throughline::extract_batch_lineage;
/// let messages = [
///     [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")],
///     [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")],
/// ];
/// let lineage = extract_batch_lineage(&messages, 50);
/// assert_eq!(lineage.linked_trace_id_count, 2);
/// assert_eq!(lineage.linked_trace_id_hash.as_deref(), Some("2b011da7875bd41d"));
/// ```
pub fn extract_batch_lineage<I>(messages: I, max_links: usize) -> Lineage
where
    I: IntoIterator<Item: Contributor>,
{
    let profile = settings::profile();
    let contributions: Vec<Contribution> =
        messages.into_iter().map(|message| message.contribution()).collect();
    let links_total = contributions.iter().map(|message| message.link_count()).sum::<usize>();
    let mut to_skip = links_total.saturating_sub(max_links);
    let mut links = Vec::with_capacity(links_total - to_skip);
    for message in &contributions {
        let count = message.link_count();
        let skip = to_skip.min(count);
        to_skip -= skip;
        if skip < count {
            links.extend(message.links(profile).into_iter().skip(skip));
        }
    }
    let (linked_trace_id_count, linked_trace_id_hash) =
        hash(contributions.iter().filter_map(|message| message.incoming.trace_id()));
    let origins = || contributions.iter().filter_map(|message| message.record_timestamp);
    Lineage {
        links,
        links_total,
        messages: contributions.len(),
        linked_trace_id_count,
        linked_trace_id_hash,
        oldest_origin: origins().min(),
        newest_origin: origins().max(),
        conflict: contributions.iter().any(|message| !message.incoming.losers.is_empty()),
        agreed: Agreement::of(&contributions).into_context(),
        places: contributions.iter().map(|message| message.place(profile)).collect(),
        profile,
    }
}

impl Lineage {
    /// Has partitions and offsets in the names of a span that is written with this profile.
    pub(crate) fn rename_positions(&mut self, profile: Profile) {
        if std::mem::replace(&mut self.profile, profile) == profile {
            return;
        }
        let on_links = self.links.iter_mut().map(|link| &mut link.attributes);
        for attributes in on_links.chain(self.places.iter_mut().map(|place| &mut place.attributes)) {
            rename_position(attributes, profile);
        }
    }

    /// Takes off a link those attributes that `span_says` and all messages agree on, and the topic where it is the span's.
    pub(crate) fn leave_out_agreed(
        &self,
        link: &mut Link,
        destination: Option<&str>,
        span_says: impl Fn(&str) -> bool,
    ) {
        link.attributes.retain(|kv| {
            let agreed = match kv.key.as_str() {
                attribute::MESSAGING_DESTINATION_NAME => destination == Some(&*kv.value.as_str()),
                _ => agreement::is_agreed(&self.agreed, kv),
            };
            !(agreed && span_says(kv.key.as_str()))
        });
    }
}

/// Distinct ids, sorted, joined by `|`, SHA-256, first 16 hex digits.
fn hash(ids: impl Iterator<Item = TraceId>) -> (usize, Option<String>) {
    let mut ids: Vec<[u8; 16]> = ids.map(TraceId::to_bytes).collect();
    ids.sort_unstable();
    ids.dedup();
    let joined: Vec<String> = ids.iter().map(|id| TraceId::from_bytes(*id).to_string()).collect();
    (ids.len(), (!ids.is_empty()).then(|| short_hash(joined.join("|").as_bytes())))
}

/// The first 16 hex digits of a SHA-256.
pub(crate) fn short_hash(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes).iter().take(8).fold(String::with_capacity(16), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

impl Contribution {
    fn link_count(&self) -> usize {
        usize::from(self.incoming.found().traceparent) + self.incoming.losers.len()
    }

    /// A link to each context that lost in it; then its own, with all that names it.
    fn links(&self, profile: Profile) -> Vec<Link> {
        let mut links = Vec::with_capacity(self.link_count());
        for loser in &self.incoming.losers {
            links.push(crate::span::link(loser.clone(), "conflict"));
        }
        if self.incoming.found().traceparent {
            let mut attributes = Vec::with_capacity(8);
            attributes.push(KeyValue::new(own::LINK_REASON, "contributor"));
            self.describe(profile, &mut attributes);
            agreement::describe(&self.incoming, &mut attributes);
            links.push(Link::new(self.incoming.span_context(), attributes, 0));
        }
        links
    }

    fn describe(&self, profile: Profile, attributes: &mut Vec<KeyValue>) {
        if let Some(destination) = &self.destination {
            attributes.push(KeyValue::new(attribute::MESSAGING_DESTINATION_NAME, destination.clone()));
        }
        position(attributes, profile, self.partition, self.offset);
        if let Some(key) = self.key.as_deref().and_then(shown_key) {
            attributes.push(KeyValue::new(attribute::MESSAGING_KAFKA_MESSAGE_KEY, key));
        }
    }

    fn place(&self, profile: Profile) -> Place {
        let mut attributes = Vec::with_capacity(6);
        self.describe(profile, &mut attributes);
        let span = self.incoming.context.span();
        Place {
            attributes,
            correlation: self.incoming.correlation_id(),
            origin: span
                .span_context()
                .is_valid()
                .then(|| (span.span_context().trace_id(), span.span_context().span_id())),
        }
    }
}
