//! The peer: the same hop, hand-written well on the OpenTelemetry SDK. Direct carriers over rdkafka's headers, static
//! names, attributes and links given at creation; the same attributes, links and propagation as ours.

use std::sync::Arc;
use std::time::Instant;

use opentelemetry::baggage::BaggageExt;
use opentelemetry::global::BoxedTracer;
use opentelemetry::metrics::{Counter, Histogram, Meter};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{Link, SpanBuilder, SpanKind, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use rdkafka::message::{Header, Headers, OwnedHeaders};
use throughline_semconv::{attribute, header, metric, own};

use crate::hop::{FROM, Facts, GROUP, KEY, Message, TO};

struct Incoming<'a, H>(&'a H);

impl<H: Headers> Extractor for Incoming<'_, H> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|h| h.key == key).and_then(|h| std::str::from_utf8(h.value?).ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|h| h.key).collect()
    }
}

struct Outgoing(Option<OwnedHeaders>);

impl Injector for Outgoing {
    fn set(&mut self, key: &str, value: String) {
        let headers = self.0.take().unwrap_or_default();
        self.0 = Some(headers.insert(Header { key, value: Some(value.as_bytes()) }));
    }
}

/// What a team keeps around: tracer, propagators, instruments, names.
pub struct ByHand {
    tracer: BoxedTracer,
    trace_context: TraceContextPropagator,
    baggage: BaggagePropagator,
    from: Arc<str>,
    to: Arc<str>,
    group: Arc<str>,
    process_name: &'static str,
    send_name: &'static str,
    client: Option<Client>,
    metrics: Option<Instruments>,
}

/// What a client's spans say of the client.
struct Client {
    id: Arc<str>,
    address: Arc<str>,
    port: i64,
}

struct Instruments {
    operation: Histogram<f64>,
    process: Histogram<f64>,
    sent: Counter<u64>,
    consumed: Counter<u64>,
}

impl Instruments {
    fn new(meter: &Meter) -> Self {
        let seconds =
            |name| meter.f64_histogram(name).with_boundaries(metric::DURATION_BUCKETS.to_vec()).build();
        Self {
            operation: seconds(metric::CLIENT_OPERATION_DURATION),
            process: seconds(metric::PROCESS_DURATION),
            sent: meter.u64_counter(metric::CLIENT_SENT_MESSAGES).build(),
            consumed: meter.u64_counter(metric::CLIENT_CONSUMED_MESSAGES).build(),
        }
    }
}

impl ByHand {
    /// With the global tracer; `meter` only if metrics are recorded.
    #[must_use]
    pub fn new(meter: Option<&Meter>) -> Self {
        Self {
            tracer: opentelemetry::global::tracer("by-hand"),
            trace_context: TraceContextPropagator::new(),
            baggage: BaggagePropagator::new(),
            from: FROM.into(),
            to: TO.into(),
            group: GROUP.into(),
            process_name: "process orders",
            send_name: "send payments",
            client: None,
            metrics: meter.map(Instruments::new),
        }
    }

    /// With topics and a client of its own.
    #[must_use]
    pub fn for_client(self, from: &str, to: &str, id: &str, (address, port): (&str, u16)) -> Self {
        let client = Some(Client { id: id.into(), address: address.into(), port: port.into() });
        let (process_name, send_name) = (format!("process {from}").leak(), format!("send {to}").leak());
        Self { from: from.into(), to: to.into(), process_name, send_name, client, ..self }
    }

    /// Consume, handle, produce; returns the headers of the message produced.
    pub fn hop(&self, message: &Message) -> OwnedHeaders {
        let started = Instant::now();
        let (cx, correlation) = self.start_process(&message.headers, &message.facts);
        let guard = cx.clone().attach();
        let sending = Instant::now();
        let (span, headers) = self.start_send(&cx, &correlation, None);
        self.end_send(&span, sending);
        drop(guard);
        self.end_process(&cx, started);
        headers
    }

    /// The process span, active in the context, and the correlation id.
    pub fn start_process<H: Headers>(&self, headers: &H, message: &Facts) -> (Context, Arc<str>) {
        let carrier = Incoming(headers);
        let cx = self.trace_context.extract_with_context(&Context::new(), &carrier);
        let cx = self.baggage.extract_with_context(&cx, &carrier);
        let correlation: Arc<str> = carrier.get(header::X_CORRELATION_ID).unwrap_or_default().into();
        let creation = cx.span().span_context().clone();
        let span = self.tracer.build_with_context(self.process_span(message, &correlation, creation), &cx);
        (cx.with_span(span), correlation)
    }

    /// Ends the process span.
    pub fn end_process(&self, cx: &Context, started: Instant) {
        cx.span().end();
        self.record(&self.from, "process", |m, labels| {
            m.process.record(started.elapsed().as_secs_f64(), labels);
            m.consumed.add(1, labels);
        });
    }

    /// Ends the send span at its delivery report.
    pub fn end_delivered(&self, cx: &Context, started: Instant, partition: i32, offset: i64) {
        let span = cx.span();
        span.set_attribute(KeyValue::new(
            attribute::MESSAGING_DESTINATION_PARTITION_ID,
            partition.to_string(),
        ));
        span.set_attribute(KeyValue::new(attribute::MESSAGING_KAFKA_OFFSET, offset));
        self.end_send(cx, started);
    }

