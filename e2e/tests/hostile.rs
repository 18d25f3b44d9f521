//! What a collector is sent that it must not believe: bombs, bodies without end, nesting without bottom, noise, and requests by
//! the hundred thousand whose spans have no valid ids. Each gets its status, and memory stays bounded.
//!
//! Short by default; `THROUGHLINE_FAULTS=long` sends a million tiny requests.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use throughline_e2e::load::{Random, Span, request};
use throughline_e2e::serve::Serve;
use throughline_otlp::wire::put_bytes;

const MIB: u64 = 1 << 20;
/// Request bodies in memory at one time, by the documented default, and room for what else comes and goes.
const MOST: u64 = 256 * MIB + 128 * MIB;

fn is_long() -> bool {
    std::env::var("THROUGHLINE_FAULTS").as_deref() == Ok("long")
}

fn client() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
    config.timeout_global(Some(Duration::from_secs(60))).build().into()
}

fn post(client: &ureq::Agent, serve: &Serve, headers: &[(&str, &str)], body: &[u8]) -> (u16, Vec<u8>) {
    let mut request = client.post(format!("{}/v1/traces", serve.otlp_http));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut answer = request.send(body).expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.body_mut().read_to_vec().expect("a body"))
}

/// What it is, headers, body, status.
type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, Vec<u8>, u16);

fn address_of(serve: &Serve) -> SocketAddr {
    serve.otlp_http.trim_start_matches("http://").parse().expect("an address")
}

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

fn gzip(plain: &[u8], times: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    (0..times).for_each(|_| encoder.write_all(plain).expect("compressed"));
    encoder.finish().expect("compressed")
}

/// A request whose one span has an attribute of lists within lists, `depth` deep.
fn nested(depth: usize) -> Vec<u8> {
    let mut value = Vec::new();
    for _ in 0..depth {
        let mut list = Vec::new();
        put_bytes(&mut list, 1, &value);
        value.clear();
        put_bytes(&mut value, 5, &list);
    }
    let mut attribute = Vec::new();
    put_bytes(&mut attribute, 1, b"deep");
    put_bytes(&mut attribute, 2, &value);
    let mut span = Vec::new();
    put_bytes(&mut span, 1, &[1; 16]);
    put_bytes(&mut span, 2, &[1; 8]);
    put_bytes(&mut span, 9, &attribute);
    [2, 2, 1].into_iter().fold(span, |inner, field| {
        let mut outer = Vec::new();
        put_bytes(&mut outer, field, &inner);
        outer
    })
}

#[test]
fn what_is_hostile_gets_its_status_and_memory_stays_bounded() {
    let serve = Serve::start(["--ephemeral"]);
    let client = client();
    let mut random = Random::new(9);
    let mut noise = |bytes: usize| -> Vec<u8> { (0..bytes).map(|_| random.below(256) as u8).collect() };
    let zeros = vec![0; 1 << 20];
    let brackets = "[".repeat(200_000);
    let deep_json = format!(r#"{{"resourceSpans":{brackets}"#).into_bytes();
    let before = serve.own_memory();
    let mut most = before;
    let cases: Vec<Case<'_>> = vec![
        ("a bomb of 256 MiB in gzip", vec![PROTOBUF, GZIP], gzip(&zeros, 256), 413),
        ("a bomb of 64 MiB in gzip, as JSON", vec![JSON, GZIP], gzip(&vec![b' '; 1 << 20], 64), 413),
        ("lists 10,000 deep, protobuf", vec![PROTOBUF], nested(10_000), 400),
        ("lists 200,000 deep, JSON", vec![JSON], deep_json, 400),
        ("a megabyte of noise", vec![PROTOBUF], noise(1 << 20), 400),
        ("noise as JSON", vec![JSON], noise(1 << 16), 400),
        ("noise as gzip", vec![PROTOBUF, GZIP], noise(1 << 16), 400),
        ("gzip cut off", vec![PROTOBUF, GZIP], gzip(&zeros, 1)[..500].to_vec(), 400),
        ("an unknown compression", vec![PROTOBUF, ("content-encoding", "br")], noise(100), 415),
        ("text", vec![("content-type", "text/plain")], b"hello".to_vec(), 415),
    ];
    let mut said = Vec::new();
    for (what, headers, body, expected) in &cases {
        let begun = Instant::now();
        let (status, _) = post(&client, &serve, headers, body);
        assert_eq!(status, *expected, "{what}");
        most = most.max(serve.own_memory());
        said.push(format!("{what} ({} bytes): {status} in {:.0?}", body.len(), begun.elapsed()));
    }
    // Refused by what it announces, before it is sent: a client that writes on regardless finds the connection closed.
    let mut stream = TcpStream::connect(address_of(&serve)).expect("a connection");
    let head = "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\n";
    write!(stream, "{head}content-length: {}\r\n\r\n", 17 * MIB).expect("sent");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 413", "a body of 17 MiB");
    // Bombs from eight sides at once.
    let bomb = gzip(&zeros, 64);
    thread::scope(|scope| {
        let senders: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    (0..4).map(|_| post(&client, &serve, &[PROTOBUF, GZIP], &bomb).0).collect::<Vec<_>>()
                })
            })
            .collect();
        while senders.iter().any(|sender| !sender.is_finished()) {
            most = most.max(serve.own_memory());
            pause();
        }
        for status in senders.into_iter().flat_map(|sender| sender.join().expect("a sender")) {
            assert!([413, 429].contains(&status), "{status}");
        }
    });
    assert!(most < MOST, "{before} bytes before, {most} at most");
    // And what is right is still taken.
    let trace = Random::new(1).trace();
    let good = request(&[Span::new(trace, &mut Random::new(2))]);
    assert_eq!(post(&client, &serve, &[PROTOBUF], &good), (200, Vec::new()));
    println!("{}", said.join("\n"));
    println!(
        "own memory {} MiB before, {} MiB at most, {} MiB after",
        before / MIB,
        most / MIB,
        serve.own_memory() / MIB
    );
}

