//! The front tier without sockets: members are simulated, each answer is chosen by the test.

mod sockets;

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use proptest::prelude::*;
use prost::Message as _;

use super::split::split;
use super::*;
use crate::export::{Rejected, Trouble};

const MEMBERS: [&str; 4] = ["a:1", "b:1", "c:1", "d:1"];

fn ring(members: usize) -> Arc<Ring> {
    Arc::new(Ring::new(MEMBERS[..members].iter().copied()))
}

/// Trace and span.
type Id = (u8, u8);

/// Each list of spans under a resource of its own, with the service of its number modulo three.
fn request(groups: &[Vec<Id>]) -> Vec<u8> {
    let group = |(number, spans): (usize, &Vec<Id>)| {
        let service = AnyValue { value: Some(any_value::Value::StringValue(format!("s{}", number % 3))) };
        let name = KeyValue { key: "service.name".to_owned(), value: Some(service), ..KeyValue::default() };
        let spans = spans
            .iter()
            .map(|(trace, span)| Span {
                trace_id: trace_id(*trace).to_vec(),
                span_id: vec![*span; 8],
                ..Span::default()
            })
            .collect();
        ResourceSpans {
            resource: (number % 4 != 3).then(|| Resource { attributes: vec![name], ..Resource::default() }),
            scope_spans: vec![ScopeSpans { spans, schema_url: "u".to_owned(), ..ScopeSpans::default() }],
            schema_url: "v".to_owned(),
        }
    };
    ExportTraceServiceRequest { resource_spans: groups.iter().enumerate().map(group).collect() }
        .encode_to_vec()
}

/// Spread over the ring.
fn trace_id(trace: u8) -> [u8; 16] {
    let mut id = [trace.wrapping_mul(37); 16];
    id[0] = trace;
    id[15] = 1;
    id
}

/// Trace, span and service of every span, with how often it is there.
fn spans(request: &[u8]) -> BTreeMap<(u8, u8, String), usize> {
    let mut seen = BTreeMap::new();
    for group in ExportTraceServiceRequest::decode(request).unwrap().resource_spans {
        let service = group
            .resource
            .and_then(|r| r.attributes.first().cloned())
            .map_or_else(String::new, |kv| format!("{:?}", kv.value));
        assert_eq!(group.schema_url, "v");
        for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            *seen.entry((span.trace_id[0], span.span_id[0], service.clone())).or_default() += 1;
        }
    }
    seen
}

