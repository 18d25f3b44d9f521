//! The header vectors, and properties against naive models.

use super::*;
use crate::inject_context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanId, TraceFlags, TraceState};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

#[test]
fn traceparent_vectors() {
    let ok = |flags: &str| Some(format!("00-{TRACE}-{SPAN}-{flags}"));
    let id = format!("{TRACE}-{SPAN}");
    for (value, expected) in [
        (format!("00-{id}-00"), ok("00")),
        (format!("00-{id}-01"), ok("01")),
        (format!("00-{id}-03"), ok("03")),
        (format!("00-{id}-ff"), ok("03")),
        (format!("00-{id}-fe"), ok("02")),
        (format!(" 00-{id}-01\t"), ok("01")),
        (format!("01-{id}-01"), ok("01")),
        (format!("cc-{id}-01-what-the-future-brings"), ok("01")),
        (format!("fe-{id}-09-"), ok("01")),
        (format!("ff-{id}-01"), None),
        (format!("00-{id}-01-more"), None),
        (format!("01-{id}-01more"), None),
        (format!("0x-{id}-01"), None),
        (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None),
        (format!("00-{}-{SPAN}-01", "0".repeat(32)), None),
        (format!("00-{TRACE}-{}-01", "0".repeat(16)), None),
        (format!("00-{id}-0g"), None),
        (format!("00-{id}-1"), None),
        (format!("00_{id}-01"), None),
        (format!("00-{}_{SPAN}-01", TRACE), None),
        (String::new(), None),
    ] {
        assert_eq!(
            TraceParent::parse(value.as_bytes()).map(|parent| parent.to_string()),
            expected,
            "{value:?}"
        );
    }
}

fn hex(n: u128, width: usize) -> String {
    format!("{n:0width$x}")
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(trace in 1u128.., span in 1u64.., flags: u8) {
        let parent = TraceParent::new(TraceId::from(trace), SpanId::from(span), flags).unwrap();
        let text = format!("00-{}-{}-{:02x}", hex(trace, 32), hex(u128::from(span), 16), flags & 3);
        prop_assert_eq!(parent.to_string(), text.clone());
        prop_assert_eq!(TraceParent::parse(text.as_bytes()), Some(parent));
    }

    /// A naive reader: split at dashes, check each part.
    #[test]
    fn reading_agrees_with_a_naive_reader(
        value in prop_oneof![
            "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[a-z]{0,3})?",
            "[0-9a-fA-F-]{50,60}",
            "0[01]-0{30}[01]{2}-0{15}[01]-[0-9a-g]{2}",
        ]
    ) {
        let parts: Vec<&str> = value.splitn(5, '-').collect();
        let lower_hex = |s: &str, n| s.len() == n && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let naive = match parts.as_slice() {
            [v, t, s, f, rest @ ..] if lower_hex(v, 2) && lower_hex(t, 32) && lower_hex(s, 16) && lower_hex(f, 2) => {
                let zero = |s: &str| s.bytes().all(|b| b == b'0');
                let version_allows = match *v {
                    "ff" => false,
                    "00" => rest.is_empty(),
                    _ => true,
                };
                let valid = version_allows && !(zero(t) || zero(s));
                valid.then(|| (*t).to_owned())
            }
            _ => None,
        };
        let read = TraceParent::parse(value.as_bytes()).map(|parent| parent.trace_id.to_string());
        prop_assert_eq!(read, naive);
    }

    #[test]
    fn nothing_a_stranger_sends_makes_reading_fail(
        headers in prop::collection::vec(
            (prop::sample::select(vec!["traceparent", "TraceState", "baggage", "x-correlation-id", "x-tenant-id", "other"]),
             prop::collection::vec(any::<u8>(), 0..80)),
            0..8),
    ) {
        let incoming = extract(&headers);
        let headers: Vec<(String, Vec<u8>)> = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let _ = inject_context(incoming.context(), headers);
    }

    #[test]
    fn baggage_survives_a_round_trip(
        members in prop::collection::btree_map("[a-zA-Z0-9_.-]{1,8}", "[ -~äß€]{0,20}", 0..20)
    ) {
        let before: Baggage = members.iter().map(|(name, value)| KeyValueMetadata::new(name.clone(), value.clone(), "")).collect();
        let value = baggage::encode(&before, &|_| true).value;
        prop_assert!(value.iter().all(|b| (0x21..=0x7e).contains(b)));
        let (after, _) = baggage::parse(&value);
        let after: BTreeMap<String, String> =
            after.iter().map(|(name, (value, _))| (name.to_string(), value.as_str().to_owned())).collect();
        // Surrounding white space is written encoded, so even that survives.
        prop_assert_eq!(after, members);
    }

    #[test]
    fn tracestate_is_kept_byte_for_byte_up_to_32_members(
        members in prop::collection::vec("[a-z]{1,5}=[!-+.-<>-~]{0,5}", 0..40)
    ) {
        let raw = members.join(",");
        let kept = tracestate::accept(raw.as_bytes()).map(|kept| String::from_utf8(kept.to_vec()).unwrap());
        let expected = members.iter().take(32).cloned().collect::<Vec<_>>().join(",");
        prop_assert_eq!(kept, (!members.is_empty()).then_some(expected));
    }

    /// Two spellings, any number of values: the last valid value of the exact name, else of any case.
    #[test]
    fn the_winner_agrees_with_a_naive_reader(
        values in prop::collection::vec((any::<bool>(), prop::option::of(1u8..5)), 0..6)
    ) {
        let headers: Vec<(&str, String)> = values.iter().map(|(exact, id)| {
            let value = id.map_or("garbage".to_owned(), |id| format!("00-{TRACE}-{}-01", hex(u128::from(id), 16)));
            (if *exact { "traceparent" } else { "Traceparent" }, value)
        }).collect();
        let last = |exact| values.iter().rev().find(|(e, id)| *e == exact && id.is_some()).and_then(|(_, id)| *id);
        let winner = last(true).or_else(|| last(false));
        let mut losers: Vec<u8> = values.iter().filter_map(|(_, id)| *id).filter(|id| Some(*id) != winner).collect();
        losers.sort_unstable();
        losers.dedup();
        let incoming = extract(&headers);
        let id = |span: &SpanContext| span.span_id().to_bytes()[7];
        prop_assert_eq!(incoming.found().traceparent.then(|| id(&incoming.span_context())), winner);
        let mut linked: Vec<u8> = incoming.conflicts().iter().map(id).collect();
        linked.sort_unstable();
        prop_assert_eq!(linked, losers);
    }
}

