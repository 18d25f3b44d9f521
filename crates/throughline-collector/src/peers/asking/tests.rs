//! A courier with a peer that answers as it is told: every trace is heard of once, whatever becomes of the call.

use throughline_otlp::UnixNanos;
use throughline_sampling::decision::{Reason, Verdict};
use throughline_sampling::facts::{Met, Root, TraceFacts};

use super::*;

const PLAN: u64 = 7;

/// What its traces have heard.
#[derive(Default)]
struct Shop {
    pipeline: String,
    heard: Mutex<Vec<(TraceId, Heard)>>,
}

impl Asker for Shop {
    fn pipeline(&self) -> &str {
        &self.pipeline
    }

    fn plan_mark(&self) -> u64 {
        PLAN
    }

    fn told(&self, trace: TraceId, heard: Heard) {
        self.heard.lock().unwrap().push((trace, heard));
    }
}

/// A peer that takes a while, and then answers so for every trace.
struct Peer {
    takes: Duration,
    answer: Result<(u64, Holding), Silence>,
    calls: Arc<Mutex<Vec<Holds>>>,
    other: Option<Arc<Questions>>,
}

impl Line for Peer {
    async fn holds(&self, call: Bytes) -> Result<Vec<u8>, (Silence, String)> {
        let holds = Holds::decode(&call).unwrap();
        let count = holds.traces.len();
        self.calls.lock().unwrap().push(holds);
        // tidy: sleeps, because the clock is paused and this is how it goes on.
        tokio::time::sleep(self.takes).await;
        let (plan, holding) = self.answer.clone().map_err(|silence| (silence, "because".to_owned()))?;
        Ok(Answered { plan, holdings: vec![holding; count] }.encode())
    }

    fn from(&self) -> String {
        "us".to_owned()
    }

    fn holding(&self, inquiry: &Inquiry, node: &str) {
        assert!(!inquiry.asks(&node.into()), "only who was asked can hold it");
    }

    fn named(&self, inquiry: &Arc<Inquiry>, others: &[Arc<str>]) {
        for (name, other) in others.iter().zip(&self.other) {
            if inquiry.asks(name) {
                other.push(inquiry);
            }
        }
    }
}

fn trace(number: u128) -> TraceId {
    TraceId::new(number.to_be_bytes()).unwrap()
}

fn facts(number: u128, spans: u32) -> TraceFacts {
    TraceFacts {
        trace: trace(number),
        met: Met::from_bits(5),
        start: UnixNanos(1),
        end: UnixNanos(2),
        spans,
        bytes: u64::from(spans),
        root: Root::Unseen,
        links: Vec::new(),
        links_left_out: 0,
    }
}

fn holding(spans: u32, others: &[&str]) -> Holding {
    let decided = Some((Verdict::NotSampled, Reason::NoPolicy, None));
    let held = Held { decided, promised: None, followed: false, facts: Some(facts(1, spans)) };
    Holding { held, others: others.iter().copied().map(Arc::from).collect() }
}

/// Asks about so many traces at once; what the last of them heard, how often a trace was heard of, and the calls.
async fn check(count: u128, answer: Result<(u64, Holding), Silence>, takes: u64) -> (Heard, usize, usize) {
    let shop = Arc::new(Shop { pipeline: "traces".to_owned(), ..Shop::default() });
    let asker: Arc<dyn Asker> = Arc::clone(&shop) as _;
    let (first, second) = (
        Questions::new("b".into(), Duration::from_secs(1)),
        Questions::new("c".into(), Duration::from_secs(1)),
    );
    let calls = Arc::default();
    let peer = |answer, other| Peer {
        takes: Duration::from_millis(takes),
        answer,
        calls: Arc::clone(&calls),
        other,
    };
    let couriers = [
        tokio::spawn(run(Arc::clone(&first), peer(answer, Some(Arc::clone(&second))))),
        tokio::spawn(run(
            Arc::clone(&second),
            peer(Ok((PLAN, holding(10, &["b", "c"]))), Some(Arc::clone(&first))),
        )),
    ];
    for number in 1..=count {
        let inquiry = Inquiry::new(&asker, trace(number));
        assert!(inquiry.asks(&"b".into()) && !inquiry.asks(&"b".into()));
        first.push(&inquiry);
    }
    // tidy: sleeps, because the clock is paused and this is how it goes on.
    tokio::time::sleep(Duration::from_secs(600)).await;
    couriers.iter().for_each(|courier| courier.abort());
    let heard = shop.heard.lock().unwrap();
    let last = heard.iter().find(|(of, _)| *of == trace(count)).map(|(_, heard)| heard.clone()).unwrap();
    let calls = calls.lock().unwrap().len();
    (last, heard.len(), calls)
}

