//! OTLP over gRPC: what is accepted, what is refused and with which status, over a real connection.

use prost::Message;

use super::client::{GRPC, Grpc, Headers, LOGS, METRICS, TRACES, framed, gzip};
use super::requests::{logs, metrics, partly_invalid, trace, traces};
use super::*;

const GZIP: (&str, &str) = ("grpc-encoding", "gzip");

/// Path, headers and frame of a call; the status and the beginning of the message it must get.
type Wrong = (&'static str, Headers, bytes::Bytes, u32, &'static str);

#[tokio::test]
async fn every_signal_is_accepted_and_found() {
    let backend = start(config()).await;
    let mut arrivals = backend.arrivals();
    let mut client = Grpc::connect(backend.addresses().grpc.unwrap()).await;
    for (path, message) in [
        (TRACES, traces(&[(1, 1, "a"), (1, 2, "b"), (2, 3, "c")]).encode_to_vec()),
        (LOGS, logs(1, "hello").encode_to_vec()),
        (METRICS, metrics("depth", &[7]).encode_to_vec()),
        (TRACES, Vec::new()),
    ] {
        let called = client.export(path, &message).await;
        assert_eq!((called.status, called.body.len()), (0, 0), "{path}: {}", called.message);
    }
    arrived(&mut arrivals, &[trace(1), trace(2)]).await;
    arrived(&mut arrivals, &[trace(1)]).await;
    let store = backend.store();
    assert_eq!(
        (spans(&store, trace(1)), spans(&store, trace(2))),
        (vec!["a".into(), "b".into()], vec!["c".into()])
    );
    assert_eq!(store.trace(trace(1)).unwrap().logs[0].body.to_text(), "hello");
    assert!(backend.metrics().contains("depth{job=\"api\",series=\"0\"} 7\n"));
    backend.shutdown().await;
}

#[tokio::test]
async fn frames_may_be_split_and_compressed() {
    let backend = start(config()).await;
    let mut arrivals = backend.arrivals();
    let mut client = Grpc::connect(backend.addresses().grpc.unwrap()).await;
    let message = traces(&[(1, 1, &"long name ".repeat(20_000))]).encode_to_vec();
    let whole = framed(0, &message);
    let in_pieces = whole.chunks(1000).map(bytes::Bytes::copy_from_slice).collect();
    for (headers, frames) in [
        (vec![GRPC], in_pieces),
        (vec![GRPC, GZIP], vec![framed(1, &gzip(&message))]),
        (vec![GRPC, GZIP], vec![framed(0, &message)]),
        (vec![("content-type", "application/grpc+proto"), ("grpc-encoding", "identity")], vec![whole]),
    ] {
        assert_eq!(client.send(TRACES, &headers, frames).await.status, 0, "{headers:?}");
        arrived(&mut arrivals, &[trace(1)]).await;
    }
    assert_eq!(spans(&backend.store(), trace(1)).len(), 1, "the same span four times is one span");
    backend.shutdown().await;
}

