//! One offset, many messages: what is told when it is used again, from the look-up to the finding.

use throughline_otlp::{Span, TraceId};

use super::*;
use crate::{HopKey, Input, assemble, cases};

/// `@` in a case: the message that all of them are about.
const AT: &str = "messaging.system=kafka messaging.destination.name=orders messaging.destination.partition.id=0 \
                  messaging.kafka.offset=5";

/// What is told of trace 1, with a store of these spans behind it: linked traces are neighbours, the rest is looked up.
fn told(text: &str) -> (Vec<String>, Vec<String>) {
    let spans = cases::spans(&text.replace('@', AT));
    let id = TraceId::from_hex("1").unwrap();
    let ours: Vec<Span> = spans.iter().filter(|span| span.trace_id == id).cloned().collect();
    let whole = |trace_id: TraceId, direction| Neighbour {
        trace_id,
        direction,
        spans: spans.iter().filter(|span| span.trace_id == trace_id).cloned().collect(),
    };
    let linked =
        ours.iter().flat_map(|span| &span.links).map(|link| whole(link.trace_id, Direction::Contributor));
    let mut neighbours: Vec<Neighbour> = linked.collect();
    let open = open_hops(id, &ours, &neighbours);
    let at = |span: &&Span| HopKey::all_of(span).iter().any(|key| open.contains(key));
    let found: Vec<Span> = spans.iter().filter(at).cloned().collect();
    let halves = other_halves(id, &ours, &neighbours, &found);
    neighbours.extend(halves.into_iter().map(|half| whole(half, Direction::SameMessage)));
    let now = cases::millis(600_000);
    let trace = assemble(Input { trace_id: id, spans: ours, logs: Vec::new(), neighbours, now });
    let linked = trace.linked.iter().filter(|linked| linked.direction == Direction::SameMessage);
    let short = |id: TraceId| id.to_string().trim_start_matches('0').to_owned();
    let findings = trace.findings.iter().map(|finding| match &finding.kind {
        crate::FindingKind::ContextLost { other, .. } => {
            format!("lost {}", other.map_or("?".to_owned(), short))
        }
        _ => finding.name().to_owned(),
    });
    (findings.collect(), linked.map(|linked| short(linked.trace_id)).collect())
}

#[track_caller]
fn check(text: &str, finding: &str) {
    let linked: Vec<&str> = finding.strip_prefix("lost ").filter(|other| *other != "?").into_iter().collect();
    let findings: Vec<&str> = Some(finding).filter(|finding| !finding.is_empty()).into_iter().collect();
    let (said, listed) = told(text);
    assert_eq!(
        (said, listed),
        (
            findings.iter().map(ToString::to_string).collect(),
            linked.iter().map(ToString::to_string).collect()
        ),
        "{text}"
    );
}

/// Two minutes pass between the runs of what sends and processes.
const SEND_1: &str = "1 01 - api producer 300000-300001 send ; @";
const SEND_2: &str = "2 01 - api producer 420000-420001 send ; @";

#[test]
fn a_processing_of_another_time_or_place_is_not_of_this_send() {
    let earlier = "producer 180000-180001 send ; @";
    for others in [
        // An earlier hop, complete: in its trace, over a link only, of a send that never learned its offset.
        format!("2 01 - api {earlier}\n2 02 01 w consumer 180002-180003 process ; @"),
        format!("2 01 - api {earlier}\n3 02 - w consumer 180002-180003 process ; @ ; >2/01"),
        "2 01 - api producer 300000-300001 send ; messaging.destination.name=orders
         2 02 01 w consumer 300002-300003 process ; @"
            .to_owned(),
        // A later one.
        format!("{SEND_2}\n2 02 01 w consumer 420002-420003 process ; @"),
        // The same, broken as well: its own send is the nearer one.
        format!("{SEND_2}\n3 02 - w consumer 420002-420003 process ; @"),
        // Whose send nobody has: it is older than ours, or continues or links something else.
        "2 02 - w consumer 289000-289001 process ; @".to_owned(),
        "2 02 09 w consumer 300002-300003 process ; @".to_owned(),
        "2 02 - w consumer 300002-300003 process ; @ ; >9/09".to_owned(),
        "2 02 - w consumer 300002-300003 process ; messaging.system=kafka messaging.destination.name=orders \
         ; >9/09 messaging.destination.partition.id=0 messaging.kafka.offset=5"
            .to_owned(),
    ] {
        check(&format!("{SEND_1}\n{others}"), "not-consumed");
    }
    for (sent, processed) in [
        ("server.address=prod", "server.address=staging"),
        (
            "server.address=prod messaging.kafka.cluster.id=a",
            "server.address=prod messaging.kafka.cluster.id=b",
        ),
    ] {
        let text = format!("{SEND_1} {sent}\n2 02 - w consumer 300002-300003 process ; @ {processed}");
        check(&text, "not-consumed");
    }
}

#[test]
fn a_hop_that_is_broken_is_found_among_others_of_its_offset() {
    let lost_1 = "3 02 - w consumer 300002-300003 process ; @";
    let complete = "2 01 - api producer 180000-180001 send ; @\n2 02 01 w consumer 180002-180003 process ; @";
    for others in [
        lost_1.to_owned(),
        format!("{complete}\n{lost_1}"),
        // Broken every time.
        format!("{lost_1}\n{SEND_2}\n4 02 - w consumer 420002-420003 process ; @"),
        // Its parent is a span of its own process, at hand or not sent yet.
        "3 07 - w internal 300002-300009 poll\n3 02 07 w consumer 300002-300003 process ; @".to_owned(),
        "3 02 07 w consumer 300002-300003 process ; @ flags=257".to_owned(),
        // The clocks of two machines disagree.
        "3 02 - w consumer 298000-298001 process ; @".to_owned(),
    ] {
        check(&format!("{SEND_1}\n{others}"), "lost 3");
    }
    // Two ways into one cluster.
    let cluster = "messaging.kafka.cluster.id=a server.address";
    check(&format!("{SEND_1} {cluster}=inside\n{lost_1} {cluster}=outside"), "lost 3");
}

#[test]
fn a_processing_without_context_names_the_send_it_is_of() {
    let lost = "1 02 - w consumer 420002-420003 process ; @ throughline.headers.found=";
    let earlier = "3 01 - api producer 300000-300001 send ; @";
    let later = "4 01 - api producer 540000-540001 send ; @";
    for (others, finding) in [
        (SEND_2.to_owned(), "lost 2"),
        (format!("{earlier}\n{SEND_2}\n{later}"), "lost 2"),
        // Nobody has its send: what it says itself is told, and no other send is taken for it.
        (later.to_owned(), "lost ?"),
        (format!("{SEND_2} server.address=staging"), "lost 2"),
    ] {
        check(&format!("{lost}\n{others}"), finding);
    }
    check(&format!("{lost} server.address=prod\n{SEND_2} server.address=staging"), "lost ?");
    // A batch that links its message, whose trace nobody has.
    let batch = "1 02 - w consumer 420002-420003 process ; messaging.system=kafka messaging.destination.name=orders \
                 ; >9/09 messaging.destination.partition.id=0 messaging.kafka.offset=5";
    check(&format!("{batch}\n{SEND_2}"), "");
}
