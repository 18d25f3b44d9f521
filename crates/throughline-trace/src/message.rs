//! Which processing is of which send. Within a trace a parent or a link says so; where the context was lost only topic,
//! partition and offset are left, and those are used again: by a topic that was made anew, by a second cluster, by a
//! broker that began at zero. So a send and a processing are taken for one message only if nothing speaks against it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use throughline_otlp::{Span, SpanId, TraceId};
use throughline_semconv::attribute;

use crate::hop::{self, HopKey};
use crate::model::{Direction, Neighbour};
use crate::tree;

/// How much earlier than its send a processing may seem to begin: what two machines' clocks may disagree by before an
/// offset that was used again is the likelier reason.
const CLOCKS_MAY_DISAGREE_NANOS: i128 = 10_000_000_000;

/// Sends and processings of all spans at hand, by message.
pub(crate) struct Messages<'a> {
    sent: BTreeMap<HopKey, Vec<&'a Span>>,
    processed: BTreeMap<HopKey, Vec<&'a Span>>,
    sends: HashMap<(TraceId, SpanId), &'a Span>,
    ids: HashSet<(TraceId, SpanId)>,
}

/// Where the message of a processing came from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin<'a> {
    /// This send: the processing names it, or nothing speaks against it.
    Send(&'a Span),
    /// The processing continues or links a span that is not at hand: not for us to say that it is another one.
    NotAtHand,
    /// No send that it can be of is at hand.
    Unknown,
}

impl<'a> Messages<'a> {
    pub(crate) fn of(spans: impl Iterator<Item = &'a Span>) -> Self {
        let mut messages = Self {
            sent: BTreeMap::new(),
            processed: BTreeMap::new(),
            sends: HashMap::new(),
            ids: HashSet::new(),
        };
        for span in spans {
            messages.ids.insert((span.trace_id, span.span_id));
            let by_key = if hop::is_send(span) {
                messages.sends.entry((span.trace_id, span.span_id)).or_insert(span);
                &mut messages.sent
            } else {
                &mut messages.processed
            };
            for key in HopKey::all_of(span) {
                by_key.entry(key).or_default().push(span);
            }
        }
        messages
    }

    /// Where the message with this key, one of those that `process` processed, came from.
    pub(crate) fn origin(&self, key: &HopKey, process: &Span) -> Origin<'a> {
        let contexts = self.contexts(key, process);
        if let Some(send) = self.named(key, &contexts) {
            return Origin::Send(send);
        }
        if contexts.iter().any(|context| !self.ids.contains(context)) {
            return Origin::NotAtHand;
        }
        self.nearest(key, process).map_or(Origin::Unknown, Origin::Send)
    }

    /// Whether a processing at hand, in whatever trace, is of this send's message.
    pub(crate) fn is_processed(&self, send: &Span) -> bool {
        self.processings(send).next().is_some()
    }

    /// The processings of this send's message that are known by its key.
    pub(crate) fn processings(&self, send: &Span) -> impl Iterator<Item = &'a Span> {
        let key = HopKey::of(send);
        let candidates = key.as_ref().and_then(|key| self.processed.get(key)).into_iter().flatten().copied();
        let id = (send.trace_id, send.span_id);
        let of_send = |process: &&Span| match key.as_ref().map(|key| self.origin(key, process)) {
            Some(Origin::Send(send)) => (send.trace_id, send.span_id) == id,
            _ => false,
        };
        candidates.filter(of_send).collect::<Vec<_>>().into_iter()
    }

    /// Each message of which one half is of this trace and the other is not: ours, theirs.
    pub(crate) fn across(&self, id: TraceId) -> Vec<(&'a Span, &'a Span)> {
        self.pairs(id, |key, process| match self.origin(key, process) {
            Origin::Send(send) => Some(send),
            Origin::NotAtHand | Origin::Unknown => None,
        })
    }

    /// The same, by any rule of which send a processing is of.
    fn pairs(
        &self,
        id: TraceId,
        send_of: impl Fn(&HopKey, &Span) -> Option<&'a Span>,
    ) -> Vec<(&'a Span, &'a Span)> {
        let every =
            self.processed.iter().flat_map(|(key, of_key)| of_key.iter().map(move |span| (key, *span)));
        let pair = |(key, process): (&HopKey, &'a Span)| {
            let send = send_of(key, process)?;
            match (send.trace_id == id, process.trace_id == id) {
                (true, false) => Some((send, process)),
                (false, true) => Some((process, send)),
                _ => None,
            }
        };
        every.filter_map(pair).collect()
    }

    /// What the processing names as the span that sent this message: a link that says it is this message's, else its
    /// parent and the links that say nothing of a message.
    fn contexts(&self, key: &HopKey, process: &Span) -> Vec<(TraceId, SpanId)> {
        let keyed = process.links.iter().map(|link| (HopKey::of_link(link, process), link));
        let (own, others): (Vec<_>, Vec<_>) =
            keyed.filter(|(of, _)| of.as_ref().is_none_or(|of| of == key)).partition(|(of, _)| of.is_some());
        if !own.is_empty() {
            return own.into_iter().map(|(_, link)| (link.trace_id, link.span_id)).collect();
        }
        let parent = process.parent.map(|parent| (process.trace_id, parent));
        // One in the same process, not sent yet, is not what the message carried.
        let parent = parent.filter(|parent| self.ids.contains(parent) || tree::enters_process(process));
        let linked = others.into_iter().map(|(_, link)| (link.trace_id, link.span_id));
        parent.into_iter().chain(linked).collect()
    }

    fn named(&self, key: &HopKey, contexts: &[(TraceId, SpanId)]) -> Option<&'a Span> {
        let sends = contexts.iter().filter_map(|context| self.sends.get(context)).copied();
        let mut sends = sends.filter(|send| match HopKey::of(send) {
            Some(of) => of == *key,
            // Its offset was never reported; its topic says enough.
            None => hop::destination(send).is_none_or(|destination| destination == key.destination),
        });
        sends.next()
    }

    /// The last send with this key before the processing; else the first after it, if clocks may explain that.
    fn nearest(&self, key: &HopKey, process: &Span) -> Option<&'a Span> {
        let lag = |send: &Span| process.start.since(send.start);
        let sends = self.sent.get(key).into_iter().flatten().copied();
        let sends =
            sends.filter(|send| lag(send) >= -CLOCKS_MAY_DISAGREE_NANOS && may_be_one_place(send, process));
        sends.min_by_key(|send| (lag(send) < 0, lag(send).abs(), send.trace_id, send.span_id))
    }
}

