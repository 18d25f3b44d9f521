//! What `/metrics` says after known traffic, as a snapshot.

use prost::Message;

use super::client::{Grpc, METRICS, TRACES};
use super::requests::{metrics, partly_invalid, trace};
use super::*;

#[tokio::test]
async fn the_page_says_everything_from_the_start() {
    let backend = start(limited(|limits| limits.series = 2)).await;
    let mut arrivals = backend.arrivals();
    let mut client = Grpc::connect(backend.addresses().grpc.unwrap()).await;
    assert_eq!(client.export(TRACES, &partly_invalid(1).encode_to_vec()).await.status, 0);
    arrived(&mut arrivals, &[trace(1)]).await;
    let called = client.export(METRICS, &metrics("queue.depth", &[5, 6, 7]).encode_to_vec()).await;
    assert_eq!(called.status, 0);
    assert!(
        called.body.ends_with(b"too many metric series; raise the limit or send fewer"),
        "{:?}",
        called.body
    );
    assert_eq!(client.export(TRACES, b"\xff").await.status, 3);

    // What depends on the machine is redacted; every name and label is not.
    let page: Vec<String> = backend
        .metrics()
        .lines()
        .filter(|line| !line.starts_with("# HELP"))
        .map(|line| match line.split_once("_bytes ") {
            Some((name, _)) if !line.starts_with('#') => format!("{name}_bytes N"),
            _ => line.to_owned(),
        })
        .collect();
    assert_eq!(page.join("\n"), include_str!("page.txt").trim_end());
    backend.shutdown().await;
}
