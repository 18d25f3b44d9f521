//! What the picture is, for any spans: properties against the rules said plainly, and the hard cases.

use proptest::prelude::*;
use throughline_otlp::{Span, SpanId};

use crate::cases::{self, input, spans};
use crate::text::{Colour, Form, TextOptions, render};
use crate::{Direction, NodeKind, Trace, assemble, json};

/// Any spans: few ids, so that parents are found, missing, own and in loops; few times, so that ties happen; two traces
/// with links and messages between them.
fn any_spans() -> impl Strategy<Value = Vec<Span>> {
    let kinds = ["internal", "server", "client", "producer", "consumer"];
    let one = (1..3_u8, 1..20_u8, 0..24_u8, 0..3_u8, 0..5_usize, 0..40_u64, 0..60_u64, 0..6_u8);
    let line = one.prop_map(move |(trace, id, parent, service, kind, start, end, extra)| {
        let parent = if parent == 0 { "-".to_owned() } else { format!("{parent:x}") };
        let message = format!(
            " ; messaging.system=kafka messaging.destination.name=t messaging.kafka.offset={extra} \
             messaging.destination.partition.id=p0"
        );
        let extra = match extra {
            0 => " ; !=broken".to_owned(),
            1 => format!("{message} ; >2/{id:x} throughline.record.timestamp={end}"),
            2 => format!("{message} ; >1/{id:x} throughline.link.reason=contributor"),
            3 => format!("{message} throughline.headers.found=none"),
            4 => format!("{message} linked_trace_id_count=3 correlation_id=c{id}"),
            _ => String::new(),
        };
        format!("{trace} {id:x} {parent} s{service} {} {start}-{end} op{id}{extra}", kinds[kind])
    });
    prop::collection::vec(line, 0..40).prop_map(|lines| spans(&lines.join("\n")))
}

const BOTH: [(&str, Direction); 3] =
    [("2", Direction::Contributor), ("2", Direction::Dependant), ("2", Direction::SameMessage)];

fn picture(spans: Vec<Span>) -> (String, String) {
    let trace = assemble(input(spans, &BOTH));
    let text = [Form::Nested, Form::Hops]
        .map(|form| render(&trace, &TextOptions { width: None, colour: Colour::Always, form }));
    (text.join("\n"), json::render(&trace).to_string())
}

/// The rules of the tree, said plainly.
fn check_tree(trace: &Trace, spans: &[Span]) {
    let mut ids: Vec<_> =
        spans.iter().filter(|s| s.trace_id == trace.id).map(|s| (s.span_id, s.start, s.kind as u8)).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut shown: Vec<_> = trace.spans().map(|s| (s.span_id, s.start, s.kind as u8)).collect();
    shown.sort_unstable();
    assert_eq!(shown, ids, "each span once, duplicates folded");
    let has = |id: SpanId| ids.iter().any(|(other, ..)| *other == id);
    let mut cuts = 0;
    for (index, node) in trace.nodes.iter().enumerate() {
        assert_eq!(node.id.0, index);
        match node.parent.and_then(|id| trace.node(id)) {
            Some(parent) => {
                assert!(parent.id < node.id && parent.depth + 1 == node.depth);
                assert!(parent.children.contains(&node.id));
                assert_eq!(node.span().unwrap().parent, Some(parent.span_id()));
            }
            None => assert!(trace.roots.contains(&node.id) && node.depth == 0),
        }
        match &node.what {
            NodeKind::Missing(missing) => assert!(!has(missing.span_id) && !node.children.is_empty()),
            NodeKind::Span(span) => {
                let cut = node.parent.is_none() && span.parent.is_some();
                assert!(node.parent.is_none() || span.parent.is_some(), "{span:?}");
                cuts += usize::from(cut);
            }
        }
    }
    let told = trace.findings.iter().filter(|finding| finding.name() == "parent-loop");
    assert_eq!(told.map(|finding| finding.count).sum::<usize>(), cuts, "each cut is told");
    let mut walked = Vec::new();
    let mut stack: Vec<_> = trace.roots.iter().rev().copied().collect();
    while let Some(id) = stack.pop() {
        walked.push(id.0);
        stack.extend(trace.node(id).unwrap().children.iter().rev());
    }
    assert_eq!(walked, (0..trace.nodes.len()).collect::<Vec<_>>(), "depth first");
}

proptest! {
    #[test]
    fn any_order_of_arrival_gives_the_same_picture(
        (spans, shuffled) in any_spans().prop_flat_map(|spans| (Just(spans.clone()), Just(spans).prop_shuffle())),
        again in any::<prop::sample::Index>(),
    ) {
        let mut shuffled = shuffled;
        if !shuffled.is_empty() {
            // A retry: one span comes twice.
            shuffled.push(again.get(&shuffled).clone());
        }
        prop_assert_eq!(picture(spans), picture(shuffled));
    }

    #[test]
    fn every_span_stands_once_below_its_parent(spans in any_spans()) {
        check_tree(&assemble(input(spans.clone(), &BOTH)), &spans);
    }

    #[test]
    fn no_line_is_wider_than_asked(spans in any_spans(), width in 20..140_usize) {
        let trace = assemble(input(spans, &BOTH));
        for form in [Form::Nested, Form::Hops] {
            let options = TextOptions { width: Some(width), colour: Colour::Never, form };
            for line in render(&trace, &options).lines() {
                prop_assert!(line.chars().count() <= width, "{line:?} is wider than {width}");
            }
        }
    }
}

/// A chain and a loop of this many spans; on a thread whose stack a recursion would overflow.
#[test]
fn ten_thousand_spans_deep_is_only_long() {
    let deep = 10_000;
    let line = |i: usize, parent: String| format!("1 {i:x} {parent} s internal {i}-20000 op");
    let chain = move |first: &str| {
        let parent = |i: usize| if i == 1 { first.to_owned() } else { format!("{:x}", i - 1) };
        (1..=deep).map(|i| line(i, parent(i))).collect::<Vec<_>>().join("\n")
    };
    let check = move || {
        for (first, roots) in [("-", 1), ("2710", 1), ("ffff", 1)] {
            let trace = cases::trace(&chain(first), &[]);
            assert_eq!((trace.span_count(), trace.roots.len()), (deep, roots));
            assert_eq!(trace.nodes.last().unwrap().depth + 1, trace.nodes.len());
            let text = render(&trace, &TextOptions::default());
            assert!(text.lines().all(|line| line.chars().count() < 200), "indentation stops growing");
            assert!(json::render(&trace).to_string().len() > deep);
        }
    };
    std::thread::Builder::new().stack_size(256 * 1024).spawn(check).unwrap().join().unwrap();
}

#[test]
fn nothing_at_all_is_a_picture_too() {
    let trace = cases::trace("", &[]);
    assert_eq!((trace.nodes.len(), trace.start, trace.end), (0, trace.now, trace.now));
    assert!(render(&trace, &TextOptions::default()).starts_with("Trace: 00000000000000000000000000000001"));
}