/// Whether a topic of this name can be the same one for both: one cluster, as far as they say.
fn may_be_one_place(send: &Span, process: &Span) -> bool {
    let both = |key| Some((send.attribute(key)?, process.attribute(key)?));
    let clusters = both(attribute::MESSAGING_KAFKA_CLUSTER_ID);
    clusters.or_else(|| both(attribute::SERVER_ADDRESS)).is_none_or(|(sent, processed)| sent == processed)
}

/// Messages of which only one half, send or processing, is at hand, in the trace or what it is linked with. Whoever has
/// a store can look spans up by these keys, and have [`other_halves`] say which of them have to do with this trace.
#[must_use]
pub fn open_hops(id: TraceId, spans: &[Span], neighbours: &[Neighbour]) -> Vec<HopKey> {
    let messages = Messages::of(at_hand(id, spans, neighbours));
    let ours = || spans.iter().filter(|span| span.trace_id == id);
    let sent =
        ours().filter(|span| hop::is_send(span) && !messages.is_processed(span)).filter_map(HopKey::of);
    let processed = ours().filter(|span| hop::is_process(span)).flat_map(|span| {
        let keys = HopKey::all_of(span).into_iter();
        keys.filter(|key| matches!(messages.origin(key, span), Origin::Unknown))
    });
    let open: BTreeSet<HopKey> = sent.chain(processed).collect();
    open.into_iter().collect()
}

/// The traces that may have the other half of a message of this one, by the spans that were found at its [`open_hops`]:
/// each is to be handed in whole, as a neighbour of [`Direction::SameMessage`]. That is how a hop that lost its context
/// is found. An offset is used again, so most spans that are found there may be of other messages.
#[must_use]
pub fn other_halves(id: TraceId, spans: &[Span], neighbours: &[Neighbour], found: &[Span]) -> Vec<TraceId> {
    let messages = Messages::of(at_hand(id, spans, neighbours).chain(found));
    let mut pairs = messages.pairs(id, |key, process| {
        // A context that is not at hand may be in the rest of its trace.
        messages.named(key, &messages.contexts(key, process)).or_else(|| messages.nearest(key, process))
    });
    pairs.sort_unstable_by_key(|(_, theirs)| (theirs.start, theirs.trace_id));
    let mut seen = HashSet::new();
    pairs.into_iter().map(|(_, theirs)| theirs.trace_id).filter(|id| seen.insert(*id)).collect()
}

/// The spans of the trace, and those of the traces it is linked with.
fn at_hand<'a>(
    id: TraceId,
    spans: &'a [Span],
    neighbours: &'a [Neighbour],
) -> impl Iterator<Item = &'a Span> {
    let linked = neighbours.iter().filter(|n| n.direction != Direction::SameMessage).flat_map(|n| &n.spans);
    spans.iter().filter(move |span| span.trace_id == id).chain(linked)
}

#[cfg(test)]
mod tests;
