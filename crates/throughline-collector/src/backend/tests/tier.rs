//! A backend that is a node of a tier.

use super::sampling::{WAIT, sampling};
use super::*;
use crate::peers::tests::settings;

/// Samplers know the other nodes; if those knew the samplers, both would outlive the backend, with everything they call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_tier_outlives_its_node() {
    let peers = Some(settings(&["a:4317", "b:4317"], "a:4317"));
    let backend = start(Config { peers, ..sampling(DataFolder::Ephemeral, WAIT) }).await;
    let (peers, lines) = (Arc::downgrade(backend.peers.as_ref().unwrap()), Arc::downgrade(&backend.lines));
    let figures = backend.probe().picture().tier.unwrap();
    assert_eq!((figures.us.as_deref(), figures.nodes), (Some("a:4317"), 2));
    backend.shutdown().await;
    assert!(peers.upgrade().is_none(), "nobody follows the resolver, and nobody is called");
    assert!(lines.upgrade().is_none());
}
