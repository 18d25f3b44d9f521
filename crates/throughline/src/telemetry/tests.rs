//! The pipeline against a collector of twenty lines: what it gets, what is counted when it gets nothing.

mod sink;

use std::time::Duration;

use opentelemetry::{
    Context, KeyValue,
    logs::{LogRecord as _, Logger as _, LoggerProvider as _},
    trace::{Span as _, SpanContext, TraceContextExt as _, TraceFlags, Tracer as _, TracerProvider as _},
};

use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use tracing_subscriber::layer::SubscriberExt as _;

use self::sink::{Answer, Sink};
use super::{
    intake::Counts,
    pipeline::Pipeline,
    settings::{Defaults, Settings},
    subscriber,
};

fn pipeline(sink: &Sink, variables: &[(&str, &str)]) -> Pipeline {
    let defaults = Defaults {
        service: "worker".to_owned(),
        endpoint: Some(sink.url()),
        attributes: Vec::new(),
        filter: "info".to_owned(),
        span_queue: 16_384,
    };
    let lookup =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Pipeline::build(&Settings::read(&defaults, &lookup).unwrap()).unwrap()
}

fn end_spans(pipeline: &Pipeline, count: usize) {
    let tracer = pipeline.tracers.as_ref().unwrap().tracer("test");
    for _ in 0..count {
        tracer.start("work").end();
    }
}

fn spans(pipeline: &Pipeline) -> Counts {
    pipeline.spans.as_ref().unwrap().counts()
}

#[test]
fn what_is_recorded_arrives_and_is_counted_as_exported() {
    for (compression, encoding) in [("none", None), ("gzip", Some("gzip"))] {
        let sink = Sink::start(Answer::Ok);
        let variables = [
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=k"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", compression),
            ("OTEL_RESOURCE_ATTRIBUTES", "region=eu"),
        ];
        let pipeline = pipeline(&sink, &variables);
        end_spans(&pipeline, 3);
        pipeline.shutdown().unwrap();

        assert_eq!(spans(&pipeline), Counts { accepted: 3, exported: 3, ..Counts::default() });
        assert_eq!(sink.spans().len(), 3);
        assert_eq!(sink.resource("service.name").as_deref(), Some("worker"));
        assert_eq!(sink.resource("region").as_deref(), Some("eu"));
        let request = sink.requests("/v1/traces").remove(0);
        assert_eq!(request.header("x-api-key"), Some("k"));
        assert_eq!(request.header("content-encoding"), encoding);
    }
}

#[test]
fn a_span_keeps_a_thousand_links() {
    let sink = Sink::start(Answer::Ok);
    let pipeline = pipeline(&sink, &[]);
    let tracer = pipeline.tracers.as_ref().unwrap().tracer("test");
    let links = (1..=1_001_u128).map(|id| {
        let to = SpanContext::new(id.into(), 1.into(), TraceFlags::SAMPLED, true, Default::default());
        opentelemetry::trace::Link::with_context(to)
    });
    tracer.span_builder("batch").with_links(links.collect()).start(&tracer).end();
    pipeline.shutdown().unwrap();
    let [span] = sink.spans().try_into().unwrap();
    assert_eq!((span.links.len(), span.dropped_links_count), (1_000, 1));
}