#[tokio::test(start_paused = true)]
async fn every_trace_hears_once_whatever_becomes_of_the_call() {
    let answer = |spans: u32| {
        let decided = Some((Verdict::NotSampled, Reason::NoPolicy, None));
        Held { decided, promised: None, followed: false, facts: Some(facts(1, spans)) }
    };
    let same = Ok((PLAN, holding(2, &[])));
    assert_eq!(check(1, same.clone(), 1).await, (Heard::Answer(answer(2)), 1, 1));
    let without = Held { facts: None, ..answer(2) };
    assert_eq!(
        check(1, Ok((PLAN + 1, holding(2, &[]))), 1).await,
        (Heard::Answer(without), 1, 1),
        "another plan"
    );
    let nobody = Heard::Partly(Held::default());
    for silence in [Silence::Unreachable, Silence::Refused] {
        assert_eq!(check(1, Err(silence), 1).await, (nobody.clone(), 1, 1));
        assert_eq!(
            check(5000, Err(silence), 1).await,
            (nobody.clone(), 5000, 1),
            "those behind it do not wait"
        );
    }
    let (heard, count, calls) = check(600, same.clone(), 1).await;
    assert_eq!((matches!(heard, Heard::Answer(_)), count, calls), (true, 600, 2));
    let (heard, count, calls) = check(600, same.clone(), 2000).await;
    assert_eq!((heard, count, calls), (nobody.clone(), 600, 1), "too slow for the second call");
    let too_many = WAITING as u128 + 1;
    assert_eq!(check(too_many, same, 1).await.0, nobody, "no room");
    // A peer that is named is asked too, once.
    assert_eq!(check(1, Ok((PLAN, holding(2, &["c", "b"]))), 1).await, (Heard::Answer(answer(12)), 1, 2));
}

/// Questions about two pipelines, answered so; each call as `pipeline, traces`.
async fn calls(answer: Result<(u64, Holding), Silence>) -> Vec<String> {
    let calls = Arc::default();
    let questions = Questions::new("b".into(), Duration::from_secs(1));
    for pipeline in ["one", "one", "two"] {
        let asker: Arc<dyn Asker> = Arc::new(Shop { pipeline: pipeline.to_owned(), ..Shop::default() });
        questions.push(&Inquiry::new(&asker, trace(1)));
    }
    let peer = Peer { takes: Duration::ZERO, answer, calls: Arc::clone(&calls), other: None };
    let courier = tokio::spawn(run(questions, peer));
    // tidy: sleeps, because the clock is paused and this is how it goes on.
    tokio::time::sleep(Duration::from_secs(60)).await;
    courier.abort();
    let said = |holds: &Holds| format!("{} {} {}", holds.from, holds.pipeline, holds.traces.len());
    calls.lock().unwrap().iter().map(said).collect()
}

#[tokio::test(start_paused = true)]
async fn pipelines_are_asked_about_in_calls_of_their_own() {
    assert_eq!(calls(Ok((PLAN, Holding::default()))).await, ["us one 2", "us two 1"]);
    assert_eq!(calls(Err(Silence::Refused)).await, ["us one 2", "us two 1"], "it may know one of them");
    assert_eq!(calls(Err(Silence::Unreachable)).await, ["us one 2"]);
}