    /// Ends the send span.
    pub fn end_send(&self, cx: &Context, started: Instant) {
        cx.span().end();
        self.record(&self.to, "send", |m, labels| {
            m.operation.record(started.elapsed().as_secs_f64(), labels);
            m.sent.add(1, labels);
        });
    }

    fn process_span(
        &self,
        message: &Facts,
        correlation: &Arc<str>,
        creation: opentelemetry::trace::SpanContext,
    ) -> SpanBuilder {
        let known = [
            KeyValue::new(attribute::MESSAGING_SYSTEM, "kafka"),
            KeyValue::new(attribute::MESSAGING_OPERATION_NAME, "process"),
            KeyValue::new(attribute::MESSAGING_OPERATION_TYPE, "process"),
            KeyValue::new(attribute::MESSAGING_DESTINATION_NAME, Arc::clone(&self.from)),
            KeyValue::new(attribute::MESSAGING_CONSUMER_GROUP_NAME, Arc::clone(&self.group)),
            KeyValue::new(attribute::MESSAGING_DESTINATION_PARTITION_ID, message.partition.to_string()),
            KeyValue::new(attribute::MESSAGING_KAFKA_OFFSET, message.offset),
            KeyValue::new(attribute::MESSAGING_KAFKA_MESSAGE_KEY, KEY.to_owned()),
            KeyValue::new(own::RECORD_TIMESTAMP, message.timestamp),
            KeyValue::new(own::HEADERS_FOUND, message.found),
            KeyValue::new(attribute::MESSAGING_MESSAGE_CONVERSATION_ID, Arc::clone(correlation)),
            KeyValue::new(own::CORRELATION_ID, Arc::clone(correlation)),
        ];
        SpanBuilder::from_name(self.process_name)
            .with_kind(SpanKind::Consumer)
            .with_attributes(known.into_iter().chain(self.of_client(message.size)))
            .with_links(vec![Link::new(creation, vec![KeyValue::new(own::LINK_REASON, "parent")], 0)])
    }

    /// The send span, active in the context, and the headers that carry it.
    pub fn start_send(
        &self,
        cx: &Context,
        correlation: &Arc<str>,
        size: Option<usize>,
    ) -> (Context, OwnedHeaders) {
        let known = [
            KeyValue::new(attribute::MESSAGING_SYSTEM, "kafka"),
            KeyValue::new(attribute::MESSAGING_OPERATION_NAME, "send"),
            KeyValue::new(attribute::MESSAGING_OPERATION_TYPE, "send"),
            KeyValue::new(attribute::MESSAGING_DESTINATION_NAME, Arc::clone(&self.to)),
            KeyValue::new(attribute::MESSAGING_KAFKA_MESSAGE_KEY, KEY.to_owned()),
            KeyValue::new(attribute::MESSAGING_MESSAGE_CONVERSATION_ID, Arc::clone(correlation)),
            KeyValue::new(own::CORRELATION_ID, Arc::clone(correlation)),
        ];
        let builder = SpanBuilder::from_name(self.send_name)
            .with_kind(SpanKind::Producer)
            .with_attributes(known.into_iter().chain(self.of_client(size)));
        let cx = cx.with_span(self.tracer.build_with_context(builder, cx));
        let mut out = Outgoing(Some(OwnedHeaders::new_with_capacity(5)));
        self.trace_context.inject_context(&cx, &mut out);
        if !cx.baggage().is_empty() {
            self.baggage.inject_context(&cx, &mut out);
        }
        out.set(header::X_CORRELATION_ID, correlation.as_ref().to_owned());
        (cx, out.0.unwrap_or_default())
    }

    fn of_client(&self, size: Option<usize>) -> impl Iterator<Item = KeyValue> {
        let size = size.map(|size| KeyValue::new(attribute::MESSAGING_MESSAGE_BODY_SIZE, size as i64));
        let client = self.client.as_ref().map(|client| {
            [
                KeyValue::new(attribute::MESSAGING_CLIENT_ID, Arc::clone(&client.id)),
                KeyValue::new(attribute::SERVER_ADDRESS, Arc::clone(&client.address)),
                KeyValue::new(attribute::SERVER_PORT, client.port),
            ]
        });
        client.into_iter().flatten().chain(size)
    }

    fn record(
        &self,
        destination: &Arc<str>,
        operation: &'static str,
        record: impl FnOnce(&Instruments, &[KeyValue]),
    ) {
        if let Some(instruments) = &self.metrics {
            let labels = [
                KeyValue::new(attribute::MESSAGING_SYSTEM, "kafka"),
                KeyValue::new(attribute::MESSAGING_OPERATION_NAME, operation),
                KeyValue::new(attribute::MESSAGING_DESTINATION_NAME, Arc::clone(destination)),
                KeyValue::new(attribute::MESSAGING_CONSUMER_GROUP_NAME, Arc::clone(&self.group)),
            ];
            // A producer is in no group.
            let count = if operation == "process" { 4 } else { 3 };
            record(instruments, labels.get(..count).unwrap_or_default());
        }
    }
}
