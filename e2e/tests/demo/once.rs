//! `demo --once`: what it shows, that it catches a hop that is broken, and what it says when it cannot start.

use std::net::TcpListener;

use super::process::{Ended, FREE_PORTS, run};

fn once(arguments: &[&str]) -> Ended {
    run(&[&["demo", "--once"], &FREE_PORTS[..], arguments].concat())
}

#[track_caller]
fn check(ended: &Ended, code: i32, said: &[&str]) {
    assert_eq!(ended.code, Some(code), "{}\n{}", ended.stdout, ended.stderr);
    let all = [ended.stdout.as_str(), &ended.stderr].concat();
    for one in said {
        assert!(all.contains(one), "no {one:?} in\n{all}");
    }
}

#[test]
fn it_shows_one_trace_from_the_api_to_the_batcher() {
    let ended = once(&[]);
    check(
        &ended,
        0,
        &[
            "├─ api: POST /rpc/checkout/start (SERVER)",
            "│  └─ send orders (PRODUCER)",
            "├─ process orders (CONSUMER) - payment-worker",
            "│  └─ send payments (PRODUCER)",
            "├─ process payments (CONSUMER) - email-worker",
            "│  └─ send notifications (PRODUCER)",
            "└─ v1.settlements.batched process (CONSUMER) - batcher (linked)",
            "   └─ linked_trace_id_count: 5",
            "   └─ linked_trace_id_hash: ",
            "✗ payment-worker: process orders - payment declined: insufficient funds",
            "✗ email-worker: process payments - mailbox of usr_bounce bounced",
        ],
    );
    for gone in ["Try next", "still arriving"] {
        assert!(!ended.stdout.contains(gone), "its servers are gone and it was checked: {}", ended.stdout);
    }
    assert!(ended.stdout.starts_with("Trace: "), "data first: {}", ended.stdout);
    assert!(!ended.stdout.contains('\u{1b}'), "no colours outside a terminal");
    let hops: Vec<&str> =
        ended.stdout.lines().filter(|line| line.contains("(CONSUMER)") && line.contains(" - ")).collect();
    for hop in hops {
        // took, waited, place: the wait of each hop is in its row.
        assert!(hop.contains(" p") && hop.contains(" @"), "a wait with its place: {hop}");
    }
}

/// The broker that comes with it begins at offset zero each time, so each run's messages stand where the last one's did.
#[test]
fn it_runs_again_in_its_folder_and_still_sees_what_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let again = |more: &[&str]| once(&[&["--data-dir", folder.path().to_str().unwrap()], more].concat());
    for _ in 0..3 {
        check(&again(&[]), 0, &["linked_trace_id_count: 5"]);
    }
    let hop = "api -> orders -> payment-worker";
    check(&again(&["--break-injection", "api"]), 1, &["not traced end to end", hop]);
    check(&again(&[]), 0, &["linked_trace_id_count: 5"]);
}

#[test]
fn legacy_names_are_the_sources() {
    let said = [
        "│  └─ orders publish (PRODUCER)",
        "├─ orders process (CONSUMER) - payment-worker",
        "├─ payments process (CONSUMER) - email-worker",
        "└─ v1.settlements.batched process (CONSUMER) - batcher (linked)",
        "linked_trace_id_count: 5",
    ];
    check(&once(&["--legacy"]), 0, &said);
}

/// The check that everything else stands on must be able to fail, and must name the hop.
#[test]
fn a_service_that_does_not_inject_fails_the_check_and_the_hop_is_named() {
    for (service, hop) in [
        ("api", "api -> orders -> payment-worker"),
        ("payment-worker", "payment-worker -> payments -> email-worker"),
        ("email-worker", "email-worker -> notifications -> batcher"),
    ] {
        check(&once(&["--break-injection", service]), 1, &["not traced end to end", hop]);
    }
}

#[test]
fn a_port_in_use_is_named_with_its_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for flag in ["--otlp-grpc-port", "--otlp-http-port", "--ui-port", "--tempo-port", "--api-port"] {
        let mut arguments: Vec<&str> = vec!["demo", "--once"];
        for pair in FREE_PORTS.chunks(2) {
            arguments.extend([pair[0], if pair[0] == flag { &port } else { "0" }]);
        }
        check(&run(&arguments), 4, &[&format!("port {port}"), "in use", flag]);
    }
}

#[test]
fn a_kafka_that_is_not_there_is_named() {
    // Bound and not listening to Kafka's protocol: nobody else gets the port meanwhile.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap().to_string();
    let waiting = format!("waiting for Kafka at {address}, 2s at most");
    let ended = once(&["--bootstrap", &address, "--timeout", "2s"]);
    check(&ended, 4, &[&waiting, "--bootstrap", "--timeout"]);
}
