//! Calls there and back, cut, lengthened and made up.

use proptest::prelude::*;

use throughline_otlp::UnixNanos;
use throughline_sampling::decision::Held;
use throughline_sampling::facts::{Met, Root, TraceFacts};

use super::*;

fn a_trace() -> impl Strategy<Value = TraceId> {
    any::<[u8; 16]>().prop_filter_map("zero", TraceId::new)
}

fn a_reason() -> impl Strategy<Value = Reason> {
    prop_oneof![
        ".{0,20}".prop_map(|name| Reason::Policy(name.into())),
        a_trace().prop_map(Reason::LinkedFrom),
        Just(Reason::NoPolicy),
        Just(Reason::TooLarge),
        Just(Reason::Shutdown),
    ]
}

fn a_distance() -> impl Strategy<Value = Option<u8>> {
    prop::option::of(0..255_u8)
}

fn a_wish() -> impl Strategy<Value = Wanted> {
    let linked = (a_trace(), a_trace(), 0..3_u8, 2..=255_u8);
    prop_oneof![
        linked.prop_map(|(trace, other, kind, hops)| Wanted::Link(match kind {
            0 => Wish::Keep { trace, from: other, hops },
            1 => Wish::Pass { trace, to: other, hops },
            _ => Wish::Follow { trace, from: other },
        })),
        (a_trace(), a_reason(), a_distance(), "[a-z]{0,9}", any::<(bool, bool)>()).prop_map(
            |(trace, reason, hops, by, (promise, second))| {
                let promise = promise && hops.is_some() && reason.origin().is_some();
                let what = if promise { What::Promise } else { What::Spans };
                let hand = if second { Hand::Second } else { Hand::First };
                Wanted::Kept(Kept { trace, reason, hops, by: by.into(), what, hand })
            }
        ),
    ]
}

fn a_keep() -> impl Strategy<Value = Keep> {
    let wished =
        (a_wish(), 0..u64::MAX).prop_map(|(wish, age)| Wished { wish, age: Duration::from_millis(age) });
    (".{0,40}", prop::collection::vec(wished, 0..20)).prop_map(|(pipeline, wishes)| Keep { pipeline, wishes })
}

proptest! {
    #[test]
    fn what_is_said_is_understood(keep in a_keep()) {
        prop_assert_eq!(Keep::decode(&keep.encode()), Ok(keep));
    }

    #[test]
    fn anything_else_is_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Keep::decode(&bytes);
    }

    #[test]
    fn what_is_cut_or_lengthened_is_refused(keep in a_keep(), at in any::<prop::sample::Index>(), more in any::<u8>()) {
        let mut bytes = keep.encode();
        prop_assert!(Keep::decode(&bytes[..at.index(bytes.len())]).is_err());
        bytes.push(more);
        prop_assert!(Keep::decode(&bytes).is_err());
    }

    #[test]
    fn a_changed_byte_is_read_or_refused_and_never_reserves_what_is_not_there(
        keep in a_keep(), at in any::<prop::sample::Index>(), value in any::<u8>(),
    ) {
        let mut bytes = keep.encode();
        let at = at.index(bytes.len());
        bytes[at] = value;
        if let Ok(read) = Keep::decode(&bytes) {
            prop_assert!(read.wishes.len() <= bytes.len() / 20);
        }
    }
}

#[test]
fn too_many_at_once_and_later_versions_are_named() {
    let trace = TraceId::new([1; 16]).unwrap();
    let wished = Wished { wish: Wanted::Link(Wish::Follow { trace, from: trace }), age: Duration::ZERO };
    let keep = |count| Keep { pipeline: "traces".to_owned(), wishes: vec![wished.clone(); count] }.encode();
    assert!(Keep::decode(&keep(MOST)).is_ok());
    assert_eq!(Keep::decode(&keep(MOST + 1)), Err(CallError::TooMany));
    let mut later = keep(0);
    later[0] = 2;
    assert_eq!(Keep::decode(&later), Err(CallError::Version(2)));
    let long = Keep { pipeline: "x".repeat(NAME_BYTES + 1), wishes: Vec::new() };
    assert_eq!(Keep::decode(&long.encode()), Err(CallError::Length));
}

fn some_facts() -> impl Strategy<Value = TraceFacts> {
    (any::<u128>(), any::<[u64; 3]>(), any::<u32>(), any::<bool>()).prop_map(
        |(met, [start, end, bytes], spans, root)| TraceFacts {
            trace: TraceId::new([9; 16]).unwrap(),
            met: Met::from_bits(met),
            start: UnixNanos(start),
            end: UnixNanos(end),
            spans,
            bytes,
            root: if root { Root::Seen } else { Root::Unseen },
            links: Vec::new(),
            links_left_out: 0,
        },
    )
}

