//! OTLP over HTTP: content types, encodings, limits and slow clients, over a real connection.

use ::http::Method;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::{Headers, JSON, PROTOBUF, gzip, http};
use super::requests::{
    logs, logs_json, metrics, metrics_json, partly_invalid_json, trace, traces, traces_json,
};
use super::*;

const GZIP: (&str, &str) = ("content-encoding", "gzip");

/// Method, path, headers and body of a request; the HTTP status, `google.rpc` code and beginning of the message it must get.
type Wrong = (Method, &'static str, Headers, Vec<u8>, u16, u32, &'static str);

#[tokio::test]
async fn every_signal_in_every_form_is_accepted_and_found() {
    let backend = start(config()).await;
    let mut arrivals = backend.arrivals();
    let address = backend.addresses().http.unwrap();
    for (path, protobuf, as_json) in [
        ("/v1/traces", traces(&[(1, 1, "a")]).encode_to_vec(), traces_json(1, 2, "b")),
        ("/v1/logs", logs(1, "proto").encode_to_vec(), logs_json(1, "json")),
        ("/v1/metrics", metrics("depth", &[7]).encode_to_vec(), metrics_json("width", 8)),
    ] {
        for (form, body, answer) in [(PROTOBUF, protobuf, ""), (JSON, as_json.into_bytes(), "{}")] {
            for (headers, body) in [(vec![form], body.clone()), (vec![form, GZIP], gzip(&body))] {
                let answered = http(address, Method::POST, path, &headers, body).await;
                assert_eq!((answered.status, answered.text()), (200, answer), "{path} {headers:?}");
                assert_eq!(answered.header("content-type"), form.1);
                if path != "/v1/metrics" {
                    arrived(&mut arrivals, &[trace(1)]).await;
                }
            }
        }
    }
    let store = backend.store();
    assert_eq!(spans(&store, trace(1)), ["a", "b"]);
    let logs = store.trace(trace(1)).unwrap().logs;
    assert!(["proto", "json"].iter().all(|body| logs.iter().any(|log| log.body.to_text() == *body)));
    let page = backend.metrics();
    assert!(page.contains("depth{job=\"api\",series=\"0\"} 7\n") && page.contains("width{"), "{page}");
    backend.shutdown().await;
}

#[tokio::test]
async fn what_is_wrong_is_said_in_the_encoding_asked() {
    let backend = start(limited(|limits| limits.message_bytes = 4096)).await;
    let address = backend.addresses().http.unwrap();
    let good = traces(&[(1, 1, "a")]).encode_to_vec();
    let bomb = gzip(&vec![b' '; 1 << 20]);
    let cases: [Wrong; 12] = [
        (Method::POST, "/v1/profiles", &[JSON], good.clone(), 404, 12, "unknown path /v1/profiles"),
        (Method::GET, "/v1/traces", &[JSON], Vec::new(), 405, 3, "method not allowed"),
        (
            Method::OPTIONS,
            "/v1/traces",
            &[("origin", "http://evil")],
            Vec::new(),
            405,
            3,
            "method not allowed",
        ),
        (Method::POST, "/v1/traces", &[("content-type", "text/plain")], good.clone(), 415, 3, "content type"),
        (Method::POST, "/v1/traces", &[], good.clone(), 415, 3, "content type \"\" is not supported"),
        (
            Method::POST,
            "/v1/traces",
            &[JSON, ("content-encoding", "br")],
            good.clone(),
            415,
            12,
            "encoding \"br\"",
        ),
        (Method::POST, "/v1/traces", &[JSON, GZIP], b"{}".to_vec(), 400, 3, "body is not valid gzip"),
        (
            Method::POST,
            "/v1/traces",
            &[JSON],
            b"{\"resourceSpans\": 7}".to_vec(),
            400,
            3,
            "body is not OTLP JSON",
        ),
        (Method::POST, "/v1/traces", &[JSON], b"{".to_vec(), 400, 3, "body is not OTLP JSON"),
        (
            Method::POST,
            "/v1/traces",
            &[PROTOBUF],
            good[..9].to_vec(),
            400,
            3,
            "body is not an ExportTraceService",
        ),
        (
            Method::POST,
            "/v1/traces",
            &[JSON, GZIP],
            bomb.clone(),
            413,
            8,
            "request is larger than the limit of 4096",
        ),
        (
            Method::POST,
            "/v1/logs",
            &[PROTOBUF],
            vec![0; 4097],
            413,
            8,
            "request is larger than the limit of 4096",
        ),
    ];
    for (method, path, headers, body, status, code, message) in cases {
        let answered = http(address, method, path, headers, body).await;
        assert_eq!(answered.status, status, "{path} {headers:?} {message}");
        assert_eq!(answered.header("retry-after"), "");
        assert_eq!(answered.header("access-control-allow-origin"), "", "CORS is off");
        if headers.contains(&PROTOBUF) {
            assert_eq!(answered.header("content-type"), PROTOBUF.1);
            assert_eq!(answered.body[..2], [0x08, u8::try_from(code).unwrap()]);
            assert!(answered.body[4..].starts_with(message.as_bytes()), "{:?}", answered.body);
        } else {
            let answer: serde_json::Value = serde_json::from_slice(&answered.body).unwrap();
            assert_eq!(answer["code"], code);
            assert!(answer["message"].as_str().unwrap().starts_with(message), "{answer} {message}");
        }
    }
    let allow = http(address, Method::PUT, "/v1/traces", &[JSON], "").await;
    assert_eq!(allow.header("allow"), "POST");
    assert_eq!(spans(&backend.store(), trace(1)), [""; 0]);
    backend.shutdown().await;
}

