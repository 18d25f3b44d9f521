//! The front tier over real sockets: a member dies and comes back; nothing is lost, nothing goes to all.

use std::collections::BTreeSet;

use throughline_otlp::TraceId;

use super::*;
use crate::export::otlp::tests::{PATIENCE, any_port, plain, traces};
use crate::export::otlp::{OtlpSettings, Protocol};
use crate::export::sink::{Arrived, Sink};

fn ids(arrived: &Arrived) -> BTreeSet<TraceId> {
    arrived.traces().into_iter().map(|(trace, _, _)| trace).collect()
}

async fn send(balancer: &LoadBalancer, spans: impl IntoIterator<Item = (u8, u8)>) {
    let outcome =
        tokio::time::timeout(PATIENCE, balancer.send(Signal::Traces, traces(spans).into())).await.unwrap();
    assert_eq!(outcome, Outcome::ACCEPTED);
}

#[tokio::test]
async fn a_dead_member_is_gone_round_and_keeps_what_it_owns() {
    let mut sinks = Vec::new();
    for _ in 0..3 {
        sinks.push(Sink::start(any_port()).await.unwrap());
    }
    let arrived: Vec<Arc<Arrived>> = sinks.iter().map(Sink::arrived).collect();
    let names: Vec<String> = sinks.iter().map(|sink| sink.address().to_string()).collect();
    let ring = Arc::new(Ring::new(names.iter().map(String::as_str)));
    let (_members, watched) = watch::channel(Arc::clone(&ring));
    let otlp =
        OtlpSettings { security: crate::export::otlp::Security::Plain, ..plain(Protocol::Grpc, any_port()) };
    let balancer =
        LoadBalancer::new(BalanceSettings { routing_key: RoutingKey::TraceId, otlp }, watched).unwrap();

    send(&balancer, (0..60).map(|trace| (trace, 1))).await;
    let owned: Vec<BTreeSet<TraceId>> = arrived.iter().map(|arrived| ids(arrived)).collect();
    assert_eq!(owned.iter().map(BTreeSet::len).sum::<usize>(), 60);
    for (traces, name) in owned.iter().zip(&names) {
        assert!(!traces.is_empty());
        assert!(traces.iter().all(|trace| ring.name(ring.owner(&trace.bytes()).unwrap()) == name));
    }

    let dead = sinks.remove(0);
    let address = dead.address();
    dead.stop().await;
    send(&balancer, (0..60).map(|trace| (trace, 2))).await;
    assert_eq!(ids(&arrived[0]), owned[0], "nothing came to the dead one");
    let elsewhere: BTreeSet<TraceId> = ids(&arrived[1]).union(&ids(&arrived[2])).copied().collect();
    assert_eq!(elsewhere.len(), 60);
    let copies: u64 = arrived.iter().map(|arrived| arrived.stats().spans).sum();
    assert_eq!(copies, 120, "each span once");
    for (arrived, owned) in arrived.iter().zip(&owned).skip(1) {
        assert!(ids(arrived).is_superset(owned), "who is up keeps what it owns");
    }

    let _back = Sink::start_over(address, Arc::clone(&arrived[0])).await.unwrap();
    let mut number = 3;
    let returned = async {
        // It is told of the failure for a moment longer; what is sent meanwhile arrives elsewhere.
        while arrived[0].stats().requests < 2 {
            send(&balancer, (0..60).map(|trace| (trace, number))).await;
            number = number.wrapping_add(1).max(3);
        }
    };
    tokio::time::timeout(PATIENCE, returned).await.expect("it gets its own again");
    assert_eq!(ids(&arrived[0]), owned[0]);
}

#[tokio::test]
async fn without_anybody_it_is_tried_again() {
    let (_members, watched) = watch::channel(Arc::new(Ring::default()));
    let otlp = plain(Protocol::Grpc, any_port());
    let balancer =
        LoadBalancer::new(BalanceSettings { routing_key: RoutingKey::TraceId, otlp }, watched).unwrap();
    let request = traces([(1, 1)]);
    let Outcome::Retry { rest: Some(rest), .. } = balancer.send(Signal::Traces, request.clone().into()).await
    else {
        panic!("nobody to accept it")
    };
    assert_eq!(rest.joined(), request);
}