/// Between two looks at its memory.
fn pause() {
    // tidy: sleeps, because memory is looked at now and again, not for ever.
    thread::sleep(Duration::from_millis(10));
}

/// As many requests over one connection as `until` allows, each of a span without a valid trace id. Returns how many were
/// answered that it was rejected.
fn pour(address: SocketAddr, body: &[u8], sent: &AtomicU64, until: u64) -> u64 {
    const AHEAD: usize = 64;
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let one = [head.as_bytes(), body].concat();
    let many = one.repeat(AHEAD);
    let mut stream = TcpStream::connect(address).expect("a connection");
    let (mut rejected, mut heard, mut piece) = (0, Vec::new(), [0; 64 << 10]);
    while sent.fetch_add(AHEAD as u64, Ordering::Relaxed) < until {
        stream.write_all(&many).expect("sent");
        let mut answered = 0;
        while answered < AHEAD {
            let bytes = stream.read(&mut piece).expect("an answer");
            assert!(bytes > 0, "the connection was closed");
            heard.extend_from_slice(piece.get(..bytes).unwrap_or_default());
            answered = heard.windows(12).filter(|window| window.starts_with(b"HTTP/1.1 200")).count();
        }
        // The last body may not be here yet: its end does not matter.
        rejected += heard.windows(12).filter(|window| *window == b"HTTP/1.1 200").count() as u64;
        heard.clear();
    }
    rejected
}

#[test]
fn tiny_requests_with_invalid_ids_are_rejected_and_leave_nothing() {
    let requests = if is_long() { 1_000_000 } else { 20_000 };
    let serve = Serve::start(["--ephemeral"]);
    let client = client();
    let mut span = Vec::new();
    put_bytes(&mut span, 1, &[0; 16]);
    put_bytes(&mut span, 2, &[1; 8]);
    put_bytes(&mut span, 5, b"x");
    let body = [2, 2, 1].into_iter().fold(span, |inner, field| {
        let mut outer = Vec::new();
        put_bytes(&mut outer, field, &inner);
        outer
    });
    let (status, said) = post(&client, &serve, &[PROTOBUF], &body);
    // ExportTraceServiceResponse.partial_success.rejected_spans = 1
    assert_eq!(
        (status, said.get(..1), said.get(2..4)),
        (200, Some(&[10][..]), Some(&[8, 1][..])),
        "{said:?}"
    );
    let address = address_of(&serve);
    let (before, begun, sent) = (serve.own_memory(), Instant::now(), AtomicU64::new(0));
    let mut most = before;
    let answered: u64 = thread::scope(|scope| {
        let senders: Vec<_> = (0..4).map(|_| scope.spawn(|| pour(address, &body, &sent, requests))).collect();
        while senders.iter().any(|sender| !sender.is_finished()) {
            most = most.max(serve.own_memory());
            pause();
        }
        senders.into_iter().map(|sender| sender.join().expect("a sender")).sum()
    });
    assert!(answered >= requests, "{answered} answers");
    assert!(most < before + 64 * MIB, "{before} bytes before, {most} at most");
    let url = format!("{}/metrics", serve.ui);
    let metrics = client.get(url).call().expect("an answer").body_mut().read_to_string().expect("text");
    let accepted = metrics.lines().filter(|line| line.starts_with("otelcol_receiver_accepted_spans"));
    assert!(accepted.clone().all(|line| line.ends_with(" 0")), "{:?}", accepted.collect::<Vec<_>>());
    println!(
        "{answered} requests with an invalid id, each answered, in {:.1?}; own memory {} MiB before, {} MiB at most",
        begun.elapsed(),
        before / MIB,
        most / MIB
    );
}