fn a_holding() -> impl Strategy<Value = Holding> {
    let verdict = prop_oneof![Just(Verdict::NotSampled), Just(Verdict::Sampled), Just(Verdict::Dropped)];
    let decided = prop::option::of((verdict, a_reason(), a_distance()));
    let promised = prop::option::of((a_trace(), any::<u8>()));
    let others = prop::collection::vec("[a-z]{0,9}".prop_map(|name: String| Arc::from(name)), 0..=8);
    (decided, promised, any::<bool>(), prop::option::of(some_facts()), others).prop_map(
        |(decided, promised, followed, facts, others)| Holding {
            held: Held { decided, promised, followed, facts },
            others,
        },
    )
}

/// Questions, and the answer to them.
fn a_talk() -> impl Strategy<Value = (Holds, Answered)> {
    let all = prop::collection::vec((a_trace(), a_holding()), 0..10);
    (".{0,20}", any::<u64>(), all).prop_map(|(from, plan, all)| {
        let (traces, mut holdings): (Vec<TraceId>, Vec<Holding>) = all.into_iter().unzip();
        for (trace, holding) in traces.iter().zip(&mut holdings) {
            holding.held.facts.iter_mut().for_each(|facts| facts.trace = *trace);
        }
        (Holds { pipeline: "traces".to_owned(), from, traces }, Answered { plan, holdings })
    })
}

proptest! {
    #[test]
    fn questions_and_answers_are_understood_whole_and_refused_cut_or_lengthened(
        talk in a_talk(), at in any::<prop::sample::Index>(), more in any::<u8>(),
    ) {
        let (holds, answered) = talk;
        let (mut question, mut answer) = (holds.encode(), answered.encode());
        prop_assert_eq!(Holds::decode(&question), Ok(holds.clone()));
        prop_assert_eq!(Answered::decode(&answer, &holds.traces), Ok(answered));
        prop_assert!(Holds::decode(&question[..at.index(question.len())]).is_err());
        prop_assert!(Answered::decode(&answer[..at.index(answer.len())], &holds.traces).is_err());
        question.push(more);
        answer.push(more);
        prop_assert!(Holds::decode(&question).is_err());
        prop_assert!(Answered::decode(&answer, &holds.traces).is_err());
        if let Some((_, fewer)) = holds.traces.split_first() {
            answer.pop();
            prop_assert_eq!(Answered::decode(&answer, fewer), Err(CallError::Length));
        }
    }

    #[test]
    fn noise_is_no_question_and_no_answer(
        noise in prop::collection::vec(any::<u8>(), 0..200), talk in a_talk(), at in any::<prop::sample::Index>(),
    ) {
        let (holds, answered) = talk;
        let _ = (Holds::decode(&noise), Answered::decode(&noise, &holds.traces));
        let mut answer = answered.encode();
        let at = at.index(answer.len());
        answer[at] = noise.first().copied().unwrap_or_default();
        let _ = Answered::decode(&answer, &holds.traces);
    }
}

/// An answer about one trace, of which what follows its flags is this.
fn refused(entry: &[u8]) -> CallError {
    let answer = [&[VERSION], &[0; 8][..], &[1], entry].concat();
    Answered::decode(&answer, &[TraceId::new([1; 16]).unwrap()]).unwrap_err()
}

#[test]
fn what_no_node_of_ours_says_is_refused_by_name() {
    let unknown = |what, code| CallError::Unknown { what, code };
    assert_eq!(refused(&[32]), unknown("flag", 32));
    assert_eq!(refused(&[1, 4, 255, 2]), unknown("verdict", 4));
    assert_eq!(refused(&[1, 2, 255, 6]), unknown("reason", 6));
    assert_eq!(refused(&[&[1, 2, 255, 3][..], &[0; 16]].concat()), unknown("trace id", 0));
    assert_eq!(refused(&[&[2][..], &[0; 16], &[1, 1, 1, 1, 2]].concat()), unknown("root", 2));
    assert_eq!(refused(&[8, 9]), CallError::TooMany);
    let question = |count: usize| Holds {
        pipeline: "traces".to_owned(),
        from: "a".to_owned(),
        traces: vec![TraceId::new([1; 16]).unwrap(); count],
    };
    assert!(Holds::decode(&question(MOST).encode()).is_ok());
    assert_eq!(Holds::decode(&question(MOST + 1).encode()), Err(CallError::TooMany));
    let stranger = Holds { from: "x".repeat(NAME_BYTES + 1), ..question(1) };
    assert_eq!(Holds::decode(&stranger.encode()), Err(CallError::Length));
    let kept = |rest: &[u8]| {
        let call = [&[VERSION, 1, b't', 1, KEPT][..], &[1; 16], rest].concat();
        Keep::decode(&call).unwrap_err()
    };
    assert_eq!(kept(&[0, 3, 255, 2, 0, 0]), unknown("verdict on what is kept", KEPT));
    assert_eq!(kept(&[4, 2, 255, 2, 0, 0]), unknown("flag", 4));
    assert_eq!(kept(&[1, 2, 1, 2, 0, 0]), unknown("promise without a link", 1));
}
