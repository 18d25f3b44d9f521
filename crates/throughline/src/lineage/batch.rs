//! What a batch's span remembers while it runs, so that one message's failure can be put down to that message.

use super::Lineage;
use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanId, TraceId};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use throughline_semconv::own;

/// One message of a running batch: what names it.
#[derive(Debug)]
pub(crate) struct Place {
    /// Topic, partition, offset, key.
    pub(super) attributes: Vec<KeyValue>,
    pub(super) correlation: Option<Arc<str>>,
    pub(super) origin: Option<(TraceId, SpanId)>,
}

struct Running {
    places: Vec<Place>,
    failed: AtomicI64,
}

/// Context value of a batch's span. Every span below sees it and may report a failed message; only the batch's own ends by it.
#[derive(Clone)]
pub(crate) struct BatchSlot(Arc<Running>);

impl BatchSlot {
    pub(crate) fn new(lineage: Lineage) -> Self {
        Self(Arc::new(Running { places: lineage.places, failed: AtomicI64::new(0) }))
    }

    /// Counts a failed message; what names it, for the exception event.
    pub(crate) fn message_failed(&self, index: usize) -> Vec<KeyValue> {
        self.0.failed.fetch_add(1, Relaxed);
        let Some(place) = self.0.places.get(index) else { return Vec::new() };
        let mut attributes = place.attributes.clone();
        if let Some(id) = &place.correlation {
            attributes.push(KeyValue::new(own::CORRELATION_ID, Arc::clone(id)));
        }
        if let Some((trace_id, span_id)) = place.origin {
            attributes.push(KeyValue::new(own::MESSAGE_TRACE_ID, trace_id.to_string()));
            attributes.push(KeyValue::new(own::MESSAGE_SPAN_ID, span_id.to_string()));
        }
        attributes
    }

    /// How many messages failed, of how many.
    pub(crate) fn failed_of(&self) -> (i64, usize) {
        (self.0.failed.load(Relaxed), self.0.places.len())
    }
}