#[tokio::test]
async fn invalid_ids_are_a_partial_success() {
    let backend = start(config()).await;
    let request = partly_invalid_json(1);
    let answered =
        http(backend.addresses().http.unwrap(), Method::POST, "/v1/traces", &[JSON], request).await;
    assert_eq!(answered.status, 200);
    let expected = serde_json::json!({ "partialSuccess": {
        "rejectedSpans": "1",
        "errorMessage": "trace id or span id is missing, all zero or of the wrong length",
    } });
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&answered.body).unwrap(), expected);
    backend.shutdown().await;
}

#[tokio::test]
async fn browsers_may_send_from_configured_origins_only() {
    let origin = "https://shop.example".to_owned();
    let backend = start(Config { cors_origins: vec![origin.clone()], ..config() }).await;
    let address = backend.addresses().http.unwrap();
    for (from, status, allowed) in
        [(origin.as_str(), 204, origin.as_str()), ("https://evil.example", 204, "")]
    {
        let headers = [("origin", from), ("access-control-request-method", "POST")];
        let preflight = http(address, Method::OPTIONS, "/v1/traces", &headers, "").await;
        assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (status, allowed));
        let sent = http(address, Method::POST, "/v1/traces", &[JSON, ("origin", from)], "{}").await;
        assert_eq!((sent.status, sent.header("access-control-allow-origin")), (200, allowed));
    }
    backend.shutdown().await;
}

#[tokio::test]
async fn a_page_under_another_name_writes_nothing() {
    let (origin, ours) = ("http://evil.com:4318", "traces.example.org");
    let allowed =
        Config { cors_origins: vec![origin.to_owned()], allow_hosts: vec![ours.to_owned()], ..config() };
    let backend = start(allowed).await;
    let address = backend.addresses().http.unwrap();
    for (method, body) in [(Method::POST, traces_json(1, 1, "a")), (Method::OPTIONS, String::new())] {
        let headers = [JSON, ("host", "evil.com:4318"), ("origin", origin)];
        let answered = http(address, method, "/v1/traces", &headers, body).await;
        assert_eq!((answered.status, answered.header("access-control-allow-origin")), (403, ""));
        let answer: serde_json::Value = serde_json::from_slice(&answered.body).unwrap();
        let message = "this server does not answer to the host \"evil.com\"; send to its address, or start it with --allow-host";
        assert_eq!((&answer["code"], &answer["message"]), (&7.into(), &message.into()));
    }
    assert_eq!(spans(&backend.store(), trace(1)), [""; 0]);
    let counted = "requests_total{reason=\"host\",receiver=\"otlp\",transport=\"http\"} 2\n";
    assert!(backend.metrics().contains(counted), "{}", backend.metrics());
    let mut arrivals = backend.arrivals();
    let body = traces_json(1, 2, "b");
    let answered = http(address, Method::POST, "/v1/traces", &[JSON, ("host", ours)], body).await;
    assert_eq!(answered.status, 200);
    arrived(&mut arrivals, &[trace(1)]).await;
    backend.shutdown().await;
}

/// Sends `bytes` and nothing more; gives what comes back until the connection is closed.
async fn stall(config: Config, bytes: &[u8]) -> String {
    let backend = start(config).await;
    let mut stream = TcpStream::connect(backend.addresses().http.unwrap()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    backend.shutdown().await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn stalled_clients_are_let_go() {
    let header = || limited(|limits| limits.header_timeout = Duration::from_millis(50));
    for bytes in [b"".as_slice(), b"PRI", b"POST /v1/traces HTTP/1.1\r\nhost: x\r\n"] {
        assert_eq!(stall(header(), bytes).await, "", "no whole header, no answer");
    }
    let body = limited(|limits| limits.body_idle_timeout = Duration::from_millis(50));
    let request =
        "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    let answer = stall(body, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let idle = limited(|limits| {
        limits.idle_timeout = Duration::from_millis(50);
        // The watchdog looks this often.
        limits.header_timeout = Duration::from_millis(500);
    });
    let whole = request.replace("length: 9", "length: 2") + "}";
    let answer = stall(idle, whole.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
