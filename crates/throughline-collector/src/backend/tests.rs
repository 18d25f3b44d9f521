//! The whole backend in process, spoken to over real sockets with hyper's client and requests that prost encoded.

mod client;
mod exporting;
mod faults;
mod grpc;
mod http;
mod pages;
mod receivers;
mod requests;
mod restart;
mod sampling;
mod tier;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use throughline_store::Store;
use tokio::time::timeout;

use super::*;
use crate::config::{DataFolder, Limits};

/// Longer than anything here takes; a hang fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(60);

fn config() -> Config {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Config { grpc: any, http: any, data: DataFolder::Ephemeral, ..Config::default() }
}

fn limited(change: impl FnOnce(&mut Limits)) -> Config {
    let mut config = config();
    change(&mut config.limits);
    config
}

async fn start(config: Config) -> Backend {
    timeout(PATIENCE, Backend::start(config)).await.unwrap().unwrap()
}

/// Names of the trace's spans, sorted.
fn spans(store: &Store, trace: TraceId) -> Vec<String> {
    let mut names: Vec<String> =
        store.trace(trace).unwrap().spans.into_iter().map(|span| span.name).collect();
    names.sort();
    names
}

/// Waits until the store has announced requests holding each of `traces`.
async fn arrived(arrivals: &mut broadcast::Receiver<Arc<Vec<TraceId>>>, traces: &[TraceId]) {
    let mut missing: std::collections::BTreeSet<TraceId> = traces.iter().copied().collect();
    while !missing.is_empty() {
        let arrival = timeout(PATIENCE, arrivals.recv()).await.unwrap().unwrap();
        for trace in arrival.iter() {
            missing.remove(trace);
        }
    }
}
