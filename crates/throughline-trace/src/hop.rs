//! The hop: which message a span sent or processed, and how long that message waited in the queue. Reads all
//! generations of attribute names.

use std::collections::HashMap;

use throughline_otlp::model::{self, KeyValue, Link};
use throughline_otlp::{Span, SpanId, SpanKind, TraceId, UnixNanos, Value};
use throughline_semconv::{attribute, own};

/// A millisecond, what a record's timestamp is exact to.
const MILLI: i128 = 1_000_000;

/// Names one message wherever it is met, without trace context: what joins a send to its processing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HopKey {
    /// `kafka`, ….
    pub system: String,
    /// Topic.
    pub destination: String,
    /// Partition, as text.
    pub partition: String,
    /// Offset.
    pub offset: i64,
}

/// The time a message spent in its queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Topic, queue or stream.
    pub destination: String,
    /// Partition, if known.
    pub partition: Option<String>,
    /// Offset, if known.
    pub offset: Option<i64>,
    /// When it went in.
    pub from: UnixNanos,
    /// When its processing began.
    pub until: UnixNanos,
    /// What `from` is.
    pub source: WaitSource,
}

/// What a wait is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitSource {
    /// The record's own timestamp, in whole milliseconds.
    RecordTimestamp,
    /// The start of the send span: the record's timestamp is not at hand, or it is the start's own millisecond and thus
    /// says no more than the start, only less exactly.
    SendStart,
}

impl Wait {
    /// Length in nanoseconds; **negative if the two clocks disagree**.
    #[must_use]
    pub fn nanos(&self) -> i128 {
        self.until.since(self.from)
    }

    /// `orders p2 @17`, as much of it as is known.
    #[must_use]
    pub fn place(&self) -> String {
        let mut place = self.destination.clone();
        if let Some(partition) = &self.partition {
            place.push_str(" p");
            place.push_str(partition);
        }
        if let Some(offset) = self.offset {
            place.push_str(&format!(" @{offset}"));
        }
        place
    }
}

impl HopKey {
    /// The message a send or process span is about, if the span says all of it.
    #[must_use]
    pub fn of(span: &Span) -> Option<Self> {
        if !is_send(span) && !is_process(span) {
            return None;
        }
        Self::from_attributes(&span.attributes, &span.attributes)
    }

    /// All messages of a process span: its own, and those its links name (a batch).
    #[must_use]
    pub fn all_of(span: &Span) -> Vec<Self> {
        let links = span.links.iter().filter(|_| is_process(span));
        let linked = links.filter_map(|link| Self::of_link(link, span));
        Self::of(span).into_iter().chain(linked).collect()
    }

    /// The message that a link of a process span names, if it names one.
    pub(crate) fn of_link(link: &Link, span: &Span) -> Option<Self> {
        Self::from_attributes(&link.attributes, &span.attributes)
    }

    /// What varies by message from `own`, what is shared from `shared` where `own` is silent.
    fn from_attributes(own: &[KeyValue], shared: &[KeyValue]) -> Option<Self> {
        let either = |key| model::find(own, key).or_else(|| model::find(shared, key)).and_then(text);
        Some(Self {
            system: either(attribute::MESSAGING_SYSTEM)?,
            destination: either(attribute::MESSAGING_DESTINATION_NAME)?,
            partition: model::find(own, attribute::MESSAGING_DESTINATION_PARTITION_ID).and_then(text)?,
            offset: model::find(own, attribute::MESSAGING_KAFKA_OFFSET).and_then(int)?,
        })
    }
}

/// Whether the span sent a message: PRODUCER, or a CLIENT that says it sends.
#[must_use]
pub fn is_send(span: &Span) -> bool {
    match span.kind {
        SpanKind::Producer => true,
        SpanKind::Client => matches!(operation_type(span), Some("send" | "publish" | "create")),
        _ => false,
    }
}

/// Whether the span processed a message: CONSUMER, unless it says it only received or settled.
#[must_use]
pub fn is_process(span: &Span) -> bool {
    span.kind == SpanKind::Consumer && !matches!(operation_type(span), Some("receive" | "settle"))
}