#[test]
fn a_full_queue_drops_and_counts_and_never_exceeds_its_bound() {
    let sink = Sink::start(Answer::SpansHeld);
    let pipeline =
        pipeline(&sink, &[("OTEL_BSP_MAX_QUEUE_SIZE", "10"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")]);
    end_spans(&pipeline, 25);
    let counts = spans(&pipeline);
    assert_eq!((counts.accepted, counts.queue_full, counts.queued), (10, 15, 10), "{counts:?}");

    sink.release();
    pipeline.shutdown().unwrap();
    end_spans(&pipeline, 2);
    let counts = spans(&pipeline);
    assert_eq!((counts.exported, counts.queued), (10, 0), "{counts:?}");
    assert_eq!(counts.dropped(), 15 + counts.after_shutdown, "{counts:?}");
    assert_eq!(sink.spans().len(), 10);
}

#[test]
fn what_the_backend_refuses_is_counted() {
    let sink = Sink::start(Answer::Status(400));
    let pipeline = pipeline(&sink, &[]);
    end_spans(&pipeline, 7);
    pipeline.flush().unwrap_err();
    assert_eq!(spans(&pipeline), Counts { accepted: 7, export_failed: 7, ..Counts::default() });
    assert_eq!(
        pipeline.spans.as_ref().unwrap().last_problem().as_deref(),
        Some("the answer was 400 Bad Request")
    );
}

#[test]
fn a_backend_that_is_gone_is_named_with_its_reason() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sink = Sink::at(format!("http://{closed}"));
    let pipeline = pipeline(&sink, &[("OTEL_EXPORTER_OTLP_TIMEOUT", "200")]);
    end_spans(&pipeline, 1);
    pipeline.flush().unwrap_err();
    assert_eq!(spans(&pipeline).export_failed, 1);
    let problem = pipeline.spans.as_ref().unwrap().last_problem().unwrap();
    assert!(problem.contains("refused"), "{problem}");
}

#[test]
fn unsampled_spans_are_neither_sent_nor_counted() {
    let sink = Sink::start(Answer::Ok);
    let pipeline = pipeline(&sink, &[("OTEL_TRACES_SAMPLER", "always_off")]);
    end_spans(&pipeline, 5);
    pipeline.shutdown().unwrap();
    assert_eq!(spans(&pipeline), Counts::default());
    assert!(sink.spans().is_empty());
}

#[test]
fn a_disabled_sdk_builds_nothing() {
    let sink = Sink::start(Answer::Ok);
    let pipeline = pipeline(&sink, &[("OTEL_SDK_DISABLED", "true")]);
    assert!(pipeline.tracers.is_none() && pipeline.loggers.is_none() && pipeline.meters.is_none());
    pipeline.shutdown().unwrap();
}

#[test]
fn a_log_record_carries_trace_span_and_correlation_id() {
    let sink = Sink::start(Answer::Ok);
    let pipeline = pipeline(&sink, &[]);
    let logger = pipeline.loggers.as_ref().unwrap().logger("test");
    let remote = SpanContext::new(0xabc.into(), 0xdef.into(), TraceFlags::SAMPLED, true, Default::default());
    let derived = Context::new().with_remote_span_context(remote);
    let business = crate::with_correlation_id(&derived, "order-42").unwrap();
    for (context, body) in [(Context::new(), "none"), (derived, "derived"), (business.clone(), "business")] {
        let _active = context.attach();
        let mut record = logger.create_log_record();
        record.set_body(body.into());
        logger.emit(record);
    }
    let _active = business.attach();
    let mut record = logger.create_log_record();
    record.set_body("own field".into());
    record.add_attribute("correlation_id", "mine");
    logger.emit(record);
    pipeline.shutdown().unwrap();

    let seen: Vec<_> = sink.logs().iter().map(sink::summary).collect();
    let trace = format!("{:032x} {:016x}", 0xabc, 0xdef);
    assert_eq!(
        seen,
        [
            "none |  | ".to_owned(),
            format!("derived | {trace} | 0000000000000000"),
            format!("business | {trace} | order-42"),
            format!("own field | {trace} | mine"),
        ]
    );
}

/// Names of the events on the one span, its status, and the texts of the log records.
fn said(exporter: &str) -> (Vec<String>, StatusCode, Vec<String>) {
    let sink = Sink::start(Answer::Ok);
    let pipeline = pipeline(&sink, &[("OTEL_LOGS_EXPORTER", exporter)]);
    let subscriber = tracing_subscriber::registry().with(subscriber::layer(&pipeline));
    tracing::subscriber::with_default(subscriber, || {
        let span = tracing::info_span!("work");
        tracing::info!(parent: &span, "before it runs");
        span.in_scope(|| {
            tracing::info!(orders = 7, "inside");
            tracing::error!(error = "it broke");
            crate::Span::current().event("the application's own", []);
        });
    });
    pipeline.shutdown().unwrap();
    let [span] = sink.spans().try_into().unwrap();
    let status = span.status.map(|status| status.code()).unwrap();
    let names = span.events.into_iter().map(|event| event.name).collect();
    let mut logs: Vec<_> = sink.logs().iter().map(sink::summary).collect();
    logs.sort();
    (names, status, logs)
}

#[test]
fn what_is_said_inside_a_tracing_span_is_said_once() {
    let (events, status, logs) = said("otlp");
    assert_eq!(events, ["exception", "the application's own"]);
    assert_eq!((logs.len(), status), (3, StatusCode::Error), "{logs:?}");

    let (events, status, logs) = said("none");
    assert_eq!(events, ["before it runs", "inside", "exception", "the application's own"]);
    assert_eq!((logs.len(), status), (0, StatusCode::Error), "{logs:?}");
}

#[test]
fn the_accounts_are_metrics_too() {
    let sink = Sink::start(Answer::SpansHeld);
    let pipeline = pipeline(&sink, &[("OTEL_BSP_MAX_QUEUE_SIZE", "2")]);
    end_spans(&pipeline, 5);
    pipeline.meters.as_ref().unwrap().force_flush().unwrap();
    let dropped = sink.sum("otel.sdk.processor.span.processed", &KeyValue::new("error.type", "queue_full"));
    assert_eq!(dropped, Some(3));
    sink.release();
    pipeline.shutdown().unwrap();
}

#[test]
fn a_directive_of_the_users_beats_the_quiet_ones_and_a_bad_one_is_shown() {
    for (directives, enabled) in [("debug", "hyper=warn"), ("debug,hyper=debug", "hyper=debug")] {
        let filter = subscriber::filter(directives).unwrap().to_string();
        assert!(filter.split(',').any(|directive| directive == enabled), "{directives}: {filter}");
    }
    let error = subscriber::filter("info,=x=").unwrap_err().to_string();
    assert!(error.contains(r#""info,=x=""#) && error.contains("RUST_LOG"), "{error}");
}

#[test]
fn shutting_down_without_a_backend_ends_in_time() {
    let sink = Sink::start(Answer::SpansHeld);
    let pipeline = pipeline(&sink, &[]);
    end_spans(&pipeline, 1);
    let begun = std::time::Instant::now();
    pipeline.shutdown().unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    let counts = spans(&pipeline);
    assert_eq!((counts.export_failed, counts.queued), (1, 0), "{counts:?}");
}