#[test]
fn baggage_vectors() {
    for (raw, expected) in [
        ("a=eyJpZCI6MX0=", vec![("a", "eyJpZCI6MX0=", "")]),
        ("a=1,b=2", vec![("a", "1", ""), ("b", "2", "")]),
        (" a = 1 ; p = x ;q, b=2", vec![("a", "1", "p = x ;q"), ("b", "2", "")]),
        ("a=x%20y%2Cz%3D", vec![("a", "x y,z=", "")]),
        ("a=100%,b=%zz,c=%", vec![("a", "100%", ""), ("b", "%zz", ""), ("c", "%", "")]),
        ("a=%ff", vec![("a", "\u{fffd}", "")]),
        ("a=1,a=2", vec![("a", "2", "")]),
        ("novalue,=x,b=2,,", vec![("b", "2", "")]),
        ("ünï=1,b=ü", vec![("b", "ü", "")]),
        ("", vec![]),
    ] {
        let (baggage, _) = baggage::parse(raw.as_bytes());
        let mut parsed: Vec<_> = baggage
            .iter()
            .map(|(name, (value, properties))| (name.as_str(), value.as_str(), properties.as_str()))
            .collect();
        parsed.sort_unstable();
        assert_eq!(parsed, expected, "{raw:?}");
    }
}

#[test]
fn baggage_past_the_limits_is_cut_and_not_forwarded_as_it_came() {
    let many: String = (0..70).map(|i| format!("k{i}=v,")).collect();
    let (baggage, fit) = baggage::parse(many.as_bytes());
    assert_eq!((baggage.len(), fit), (64, false));
    let long = format!("a={},b=1", "x".repeat(8_191));
    let (baggage, fit) = baggage::parse(long.as_bytes());
    assert_eq!((baggage.len(), fit), (0, false));
    let (baggage, fit) = baggage::parse(b"a=1,b=\xff\xfe");
    assert_eq!((baggage.len(), fit), (1, false));
    // A member that no allow-list has seen must not slip through beside one that it let pass.
    for (raw, fit) in
        [("a=1,b c=secret", false), ("a=1,secret", false), ("a=1,=secret", false), ("a=1, ,b=2,", true)]
    {
        assert_eq!(baggage::parse(raw.as_bytes()).1, fit, "{raw:?}");
    }
    let encoded = baggage::encode(
        &(0..3).map(|i| opentelemetry::KeyValue::new(format!("k{i}"), "ä".repeat(800))).collect::<Baggage>(),
        &|_| true,
    );
    assert_eq!(encoded.over_limit, 2, "percent-encoding triples: {}", encoded.value.len());
}

