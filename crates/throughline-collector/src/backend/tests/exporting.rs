//! What leaves through an exporter, of what came in over a socket. The exporter is a file, read when the backend is down.

use std::path::Path;

use prost::Message;
use throughline_otlp::json::to_protobuf;
use throughline_otlp::wire::put_bytes;
use throughline_otlp::{Signal, decode_traces};

use super::client::{Grpc, TRACES};
use super::requests::{partly_invalid, trace, traces};
use super::*;
use crate::export::file::{Existing, FileFormat, FileSettings, Folder};
use crate::export::retry::RetrySettings;
use crate::topology::{
    Batch, End, Exporter, ExporterSettings, Pipeline, Receiver, Server, Topology, Wait, Web,
};

/// A receiver that pipelines feed on, by its name.
fn receiver(name: &str) -> Receiver {
    let any = Server::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    Receiver { name: name.to_owned(), grpc: Some(any), http: None, web: Web::default(), kafka: None }
}

/// A pipeline that does not sample, from the receiver of this index into a file.
fn into_file(name: &str, receiver: u16, path: &Path) -> Pipeline {
    let settings = FileSettings {
        path: path.to_path_buf(),
        format: FileFormat::Json,
        existing: Existing::Append,
        folder: Folder::MustExist,
        rotation: None,
    };
    let file = Exporter {
        name: "file".to_owned(),
        in_flight: 1,
        retry: RetrySettings::default(),
        settings: ExporterSettings::File(settings),
    };
    Pipeline {
        name: name.to_owned(),
        signal: Signal::Traces,
        receivers: vec![receiver],
        sampling: None,
        division: Default::default(),
        memory: None,
        // Nothing goes before the end.
        batch: Batch { items: u64::MAX, wait: Wait::Always(Duration::from_secs(3600)), most_items: None },
        ends: vec![End::Exporter(Box::new(file))],
    }
}

fn running(receivers: Vec<Receiver>, pipelines: Vec<Pipeline>) -> Config {
    Config { topology: Some(Topology { receivers, pipelines }), ..config() }
}

/// Trace and name of every span in the file, in order.
fn exported(path: &Path) -> Vec<(TraceId, String)> {
    let lines = std::fs::read_to_string(path).unwrap();
    let requests = lines.lines().map(|line| to_protobuf(Signal::Traces, line.as_bytes()).unwrap());
    let spans = requests.flat_map(|request| decode_traces(&request).unwrap());
    spans.map(|span| (span.trace_id, span.name)).collect()
}

#[tokio::test]
async fn what_was_rejected_is_not_exported_and_of_two_ids_the_last_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spans");
    let backend = start(running(vec![receiver("otlp")], vec![into_file("traces", 0, &path)])).await;
    let mut client = Grpc::connect(backend.addresses().grpc.unwrap()).await;
    let answer = client.export(TRACES, &partly_invalid(1).encode_to_vec()).await;
    assert_eq!(answer.status, 0);
    // The same span, now with an id of another trace behind its fields.
    let mut doubled = Vec::new();
    let request = traces(&[(2, 1, "doubled")]);
    let mut span = request.resource_spans[0].scope_spans[0].spans[0].encode_to_vec();
    put_bytes(&mut span, 1, &trace(3).bytes());
    for number in [2, 2, 1] {
        doubled.clear();
        put_bytes(&mut doubled, number, &span);
        span.clone_from(&doubled);
    }
    assert_eq!(client.export(TRACES, &doubled).await.status, 0);
    backend.shutdown().await;
    assert_eq!(exported(&path), [(trace(1), "good".to_owned()), (trace(3), "doubled".to_owned())]);
}

#[tokio::test]
async fn a_record_is_its_receivers_whatever_the_configuration_says_by_then() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    let data = || DataFolder::Persistent(folder.path().join("data"));
    let first = running(vec![receiver("otlp/b")], vec![into_file("traces/b", 0, &b)]);
    let first = start(Config { data: data(), ..first }).await;
    let mut client = Grpc::connect(first.addresses().grpc.unwrap()).await;
    assert_eq!(client.export(TRACES, &traces(&[(1, 1, "of b")]).encode_to_vec()).await.status, 0);
    drop(first);
    // Another one stands before it now.
    let receivers = vec![receiver("otlp/a"), receiver("otlp/b")];
    let pipelines = vec![into_file("traces/a", 0, &a), into_file("traces/b", 1, &b)];
    let second = start(Config { data: data(), ..running(receivers, pipelines) }).await;
    let mut client = Grpc::connect(second.addresses().grpc.unwrap()).await;
    assert_eq!(client.export(TRACES, &traces(&[(2, 1, "of a")]).encode_to_vec()).await.status, 0);
    second.shutdown().await;
    assert_eq!(exported(&a), [(trace(2), "of a".to_owned())]);
    assert_eq!(exported(&b), [(trace(1), "of b".to_owned())]);
}

#[tokio::test]
async fn what_no_sampler_sees_has_no_keys_and_is_counted_again_at_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spans");
    let data = || DataFolder::Persistent(folder.path().join("data"));
    let running = || running(vec![receiver("otlp")], vec![into_file("traces", 0, &path)]);
    let first = start(Config { data: data(), ..running() }).await;
    let mut client = Grpc::connect(first.addresses().grpc.unwrap()).await;
    let request = traces(&[(1, 1, "a"), (1, 2, "b"), (2, 3, "c")]).encode_to_vec();
    assert_eq!(client.export(TRACES, &request).await.status, 0);
    assert_eq!(first.journal.lookup(&trace(1).bytes()), []);
    drop(first);
    let second = start(Config { data: data(), ..running() }).await;
    let waiting = "throughline_exporter_queue_items{exporter=\"traces/file\"} 3\n";
    assert!(second.metrics().contains(waiting), "{}", second.metrics());
    second.shutdown().await;
    assert_eq!(exported(&path).len(), 3);
}
