//! Who is asked and told when the nodes are not known yet, come and go, or are gone.

use std::net::{Ipv4Addr, TcpListener};

use throughline_otlp::TraceId;
use throughline_sampling::decision::Heard;
use tokio::sync::mpsc;

use super::asking::Asker;
use super::*;
use crate::export::resolver::ResolverSettings;

/// Of a tier of these nodes, at a port that is free.
pub(crate) fn settings(hostnames: &[&str], advertise: &str) -> PeerSettings {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    PeerSettings {
        listen: free.local_addr().unwrap(),
        advertise: Some(advertise.to_owned()),
        resolver: ResolverSettings::Static {
            hostnames: hostnames.iter().copied().map(str::to_owned).collect(),
        },
        token: "secret".to_owned(),
        timeout: Duration::from_secs(1),
        server_tls: None,
        client_tls: None,
        look_back: Duration::from_secs(10),
    }
}

fn trace(number: u128) -> TraceId {
    TraceId::new(number.to_be_bytes()).unwrap()
}

fn waiting(number: u128) -> Waiting {
    let wish = throughline_sampling::decision::Wish::Follow { trace: trace(number), from: trace(number + 1) };
    Waiting { pipeline: Arc::from("traces"), wish: Wanted::Link(wish), since: Instant::now() }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_nothing_was_for_within_look_back_is_let_go_of() {
    let peers = Peers::new(settings(&["a"], "a"), None, Tier::default());
    let names =
        || -> Vec<String> { peers.all().iter().map(|(outbox, _)| outbox.node().to_owned()).collect() };
    for number in 1..=100 {
        peers.with_peer(&Arc::from(format!("127.9.9.9:{number}")), |_| {});
    }
    peers.with_peer(&Arc::from("no host"), |peer| peer.tell(waiting(1)));
    assert_eq!(peers.all().iter().map(|(outbox, _)| outbox.len()).sum::<usize>(), 0, "it is no node");
    assert_eq!((names().len(), peers.tasks().len()), (101, 200));
    tokio::time::advance(Duration::from_secs(11)).await;
    peers.with_peer(&Arc::from("127.9.9.9:7"), |_| {});
    peers.with_peer(&Arc::from("127.9.9.9:1000"), |_| {});
    assert_eq!(names(), ["127.9.9.9:1000", "127.9.9.9:7"]);
    while peers.tasks().len() > 4 {
        let ended = std::future::poll_fn(|context| peers.tasks().poll_join_next(context)).await;
        assert!(ended.unwrap().unwrap_err().is_cancelled());
    }
}

/// A sampler that is told.
struct Told(mpsc::UnboundedSender<(TraceId, Heard)>);

impl Asker for Told {
    fn pipeline(&self) -> &str {
        "traces"
    }

    fn plan_mark(&self) -> u64 {
        7
    }

    fn told(&self, trace: TraceId, heard: Heard) {
        self.0.send((trace, heard)).unwrap();
    }
}

#[tokio::test]
async fn as_long_as_nobody_is_known_questions_and_wishes_wait() {
    let peers = Peers::new(settings(&["a"], "a:1"), None, Tier::default());
    let (sender, mut heard) = mpsc::unbounded_channel();
    let asker: Arc<dyn Asker> = Arc::new(Told(sender));
    peers.inquire(&Inquiry::new(&asker, trace(1)));
    peers.queue(waiting(1));
    assert_eq!((peers.unasked.lock().unwrap().len(), peers.unrouted.len()), (1, 1));
    assert!(heard.try_recv().is_err() && peers.all().is_empty());
    // Nobody listens on that port, but it is asked.
    let ring = Arc::new(Ring::new(["127.0.0.1:9"]));
    assert!(!peers.look(&ring).await);
    assert_eq!((peers.unasked.lock().unwrap().len(), peers.unrouted.len()), (0, 0));
    let (of, said) = heard.recv().await.unwrap();
    assert_eq!((of, matches!(said, Heard::Partly(_))), (trace(1), true));
    peers.drain(Duration::ZERO).await;
    assert!(peers.all().is_empty());
}