fn groups() -> impl Strategy<Value = Vec<Vec<Id>>> {
    prop::collection::vec(prop::collection::vec((0..20_u8, 1..=255_u8), 0..8), 0..6)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Member {
    Up,
    Down,
    Busy,
    Refuses,
}

fn members() -> impl Strategy<Value = Vec<Member>> {
    let member = prop_oneof![3 => Just(Member::Up), 2 => Just(Member::Down), 1 => Just(Member::Busy), 1 => Just(Member::Refuses)];
    prop::collection::vec(member, 1..=4)
}

/// What arrived where, and how the round ended.
fn run(states: &[Member], key: RoutingKey, request: &[u8]) -> (Vec<Vec<u8>>, Outcome) {
    let ring = ring(states.len());
    let whole = Body::from(request.to_vec());
    let mut round = Round::new(Arc::clone(&ring), key, Signal::Traces, &whole).unwrap();
    let mut arrived = vec![Vec::new(); states.len()];
    while let Some(parcel) = round.next_parcel() {
        let at = MEMBERS.iter().position(|name| *name == ring.name(parcel.member())).unwrap();
        let outcome = match states[at] {
            Member::Up => {
                arrived[at].extend_from_slice(&parcel.request().joined());
                Outcome::ACCEPTED
            }
            Member::Down => Outcome::unreachable("refused"),
            Member::Busy => Outcome::Retry {
                after: None,
                trouble: Trouble::Destination,
                why: "busy".to_owned(),
                rest: None,
            },
            Member::Refuses => Outcome::Refused { why: "bad".to_owned() },
        };
        round.answered(parcel, outcome);
    }
    (arrived, round.finish())
}

/// The peer refuses the whole request.
#[test]
fn a_resource_without_a_service_goes_by_the_empty_name() {
    let named = |name: Option<&str>| {
        let text = |text: &str| AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) };
        let attribute = |name| KeyValue {
            key: "service.name".to_owned(),
            value: Some(text(name)),
            ..KeyValue::default()
        };
        let resource =
            Resource { attributes: name.map(attribute).into_iter().collect(), ..Resource::default() };
        let span = Span { trace_id: trace_id(1).to_vec(), span_id: vec![1; 8], ..Span::default() };
        let scope = ScopeSpans { spans: vec![span], ..ScopeSpans::default() };
        let group =
            ResourceSpans { resource: Some(resource), scope_spans: vec![scope], ..ResourceSpans::default() };
        ExportTraceServiceRequest { resource_spans: vec![group] }.encode_to_vec()
    };
    let ring = ring(4);
    for name in [None, Some("")] {
        let request = Body::from(named(name));
        let parts = split(&ring, RoutingKey::Service, Signal::Traces, &request, &[]).unwrap();
        let [part] = parts.as_slice() else { panic!("{name:?}: {parts:?}") };
        assert_eq!(
            (Some(part.member), &part.request, part.items),
            (ring.owner(b""), &request, 1),
            "{name:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn parts_are_a_partition_by_owner(groups in groups(), members in 1..=4_usize, by_service in any::<bool>()) {
        let key = if by_service { RoutingKey::Service } else { RoutingKey::TraceId };
        let (ring, request) = (ring(members), request(&groups));
        let parts = split(&ring, key, Signal::Traces, &Body::from(request.clone()), &[]).unwrap();
        let mut joined = Vec::new();
        let mut owner_of = BTreeMap::new();
        for part in &parts {
            let inside = spans(&part.request.clone().joined());
            prop_assert_eq!(inside.values().sum::<usize>(), part.items);
            for (trace, _, service) in inside.keys() {
                let key = if by_service { service.clone() } else { trace.to_string() };
                prop_assert_eq!(owner_of.entry(key).or_insert(part.member), &part.member, "one owner");
                if !by_service {
                    prop_assert_eq!(ring.owner(&trace_id(*trace)), Some(part.member));
                }
            }
            joined.extend_from_slice(&part.request.clone().joined());
        }
        prop_assert_eq!(spans(&joined), spans(&request), "nothing lost, nothing twice");
        prop_assert!(parts.len() <= members);
    }

    /// Every span arrives exactly once, is refused, or is in what is to be sent again; a trace whose owner is up goes there,
    /// whatever happens to others.
    #[test]
    fn nothing_is_lost_and_nothing_goes_to_all(groups in groups(), states in members()) {
        let request = request(&groups);
        let (arrived, outcome) = run(&states, RoutingKey::TraceId, &request);
        let all = spans(&request);
        let (rest, refused) = match &outcome {
            Outcome::Retry { rest, .. } => (spans(&rest.clone().unwrap().joined()), None),
            Outcome::Accepted { rejected } => (BTreeMap::new(), Some(rejected.as_ref().map_or(0, |rejected| rejected.items))),
            Outcome::Refused { .. } => (BTreeMap::new(), Some(all.values().sum::<usize>() as u64)),
        };
        let mut joined: Vec<u8> = arrived.concat();
        if let Outcome::Retry { rest: Some(rest), .. } = &outcome {
            joined.extend_from_slice(&rest.clone().joined());
        }
        let answered = spans(&joined);
        let missing: usize = all.iter().map(|(span, count)| count - answered.get(span).copied().unwrap_or(0)).sum();
        prop_assert!(answered.iter().all(|(span, count)| all.get(span) == Some(count)), "nothing twice");
        if let Some(refused) = refused {
            prop_assert_eq!(refused, missing as u64);
        }
        if !states.contains(&Member::Refuses) {
            prop_assert_eq!(missing, 0);
        }
        if states.iter().all(|state| *state == Member::Down) {
            prop_assert_eq!(&rest, &all);
        }
        let ring = ring(states.len());
        for (at, arrived) in arrived.iter().enumerate() {
            for (trace, _, _) in spans(arrived).keys() {
                let owner = ring.name(ring.owner(&trace_id(*trace)).unwrap());
                let owner = MEMBERS.iter().position(|name| *name == owner).unwrap();
                prop_assert!(owner == at || states[owner] == Member::Down, "{trace} is not at its owner, which is {:?}", states[owner]);
            }
        }
    }

    /// The same member, whoever asks: what is redirected of one trace stays together.
    #[test]
    fn a_redirected_trace_stays_together(groups in groups(), down in 0..4_usize) {
        let mut states = [Member::Up; 4];
        states[down] = Member::Down;
        let mut places: BTreeMap<u8, BTreeSet<usize>> = BTreeMap::new();
        for group in groups {
            let (arrived, outcome) = run(&states, RoutingKey::TraceId, &request(&[group]));
            prop_assert_eq!(outcome, Outcome::ACCEPTED);
            for (at, arrived) in arrived.iter().enumerate() {
                for (trace, _, _) in spans(arrived).keys() {
                    places.entry(*trace).or_default().insert(at);
                }
            }
        }
        prop_assert!(places.values().all(|at| at.len() == 1 && !at.contains(&down)));
    }
}

#[test]
fn what_is_said_at_the_end() {
    let all = request(&[(0..20).map(|trace| (trace, 1)).collect()]);
    let check = |states: &[Member]| match run(states, RoutingKey::TraceId, &all).1 {
        Outcome::Accepted { rejected } => format!("accepted {rejected:?}"),
        Outcome::Retry { trouble, why, rest, .. } => {
            format!("{trouble:?} {why}, {} spans", spans(&rest.unwrap().joined()).len())
        }
        Outcome::Refused { why } => format!("refused {why}"),
    };
    assert_eq!(check(&[]), "Connection no backends are known yet, 20 spans");
    assert_eq!(check(&[Member::Up; 3]), "accepted None");
    assert_eq!(check(&[Member::Down, Member::Up]), "accepted None");
    assert_eq!(check(&[Member::Refuses]), "refused a:1: bad");
    assert_eq!(check(&[Member::Busy]), "Destination a:1: busy, 20 spans");
    let (_, partly) = run(&[Member::Up, Member::Refuses], RoutingKey::TraceId, &all);
    let Outcome::Accepted { rejected: Some(Rejected { items, why }) } = partly else { panic!("{partly:?}") };
    assert!(items > 0 && items < 20 && why == "b:1: bad", "{items} {why}");
}

#[test]
fn log_records_without_a_trace_are_spread_and_stay_put() {
    let record = |number: u8| LogRecord { event_name: format!("event {number}"), ..LogRecord::default() };
    let records = ScopeLogs { log_records: (0..100).map(record).collect(), ..ScopeLogs::default() };
    let logs = ResourceLogs { scope_logs: vec![records], ..ResourceLogs::default() };
    let request = Body::from(ExportLogsServiceRequest { resource_logs: vec![logs] }.encode_to_vec());
    let parts = split(&ring(4), RoutingKey::TraceId, Signal::Logs, &request, &[]).unwrap();
    assert_eq!((parts.len(), parts.iter().map(|part| part.items).sum::<usize>()), (4, 100));
    assert_eq!(split(&ring(4), RoutingKey::TraceId, Signal::Logs, &request, &[]).unwrap(), parts);
}