/// `send`, `receive`, `process`, …, as the span says it.
pub(crate) fn operation_type(span: &Span) -> Option<&str> {
    match span.attribute(attribute::MESSAGING_OPERATION_TYPE) {
        Some(Value::Str(kind)) => Some(kind),
        _ => None,
    }
}

/// The topic, queue or stream a span is about.
#[must_use]
pub fn destination(span: &Span) -> Option<String> {
    span.attribute(attribute::MESSAGING_DESTINATION_NAME).and_then(text)
}

/// Spans by id, of this trace and its neighbours, to follow links and parents with.
pub(crate) type Known<'a> = HashMap<(TraceId, SpanId), &'a Span>;

/// How long the message that `span` processed waited; for a batch, its longest.
pub(crate) fn wait(span: &Span, known: &Known<'_>) -> Option<Wait> {
    if !is_process(span) {
        return None;
    }
    let send = span.parent.and_then(|parent| known.get(&(span.trace_id, parent))).copied();
    if let Some(wait) = wait_from(span, &span.attributes, send.filter(|send| is_send(send))) {
        return Some(wait);
    }
    let over_links = span.links.iter().filter_map(|link| wait_over(span, link, known));
    let over_links = over_links.min_by_key(|wait| wait.from);
    // The link knows partition and offset, so the batch's own statement must add something to be told instead.
    match (over_links, oldest_of_batch(span)) {
        (Some(link), Some(oldest)) if link.from.since(oldest.from) < MILLI => Some(link),
        (_, Some(oldest)) => Some(oldest),
        (link, None) => link,
    }
}

/// What a batch says itself of its oldest message.
fn oldest_of_batch(span: &Span) -> Option<Wait> {
    Some(Wait {
        destination: destination(span)?,
        partition: None,
        offset: None,
        from: millis(&span.attributes, own::BATCH_OLDEST_ORIGIN)?,
        until: span.start,
        source: WaitSource::RecordTimestamp,
    })
}

/// How long the message behind one link of a process span waited.
pub(crate) fn wait_over(span: &Span, link: &Link, known: &Known<'_>) -> Option<Wait> {
    let send = known.get(&(link.trace_id, link.span_id)).copied();
    wait_from(span, &link.attributes, send.filter(|send| is_send(send)))
}

/// From the record's timestamp in `message` (the attributes that describe the one message), else from its send. The
/// timestamp is cut to its millisecond: where the send began in that very one, counting from the timestamp would begin
/// the wait before its own cause.
fn wait_from(span: &Span, message: &[KeyValue], send: Option<&Span>) -> Option<Wait> {
    let (from, source) = match (millis(message, own::RECORD_TIMESTAMP), send) {
        (Some(from), Some(send)) if (0..MILLI).contains(&send.start.since(from)) => {
            (send.start, WaitSource::SendStart)
        }
        (Some(from), _) => (from, WaitSource::RecordTimestamp),
        (None, Some(send)) => (send.start, WaitSource::SendStart),
        (None, None) => return None,
    };
    let of_message = |key| model::find(message, key);
    let name = of_message(attribute::MESSAGING_DESTINATION_NAME).and_then(text);
    Some(Wait {
        destination: name.or_else(|| destination(span)).or_else(|| send.and_then(destination))?,
        partition: of_message(attribute::MESSAGING_DESTINATION_PARTITION_ID).and_then(text),
        offset: of_message(attribute::MESSAGING_KAFKA_OFFSET).and_then(int),
        from,
        until: span.start,
        source,
    })
}

fn millis(attributes: &[KeyValue], key: &str) -> Option<UnixNanos> {
    let millis = u64::try_from(model::find(attributes, key).and_then(int)?).ok()?;
    millis.checked_mul(1_000_000).map(UnixNanos)
}

/// A value as text, `None` if it is empty.
pub(crate) fn text(value: &Value) -> Option<String> {
    Some(value.to_text()).filter(|text| !text.is_empty() && *value != Value::Empty)
}

