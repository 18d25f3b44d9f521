//! The seeds of the fuzz target `otlp_views`: one request of each signal, with every kind of value and of metric.
//!
//! `THROUGHLINE_WRITE_FIXTURES=1` writes them instead of comparing them.

use std::path::Path;

use super::*;

/// Fields as protobuf has them: a number and a varint, eight fixed bytes, or a length and bytes.
fn varint(field: u32, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::uint64::encode(field, &value, &mut out);
    out
}

fn fixed(field: u32, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::fixed64::encode(field, &value, &mut out);
    out
}

fn bytes(field: u32, parts: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::bytes::encode(field, &parts.concat(), &mut out);
    out
}

fn text(field: u32, text: &str) -> Vec<u8> {
    bytes(field, &[text.as_bytes().to_vec()])
}

/// One of each: text, bool, int, double, list, map, bytes.
fn attributes(field: u32) -> Vec<u8> {
    let list = bytes(1, &[text(1, "in a list")]);
    let map = bytes(1, &[text(1, "key"), bytes(2, &[varint(3, 7)])]);
    let values = [
        text(1, "text"),
        varint(2, 1),
        varint(3, 42),
        fixed(4, 1.5_f64.to_bits()),
        bytes(5, &[list]),
        bytes(6, &[map]),
        bytes(7, &[vec![0, 255]]),
    ];
    let all =
        values.into_iter().map(|value| bytes(field, &[text(1, "messaging.system"), bytes(2, &[value])]));
    all.collect::<Vec<_>>().concat()
}

/// Resource, scope and schema addresses around what each signal has: the same three levels in all of them.
fn request(item: Vec<u8>) -> Vec<u8> {
    let resource = bytes(1, &[attributes(1)]);
    let scope = bytes(1, &[text(1, "scope"), text(2, "1"), attributes(3)]);
    let group = bytes(2, &[scope, item, text(3, "https://schema")]);
    bytes(1, &[resource, group, text(3, "https://schema")])
}

fn ids() -> Vec<u8> {
    [bytes(1, &[vec![1; 16]]), bytes(2, &[vec![2; 8]])].concat()
}

fn traces() -> Vec<u8> {
    let event = bytes(11, &[fixed(1, 5), text(2, "exception"), attributes(3)]);
    let link = bytes(13, &[ids(), text(3, "a=b"), attributes(4)]);
    let named = [ids(), text(3, "a=b"), bytes(4, &[vec![3; 8]]), text(5, "send orders"), varint(6, 4)];
    let times = [fixed(7, 1_700_000_000_000_000_000), fixed(8, 1_700_000_000_000_001_000)];
    let status = bytes(15, &[text(2, "refused"), varint(3, 2)]);
    request(bytes(2, &[named.concat(), times.concat(), attributes(9), event, link, status]))
}

fn logs() -> Vec<u8> {
    let of_span = [bytes(9, &[vec![1; 16]]), bytes(10, &[vec![2; 8]])].concat();
    let body = bytes(5, &[text(1, "charged")]);
    request(bytes(
        2,
        &[fixed(1, 1), varint(2, 9), text(3, "INFO"), body, attributes(6), of_span, fixed(11, 1)],
    ))
}

fn metrics() -> Vec<u8> {
    let number = bytes(1, &[fixed(2, 1), fixed(3, 2), fixed(6, 7), attributes(7)]);
    let packed = |field, values: &[u64]| {
        bytes(field, &values.iter().map(|value| value.to_le_bytes().to_vec()).collect::<Vec<_>>())
    };
    let bounds = packed(7, &[0.5_f64.to_bits(), 1.0_f64.to_bits()]);
    let histogram =
        bytes(1, &[fixed(3, 2), fixed(4, 3), fixed(5, 0), packed(6, &[1, 1, 1]), bounds, attributes(9)]);
    let buckets = bytes(8, &[varint(1, 2), bytes(2, &[vec![1, 2]])]);
    let exponential = bytes(1, &[attributes(1), fixed(3, 2), fixed(4, 3), varint(6, 2), buckets]);
    let quantile = bytes(6, &[fixed(1, 0.5_f64.to_bits()), fixed(2, 1.0_f64.to_bits())]);
    let summary = bytes(1, &[fixed(3, 2), fixed(4, 1), quantile, attributes(7)]);
    let metric = |data| bytes(2, &[text(1, "queue.depth"), text(2, "depth"), text(3, "{message}"), data]);
    let all = [
        metric(bytes(5, std::slice::from_ref(&number))),
        metric(bytes(7, &[number, varint(2, 2), varint(3, 1)])),
        metric(bytes(9, &[histogram, varint(2, 2)])),
        metric(bytes(10, &[exponential, varint(2, 1)])),
        metric(bytes(11, &[summary])),
    ];
    request(all.concat())
}

#[test]
fn the_seeds_of_the_fuzz_target_are_what_is_written_here_and_prost_reads_them() {
    for (name, signal, seed) in [
        ("traces", Signal::Traces, traces()),
        ("logs", Signal::Logs, logs()),
        ("metrics", Signal::Metrics, metrics()),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/otlp_views").join(name);
        if std::env::var_os("THROUGHLINE_WRITE_FIXTURES").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &seed).unwrap();
        }
        assert_eq!(std::fs::read(&path).unwrap(), seed, "{name}");
        assert!(check(signal, &seed).is_ok(), "{name}");
        // Nothing in it is a field that prost does not know and would leave out.
        let again = match signal {
            Signal::Traces => ExportTraceServiceRequest::decode(&seed[..]).unwrap().encoded_len(),
            Signal::Logs => ExportLogsServiceRequest::decode(&seed[..]).unwrap().encoded_len(),
            Signal::Metrics => ExportMetricsServiceRequest::decode(&seed[..]).unwrap().encoded_len(),
        };
        assert_eq!(again, seed.len(), "{name}");
    }
}