#[test]
fn equal_baggage_is_parsed_once_and_the_memory_of_it_is_bounded() {
    let first = baggage::remember(b"memo=1");
    assert!(first.is_still_in(&baggage::remember(b"memo=1").context));
    for n in 0..100 {
        baggage::remember(format!("memo={n}x").as_bytes());
    }
    let huge = format!("memo={}", "x".repeat(9_000));
    let (once, twice) = (baggage::remember(huge.as_bytes()), baggage::remember(huge.as_bytes()));
    assert!(!std::sync::Arc::ptr_eq(&once.raw, &twice.raw), "too large to keep");
    let again = baggage::remember(b"memo=1");
    assert!(!first.is_still_in(&again.context), "forgotten by now, and parsed anew");
    assert_eq!(again.context.baggage().get("memo").map(|v| v.as_str()), Some("1"));
}

#[test]
fn lists_may_be_split_over_headers_unless_the_message_has_several_parents() {
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let other = format!("00-{TRACE}-{}-01", "1".repeat(16));
    let split = [
        ("traceparent", &*parent),
        ("tracestate", "a=1"),
        ("baggage", "x=1"),
        ("tracestate", "b=2"),
        ("baggage", "y=2"),
    ];
    let incoming = extract(&split);
    assert_eq!(carried(incoming.context()).unwrap().tracestate.as_deref(), Some(&b"a=1,b=2"[..]));
    assert_eq!((incoming.baggage("x"), incoming.baggage("y")), (Some("1"), Some("2")));

    let appended = [
        ("traceparent", &*other),
        ("tracestate", "a=1"),
        ("baggage", "x=1"),
        ("traceparent", &*parent),
        ("tracestate", "b=2"),
        ("baggage", "y=2"),
    ];
    let incoming = extract(&appended);
    assert_eq!(carried(incoming.context()).unwrap().tracestate.as_deref(), Some(&b"b=2"[..]));
    assert_eq!((incoming.baggage("x"), incoming.baggage("y")), (None, Some("2")));
}

#[test]
fn a_samplers_state_goes_before_what_came() {
    let ours = TraceState::from_key_value([("ot", "th:4")]).unwrap();
    assert_eq!(tracestate::merge(&ours, Some(b"vendor==x,ot=th:8")), b"ot=th:4,vendor==x");
    assert_eq!(tracestate::merge(&ours, None), b"ot=th:4");
    assert_eq!(tracestate::accept("a=ü".as_bytes()), None);
    assert_eq!(tracestate::accept(b"a=1\nb=2"), None);
}

#[test]
fn retained_baggage() {
    let cx = Context::new()
        .with_baggage([opentelemetry::KeyValue::new("a", "1"), opentelemetry::KeyValue::new("b", "2")]);
    let kept = retain_baggage(&cx, |name| name == "a");
    assert_eq!((kept.baggage().len(), kept.baggage().get("a").map(|v| v.as_str())), (1, Some("1")));
    assert!(std::ptr::eq(retain_baggage(&cx, |_| true).baggage(), cx.baggage()));
}

#[test]
fn standard_propagators() {
    let carrier: HashMap<String, String> = [
        ("traceparent", format!("00-{TRACE}-{SPAN}-03")),
        ("tracestate", "vendor==x".to_owned()),
        ("baggage", "a=eyJpZCI6MX0=".to_owned()),
        ("x-correlation-id", "order-42".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let round = |propagator: Propagator| {
        let cx = propagator.extract_with_context(&Context::new(), &carrier);
        let mut out = HashMap::<String, String>::new();
        propagator.inject_context(&cx, &mut out);
        out.into_iter().collect::<BTreeMap<_, _>>()
    };
    let all = round(Propagator::all());
    assert_eq!(all["traceparent"], format!("00-{TRACE}-{SPAN}-03"));
    assert_eq!(all["tracestate"], "vendor==x");
    assert_eq!(all["x-correlation-id"], "order-42");
    assert_eq!(extract(&all).baggage("a"), Some("eyJpZCI6MX0="));
    assert_eq!(
        round(Propagator::trace_context()).into_keys().collect::<Vec<_>>(),
        ["traceparent", "tracestate"]
    );
    assert_eq!(round(Propagator::baggage()).into_keys().collect::<Vec<_>>(), ["baggage"]);
    assert_eq!(Propagator::baggage().fields().collect::<Vec<_>>(), ["baggage"]);

    // Nothing found: the context stays as it is.
    let mine = Context::new().with_remote_span_context(SpanContext::new(
        TraceId::from(7),
        SpanId::from(7),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    ));
    let same = Propagator::all().extract_with_context(&mine, &HashMap::<String, String>::new());
    assert_eq!(same.span().span_context(), mine.span().span_context());
}

#[test]
fn an_incoming_is_send_and_describes_itself() {
    fn is<T: Send + Sync + Clone + 'static>(_: &T) {}
    let incoming = extract(&[("x-tenant-id", "acme")]);
    is(&incoming);
    assert!(format!("{incoming:?}").contains("x-tenant-id"), "{incoming:?}");
}
