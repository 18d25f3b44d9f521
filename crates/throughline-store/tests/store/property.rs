//! Random ingest, retries, commits, crashes and retention: at every step the store answers as the naive model does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use throughline_otlp::{Signal, SpanKind, UnixNanos};
use throughline_store::{Errors, Ingest, Search, Store, StoreOptions};

use crate::build::{Attribute, LogSpec, SpanSpec, logs, seconds, trace_id, traces};
use crate::model::{Model, Request, identity};

const TRACES: u8 = 6;
const RETENTION: Duration = Duration::from_secs(12);

#[derive(Clone, Debug)]
enum Step {
    Spans(Vec<SpanSpec>),
    Records(Vec<LogSpec>),
    /// A client sends an earlier request again.
    Retry(prop::sample::Index),
    Commit,
    /// The process dies and the journal hands over again, from the committed position or from further back.
    Crash {
        from_start: bool,
    },
    Retain,
    Search(Search),
}

fn options() -> StoreOptions {
    StoreOptions {
        retention_age: RETENTION,
        block_documents: 12,
        memory_documents: 15,
        block_age: Duration::from_secs(5),
        ..StoreOptions::default()
    }
}

fn attribute() -> impl Strategy<Value = (&'static str, Attribute)> {
    let key = prop::sample::select(vec![
        "http.method",
        "http.request.method",
        "messaging.message.conversation_id",
        "correlation_id",
        "host.name",
        "n",
    ]);
    let value = prop_oneof![
        prop::sample::select(vec!["GET", "1", "", "é", "node-1"]).prop_map(Attribute::from),
        (0..3i64).prop_map(Attribute::from),
        // Neighbours that share a term, typed either way.
        (65_534..65_540i64).prop_map(Attribute::from),
        (65_534..65_540i64).prop_map(|number| Attribute::Text(number.to_string())),
        prop::sample::select(vec![0.5, 1.0, f64::NAN]).prop_map(Attribute::Double),
        any::<bool>().prop_map(Attribute::Bool),
        (199usize..202).prop_map(|length| Attribute::Text("long".repeat(60)[..length].to_owned())),
    ];
    (key, value)
}

fn service() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["api", "batcher", ""])
}

fn span() -> impl Strategy<Value = SpanSpec> {
    let links = vec((1..=TRACES, vec(attribute(), 0..2)), 0..3);
    let ids = (1..=TRACES, 1..20u8, 1..6i32, 0..40u64, 0..4u64);
    let rest = (service(), "[ab]", any::<bool>(), vec(attribute(), 0..3), vec(attribute(), 0..2), links);
    (ids, rest).prop_map(
        |((trace, id, kind, start, nanos), (service, name, error, attributes, event, links))| {
            // Of two spans that start at the same time either may be the newer: let there be none.
            let honest =
                start * 1_000_000 + u64::from(trace) * 10_000 + u64::from(id) * 100 + kind as u64 * 10;
            let start = if start < 38 { honest } else { ahead(trace) };
            SpanSpec { service, trace, id, name, kind, start, nanos, error, attributes, event, links }
        },
    )
}

/// What a clock says that is wrong: far ahead of every arrival, or ahead of some. One time a trace, so that it does not
/// matter which of its spans at one place is taken for the newest.
fn ahead(trace: u8) -> u64 {
    u64::from(trace) + if trace.is_multiple_of(2) { 1 << 63 } else { 3_630_000_000_000 }
}

fn record() -> impl Strategy<Value = LogSpec> {
    let severity = prop::sample::select(vec![9, 17]);
    let time = prop_oneof![4 => any::<u32>().prop_map(u64::from), 1 => (1..=TRACES).prop_map(ahead)];
    (service(), 1..=TRACES, time, severity, vec(attribute(), 0..3)).prop_map(
        |(service, trace, time, severity, attributes)| LogSpec {
            service,
            trace,
            time: 1 + time,
            severity,
            attributes,
            ..LogSpec::default()
        },
    )
}

