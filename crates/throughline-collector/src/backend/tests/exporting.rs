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
use crate::topology::{Batch, End, Exporter, ExporterSettings, Pipeline, Receiver, Server, Topology, Web};

/// A pipeline that does not sample, from one receiver into a file.
pub(super) fn into_file(path: &Path) -> Config {
    let any = Server::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let receiver = Receiver { name: "otlp".to_owned(), grpc: Some(any), http: None, web: Web::default() };
    let settings = FileSettings {
        path: path.to_path_buf(),
        format: FileFormat::Json,
        existing: Existing::Append,
        folder: Folder::MustExist,
    };
    let file = Exporter {
        name: "file".to_owned(),
        in_flight: 1,
        retry: RetrySettings::default(),
        settings: ExporterSettings::File(settings),
    };
    let pipeline = Pipeline {
        name: "traces".to_owned(),
        signal: Signal::Traces,
        receivers: vec![0],
        sampling: None,
        memory: None,
        batch: Batch::default(),
        ends: vec![End::Exporter(Box::new(file))],
    };
    Config { topology: Some(Topology { receivers: vec![receiver], pipelines: vec![pipeline] }), ..config() }
}

/// Trace and name of every span in the file, in order.
pub(super) fn exported(path: &Path) -> Vec<(TraceId, String)> {
    let lines = std::fs::read_to_string(path).unwrap();
    let requests = lines.lines().map(|line| to_protobuf(Signal::Traces, line.as_bytes()).unwrap());
    let spans = requests.flat_map(|request| decode_traces(&request).unwrap());
    spans.map(|span| (span.trace_id, span.name)).collect()
}

#[tokio::test]
async fn what_was_rejected_is_not_exported_and_of_two_ids_the_last_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spans");
    let backend = start(into_file(&path)).await;
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
