//! What was acknowledged is there after a shutdown, a drop and a retry; a folder has one owner.

use std::path::Path;

use prost::Message;

use super::client::{Grpc, TRACES};
use super::requests::{trace, traces};
use super::*;

const REQUESTS: u64 = 40;

fn at(path: &Path) -> Config {
    Config { data: DataFolder::Persistent(path.to_path_buf()), ..config() }
}

fn request(number: u64) -> Vec<u8> {
    traces(&[(number, 1, "first"), (number, 2, "second")]).encode_to_vec()
}

/// Sends every request; each is acknowledged.
async fn send(backend: &Backend, requests: &[Vec<u8>]) {
    let mut client = Grpc::connect(backend.addresses().grpc.unwrap()).await;
    for request in requests {
        assert_eq!(client.export(TRACES, request).await.status, 0);
    }
}

#[derive(Debug)]
enum End {
    Shutdown,
    /// As far as one process can crash and go on: everything is dropped where it stands.
    Drop,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let requests: Vec<Vec<u8>> = (0..REQUESTS).map(request).collect();
    for end in [End::Shutdown, End::Drop] {
        let dir = tempfile::tempdir().unwrap();
        let first = start(at(dir.path())).await;
        send(&first, &requests).await;
        match end {
            End::Shutdown => first.shutdown().await,
            End::Drop => drop(first),
        }
        let second = start(at(dir.path())).await;
        assert_eq!(second.readiness(), Ok(()));
        let store = second.store();
        for number in 0..REQUESTS {
            assert_eq!(spans(&store, trace(number)), ["first", "second"], "{end:?} {number}");
        }
        // A client that never saw its answer sends again: the store folds what it knows.
        let mut arrivals = second.arrivals();
        send(&second, &[requests[0].clone(), request(REQUESTS)]).await;
        arrived(&mut arrivals, &[trace(0), trace(REQUESTS)]).await;
        assert_eq!(spans(&store, trace(0)), ["first", "second"]);
        drop(store);
        second.shutdown().await;
    }
}

#[tokio::test]
async fn an_ephemeral_folder_goes_with_its_backend() {
    let backend = start(config()).await;
    send(&backend, &[request(0)]).await;
    let folder = backend.data_folder();
    assert!(folder.join("journal").exists());
    backend.shutdown().await;
    assert!(!folder.exists());
}

#[tokio::test]
async fn taken_ports_and_folders_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let backend = start(at(dir.path())).await;
    let Addresses { grpc: Some(grpc), http: Some(http) } = backend.addresses() else { panic!("both listen") };
    let refused = |config: Config| async {
        Backend::start(config)
            .await
            .map(|_| ())
            .unwrap_err()
            .to_string()
            .replace(&dir.path().display().to_string(), "DIR")
    };
    assert_eq!(
        refused(Config { grpc, ..config() }).await,
        format!(
            "port {} for OTLP over gRPC is in use ({grpc}); choose another with --otlp-grpc-port",
            grpc.port()
        )
    );
    assert_eq!(
        refused(Config { http, ..config() }).await,
        format!(
            "port {} for OTLP over HTTP is in use ({http}); choose another with --otlp-http-port",
            http.port()
        )
    );
    assert_eq!(
        refused(at(dir.path())).await,
        format!(
            "data folder DIR is in use by process {}; stop it, or choose another folder with --data-dir or --ephemeral",
            std::process::id()
        )
    );
    backend.shutdown().await;
}