fn search() -> impl Strategy<Value = Search> {
    let text = |(key, value): (&str, Attribute)| {
        let value = match value {
            Attribute::Text(text) => text,
            Attribute::Int(number) => number.to_string(),
            Attribute::Double(number) if number.is_nan() => "null".to_owned(),
            Attribute::Double(number) => format!("{number:?}"),
            Attribute::Bool(truth) => truth.to_string(),
        };
        (key.to_owned(), value)
    };
    let names = (option::weighted(0.2, service()), option::weighted(0.2, "[abc]"));
    let kinds = prop::sample::select(vec![SpanKind::Internal, SpanKind::Server, SpanKind::Consumer]);
    let flags = (option::weighted(0.2, kinds), prop::bool::weighted(0.2));
    let ranges = vec(option::weighted(0.15, 0..5u64), 2);
    let time = prop_oneof![3 => 0..45_000_000u64, 1 => 3_600_000_000_000..3_720_000_000_000u64];
    let times = vec(option::weighted(0.15, time), 2);
    let attributes = vec(attribute().prop_map(text), 0..3);
    (names, flags, ranges, times, attributes, 0..8usize).prop_map(
        |((service, operation), (kind, errors), durations, times, attributes, limit)| Search {
            // A service that names itself with an empty string is as unknown as one that does not.
            service: service.map(|name| if name.is_empty() { "unknown_service" } else { name }.to_owned()),
            operation,
            kind,
            errors: if errors { Errors::Only } else { Errors::Any },
            min_duration: durations[0].map(Duration::from_nanos),
            max_duration: durations[1].map(Duration::from_nanos),
            start: times[0].map(UnixNanos),
            end: times[1].map(UnixNanos),
            attributes,
            limit,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => vec(span(), 0..6).prop_map(Step::Spans),
        2 => vec(record(), 0..4).prop_map(Step::Records),
        1 => any::<prop::sample::Index>().prop_map(Step::Retry),
        3 => Just(Step::Commit),
        1 => any::<bool>().prop_map(|from_start| Step::Crash { from_start }),
        1 => Just(Step::Retain),
        5 => search().prop_map(Step::Search),
    ]
}

/// The store and the model side by side.
struct Pair {
    dir: tempfile::TempDir,
    store: Option<Store>,
    model: Model,
    clock: u64,
}

impl Pair {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), options()).unwrap();
        Self { dir, store: Some(store), model: Model::default(), clock: 1 }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn accept(&mut self, signal: Signal, otlp: Vec<u8>) {
        self.clock += 1;
        let position = self.model.requests.len() as u64;
        let request = Request { position, arrived: seconds(self.clock), signal, otlp, gone: false };
        self.hand_over(&request);
        self.model.requests.push(request);
    }

    fn hand_over(&self, request: &Request) {
        let Request { position, arrived, signal, ref otlp, .. } = *request;
        self.store().ingest(Ingest { position, arrived, signal, otlp }).unwrap();
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Spans(specs) => self.accept(Signal::Traces, traces(&specs)),
            Step::Records(specs) => self.accept(Signal::Logs, logs(&specs)),
            Step::Retry(which) if !self.model.requests.is_empty() => {
                let Request { signal, otlp, .. } = which.get(&self.model.requests).clone();
                self.accept(signal, otlp);
            }
            Step::Retry(_) => {}
            Step::Commit => {
                let committed = self.store().commit().unwrap();
                assert_eq!(committed, self.model.requests.last().map(|request| request.position));
            }
            Step::Crash { from_start } => self.crash(from_start),
            Step::Retain => self.retain(),
            Step::Search(search) => self.compare_search(&search),
        }
    }

    fn crash(&mut self, from_start: bool) {
        drop(self.store.take());
        self.store = Some(Store::open(self.dir.path(), options()).unwrap());
        assert_eq!(self.store().stats().set_aside, []);
        let committed = self.store().committed().filter(|_| !from_start);
        for request in self.model.requests.iter().filter(|request| Some(request.position) > committed) {
            self.hand_over(request);
        }
    }

    /// Blocks hold what arrived one after the other: what is gone is the oldest, to a request, and all of it too old.
    fn retain(&mut self) {
        self.clock += 3;
        let now = seconds(self.clock);
        let retired = self.store().enforce_retention(now).unwrap();
        let mut gone = retired.spans + retired.logs;
        for request in self.model.requests.iter_mut().filter(|request| !request.gone) {
            let items = items(request);
            if items > gone {
                break;
            }
            // Requests without an item leave no mark: whether their block is gone does not matter.
            gone -= items;
            request.gone = items > 0;
            assert!(
                !request.gone || now.since(request.arrived) > RETENTION.as_nanos() as i128,
                "dropped too early"
            );
            if gone == 0 {
                break;
            }
        }
        assert_eq!(gone, 0, "a block was dropped that does not end between two requests");
    }

    fn compare_search(&self, search: &Search) {
        let all = Search { limit: usize::MAX, ..search.clone() };
        let expect = self.model.search(&all);
        for limit in [usize::MAX, search.limit] {
            let found = self.store().search(&Search { limit, ..search.clone() }).unwrap();
            let known: BTreeMap<_, _> =
                expect.iter().map(|(place, hit)| (hit.trace_id, (*place, *hit))).collect();
            let expected: Vec<_> = found.iter().filter_map(|hit| known.get(&hit.trace_id)).collect();
            assert!(
                found.iter().eq(expected.iter().map(|(_, hit)| hit)),
                "{search:?}: {found:?} {expected:?}"
            );
            // Of two at one place either may come first.
            let places = expected.iter().map(|(place, _)| place);
            assert!(places.eq(expect.iter().take(limit).map(|(place, _)| place)), "{search:?}: {found:?}");
            let distinct: BTreeSet<_> = found.iter().map(|hit| hit.trace_id).collect();
            assert_eq!(distinct.len(), found.len(), "{search:?}");
        }
        let shown = |records: Vec<throughline_otlp::LogRecord>| -> Vec<String> {
            let mut shown: Vec<_> = records.iter().map(|record| format!("{record:?}")).collect();
            shown.sort();
            shown
        };
        let expect = self.model.search_records(&all);
        assert_eq!(shown(self.store().search_logs(&all).unwrap()), shown(expect), "{search:?}");
    }

    fn compare_all(&self) {
        let (store, model) = (self.store(), &self.model);
        self.compare_search(&Search::default());
        let mut by_trace: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
        for span in model.spans() {
            by_trace.entry(span.trace_id).or_default().insert(format!("{:?}", identity(&span)));
        }
        for trace in 0..=TRACES {
            let Some(id) = throughline_otlp::TraceId::new([trace; 16]) else { continue };
            let found = store.trace(id).unwrap();
            let spans: BTreeSet<String> =
                found.spans.iter().map(|span| format!("{:?}", identity(span))).collect();
            assert_eq!(spans, by_trace.remove(&id).unwrap_or_default());
            assert_eq!(spans.len(), found.spans.len(), "none twice");
            assert_eq!(store.trace_otlp(id).unwrap().len(), found.spans.len());
            let records = model.records().iter().filter(|record| record.trace_id == Some(id)).count();
            assert_eq!(found.logs.len(), records);
            assert_eq!(store.has_trace(id).unwrap(), !found.spans.is_empty() || records > 0);
            let linking = store.linking_to(trace_id(trace), usize::MAX).unwrap();
            assert_eq!(linking.into_iter().collect::<BTreeSet<_>>(), model.linking_to(trace_id(trace)));
        }
        assert_eq!(store.services().unwrap().into_iter().collect::<BTreeSet<_>>(), model.services());
        for service in model.services() {
            let found = store.operations(Some(&service)).unwrap();
            let found: BTreeSet<_> = found.into_iter().map(|of| (of.name, of.kind.as_str())).collect();
            assert_eq!(found, model.operations(&service));
        }
    }
}

fn items(request: &Request) -> u64 {
    throughline_otlp::check(request.signal, &request.otlp).unwrap().items
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_answers_as_the_model_does(steps in vec(step(), 1..40)) {
        let mut pair = Pair::new();
        for step in steps {
            pair.run(step);
        }
        pair.compare_all();
        pair.crash(true);
        pair.compare_all();
    }
}
