//! What we send, we take: the exporter against our own receiver.

use throughline_otlp::TraceId;

use super::*;
use crate::backend::Backend;
use crate::config::{Config, DataFolder};

#[tokio::test]
async fn our_own_receiver_takes_it() {
    let config =
        Config { grpc: any_port(), http: any_port(), data: DataFolder::Ephemeral, ..Config::default() };
    let backend = tokio::time::timeout(PATIENCE, Backend::start(config)).await.unwrap().unwrap();
    let addresses = backend.addresses();
    let mut arrivals = backend.arrivals();
    let mut number = 0;
    for (protocol, address) in [
        (Protocol::Grpc, addresses.grpc.unwrap()),
        (Protocol::Http(Encoding::Proto), addresses.http.unwrap()),
        (Protocol::Http(Encoding::Json), addresses.http.unwrap()),
    ] {
        let exporter = OtlpExporter::new(plain(protocol, address)).unwrap();
        number += 1;
        assert_eq!(
            send(&exporter, Signal::Traces, traces([(number, 1), (number, 2)])).await,
            Outcome::ACCEPTED
        );
        let trace = tokio::time::timeout(PATIENCE, arrivals.recv()).await.unwrap().unwrap()[0];
        assert_eq!(backend.store().trace(trace).unwrap().spans.len(), 2);
        // A span without an id among others is rejected, and that is told.
        let mut mixed = traces([(number, 3)]).to_vec();
        mixed.extend_from_slice(&traces([(number, 0)]));
        let Outcome::Accepted { rejected: Some(rejected) } =
            send(&exporter, Signal::Traces, mixed.into()).await
        else {
            panic!("one of two is rejected")
        };
        assert_eq!(rejected.items, 1);
        assert!(rejected.why.contains("span id"), "{}", rejected.why);
        let said = send(&exporter, Signal::Logs, Bytes::from_static(b"\x0a\x05")).await;
        assert!(matches!(said, Outcome::Refused { .. }), "{said:?}");
        assert!(TraceId::from_slice(&trace.bytes()).is_some());
        let _ = tokio::time::timeout(PATIENCE, arrivals.recv()).await.unwrap();
    }
    backend.shutdown().await;
}