/// A value as an integer: legacy instrumentation writes offsets as strings.
pub(crate) fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Int(int) => Some(*int),
        Value::Str(text) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Direction, assemble, cases, open_hops};

    /// The wait of the one process span, whose send starts so many nanoseconds after 1,003 ms.
    fn check(late: u64, process: &str) -> (u64, WaitSource, Option<String>) {
        let text = format!(
            "1 01 - api server 1000-1012 POST /
            1 02 01 api producer 1003-1006 send orders ; messaging.destination.name=orders
            1 03 {process}"
        );
        let mut spans = cases::spans(&text);
        spans[1].start.0 += late;
        let trace = assemble(cases::input(spans, &[]));
        let wait = trace.nodes.iter().find_map(|node| node.wait.clone()).unwrap();
        assert!(wait.from >= trace.start);
        (wait.from.0, wait.source, wait.partition)
    }

    #[test]
    fn a_wait_counts_from_the_timestamp_but_not_from_before_its_own_send() {
        let of = |timestamp: u64| {
            format!(
                "02 w consumer 1043-1053 process ; messaging.destination.name=orders throughline.record.timestamp={timestamp}"
            )
        };
        let (stamp, send) = (WaitSource::RecordTimestamp, WaitSource::SendStart);
        for (late, timestamp, from, source) in [
            (540_000, 1003, 1_003_540_000, send),
            (0, 1003, 1_003_000_000, send),
            (999_999, 1003, 1_003_999_999, send),
            // Later than the start: the message was made, or arrived, after the send had begun.
            (540_000, 1004, 1_004_000_000, stamp),
            // A millisecond or more before it: two clocks, or a timestamp that the application chose.
            (540_000, 1002, 1_002_000_000, stamp),
        ] {
            assert_eq!(check(late, &of(timestamp)), (from, source, None), "{late} {timestamp}");
        }
    }

    /// Two topics, the same partition and offset in both: only the link's own topic tells the messages apart.
    #[test]
    fn a_message_of_a_batch_from_several_topics_is_named_by_its_link() {
        let place = "messaging.destination.partition.id=0 messaging.kafka.offset=5";
        let send = |id: u8, topic: &str| {
            format!(
                "1 0{id} - api producer 1-2 send {topic} ; messaging.system=kafka messaging.destination.name={topic} {place}"
            )
        };
        let batch = |first: &str, second: &str| {
            let system = "messaging.system=kafka messaging.destination.name=a,b";
            format!("2 03 - w consumer 3-4 batch ; {system} ; >1/01 {first}{place} ; >1/02 {second}{place}")
        };
        let open = |batch: &str| {
            let spans = cases::spans(&format!("{}\n{}\n{batch}", send(1, "a"), send(2, "b")));
            let theirs = cases::input(spans.clone(), &[("2", Direction::Dependant)]).neighbours;
            open_hops(TraceId::from_hex("1").unwrap(), &spans, &theirs).len()
        };
        let named = |topic: &str| format!("messaging.destination.name={topic} ");
        assert_eq!(open(&batch(&named("a"), &named("b"))), 0);
        assert_eq!(open(&batch(&named("a"), "")), 1);
        assert_eq!(open(&batch("", "")), 2);
    }

    #[test]
    fn a_batch_that_states_its_oldest_message_in_whole_milliseconds_still_names_its_partition() {
        let of = |oldest: u64| {
            format!(
                "- w consumer 1043-1053 process ; messaging.destination.name=orders {}={oldest} ; >1/02 \
                 messaging.destination.partition.id=p2 throughline.record.timestamp=1003",
                own::BATCH_OLDEST_ORIGIN
            )
        };
        let named = (1_003_540_000, WaitSource::SendStart, Some("p2".to_owned()));
        assert_eq!(check(540_000, &of(1003)), named);
        assert_eq!(check(540_000, &of(1001)), (1_001_000_000, WaitSource::RecordTimestamp, None));
    }
}