#[tokio::test]
async fn what_is_wrong_is_said_and_nothing_of_it_is_kept() {
    let backend = start(limited(|limits| limits.message_bytes = 4096)).await;
    let mut client = Grpc::connect(backend.addresses().grpc.unwrap()).await;
    let good = traces(&[(1, 1, "a")]).encode_to_vec();
    let large = traces(&[(1, 1, &"x".repeat(5000))]).encode_to_vec();
    let cut = &good[..good.len() - 3];
    let zipped = gzip(&large);
    assert!(zipped.len() < 500);
    let cases: [Wrong; 12] = [
        ("/a.B/C", &[GRPC], framed(0, &good), 12, "unknown path /a.B/C"),
        (TRACES, &[GRPC], framed(0, cut), 3, "body is not an ExportTraceServiceRequest: "),
        (LOGS, &[GRPC], framed(0, b"\x0a\x05"), 3, "body is not an ExportLogsServiceRequest: "),
        (METRICS, &[GRPC], framed(0, b"\xff"), 3, "body is not an ExportMetricsServiceRequest: "),
        (TRACES, &[GRPC], framed(0, &good).slice(..9), 3, "gRPC frame: body ends inside the message"),
        (TRACES, &[GRPC], framed(0, &good).slice(..4), 3, "gRPC frame: no whole message prefix"),
        (TRACES, &[GRPC], framed(1, &gzip(&good)), 3, "message is marked compressed"),
        (TRACES, &[GRPC, GZIP], framed(1, &good), 3, "body is not valid gzip"),
        (
            TRACES,
            &[GRPC, ("grpc-encoding", "zstd")],
            framed(1, &good),
            12,
            "encoding \"zstd\" is not supported",
        ),
        (TRACES, &[GRPC], framed(0, &large), 8, "request is larger than the limit of 4096 bytes"),
        (TRACES, &[GRPC, GZIP], framed(1, &zipped), 8, "request is larger than the limit of 4096 bytes"),
        (TRACES, &[GRPC, GZIP], framed(1, &zipped[..zipped.len() - 9]), 3, "body is not valid gzip"),
    ];
    for (path, headers, frame, status, message) in cases {
        let called = client.send(path, headers, vec![frame]).await;
        assert_eq!((called.status, called.retry), (status, false), "{message}: {}", called.message);
        assert!(called.message.starts_with(message), "{} is not {message}", called.message);
    }
    assert_eq!(spans(&backend.store(), trace(1)), [""; 0]);
    assert_eq!(client.export(TRACES, &good).await.status, 0, "the connection survives all of it");
    backend.shutdown().await;
}

#[tokio::test]
async fn invalid_ids_are_a_partial_success() {
    let backend = start(config()).await;
    let mut arrivals = backend.arrivals();
    let mut client = Grpc::connect(backend.addresses().grpc.unwrap()).await;
    let called = client.export(TRACES, &partly_invalid(1).encode_to_vec()).await;
    let why = b"trace id or span id is missing, all zero or of the wrong length";
    let length = u8::try_from(why.len()).unwrap();
    let expected = [&[0x0a, length + 4, 0x08, 1, 0x12, length], why.as_slice()].concat();
    assert_eq!((called.status, called.body.as_ref()), (0, expected.as_slice()));
    arrived(&mut arrivals, &[trace(1)]).await;
    assert_eq!(spans(&backend.store(), trace(1)), ["good"]);
    let page = backend.metrics();
    for line in [
        "otelcol_receiver_accepted_spans{receiver=\"otlp\",transport=\"grpc\"} 1\n",
        "throughline_receiver_rejected_spans_total{receiver=\"otlp\",transport=\"grpc\"} 1\n",
    ] {
        assert!(page.contains(line), "{line} in {page}");
    }
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_are_all_acknowledged_and_all_found() {
    const CONNECTIONS: u64 = 4;
    const CALLS: u64 = 50;
    // A queue this small makes most of them go through the journal.
    let backend = start(limited(|limits| limits.queue_bytes = 2000)).await;
    let mut arrivals = backend.arrivals();
    let mut calls = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let client = Grpc::connect(backend.addresses().grpc.unwrap()).await;
        for call in 0..CALLS {
            let mut client = client.clone();
            let number = connection * CALLS + call;
            calls.spawn(async move {
                let message = traces(&[(number, 1, "a"), (number, 2, "b")]).encode_to_vec();
                client.export(TRACES, &message).await.status
            });
        }
    }
    while let Some(status) = calls.join_next().await {
        assert_eq!(status.unwrap(), 0);
    }
    let all: Vec<TraceId> = (0..CONNECTIONS * CALLS).map(trace).collect();
    arrived(&mut arrivals, &all).await;
    for id in all {
        assert_eq!(spans(&backend.store(), id), ["a", "b"]);
    }
    assert!(
        !backend.metrics().contains("throughline_ingest_overflowed_requests_total 0\n"),
        "the queue overflowed"
    );
    backend.shutdown().await;
}
