//! What findings are told together, and how they read then.

use crate::text::{TextOptions, render};
use crate::{Direction, Trace, cases, json};

fn told(trace: &Trace) -> Vec<String> {
    trace.findings.iter().map(|finding| format!("{} {finding}", finding.count)).collect()
}

/// `count` spans below the request, each of its own id.
fn many(count: usize, of: impl Fn(usize) -> String) -> String {
    let lines = (0..count).map(|at| format!("1 {:x} {}", at + 16, of(at)));
    ["1 01 - api server 1000-2000 GET /".to_owned()].into_iter().chain(lines).collect::<Vec<_>>().join("\n")
}

#[test]
fn three_hundred_messages_that_nobody_traces_are_one_finding() {
    let text = many(300, |at| {
        format!("01 api producer {}-1900 send audit ; messaging.destination.name=audit", 1000 + at)
    });
    let trace = cases::trace(&text, &[]);
    let sentence = "no processing of 300 messages is known at api -> audit -> ?";
    assert_eq!(told(&trace), [format!("300 {sentence}")]);
    let json = json::render(&trace);
    let finding = &json["findings"][0];
    assert_eq!(json["findings"].as_array().unwrap().len(), 1);
    assert_eq!((finding["count"].as_u64(), finding["message"].as_str()), (Some(300), Some(sentence)));
    assert_eq!(finding["spanID"], "0000000000000010", "the first of them");
}

#[test]
fn each_kind_is_told_once_a_hop_with_its_worst() {
    let lost =
        "messaging.destination.name=orders messaging.system=kafka messaging.destination.partition.id=0";
    let cases = [
        (
            many(3, |at| {
                format!(
                    "0{} w consumer {}-1900 process ; messaging.destination.name=orders",
                    at + 2,
                    1100 - at
                )
            }),
            "3 3 parent spans were not received at ? -> orders -> w: 0000000000000004, for one".to_owned(),
        ),
        (
            many(3, |at| format!("01 w server {}-1900 GET /", 990 - at)),
            "3 clock skew 3 times at api -> w: it happened up to 12.0 ms before its cause".to_owned(),
        ),
        (
            many(2, |at| format!("01 api internal {}-900000 again", 800_000 + at)),
            "2 contexts were used again after their spans had ended, 2 times: up to 13 min 18 s after"
                .to_owned(),
        ),
        (
            many(2, |at| format!("{:x} api internal 1000-1001 own", at + 16)),
            "2 2 spans are their own ancestors; the loops are cut at them".to_owned(),
        ),
        (
            many(2, |_| "01 w server 1001-1002 GET / ; throughline.headers.conflict=true".to_owned()),
            "2 2 messages carried two different traceparent headers each at api -> w".to_owned(),
        ),
        (
            many(2, |at| {
                format!(
                    "- w consumer 110{at}-1900 process ; {lost} messaging.kafka.offset={at} throughline.headers.found="
                )
            }),
            "2 the trace is lost 2 times at ? -> orders -> w: the message arrived without a traceparent"
                .to_owned(),
        ),
    ];
    for (text, expected) in cases {
        let trace = cases::trace(&text, &[("2", Direction::SameMessage)]);
        assert_eq!(told(&trace), [expected]);
    }
}

#[test]
fn different_hops_stay_apart_and_only_the_first_are_told_in_text() {
    let text =
        many(24, |at| format!("01 api producer 1001-1002 send ; messaging.destination.name=t{:02}", at / 2));
    let trace = cases::trace(&text, &[]);
    assert_eq!(trace.findings.len(), 12);
    assert!(trace.findings.iter().all(|finding| finding.count == 2));
    let text = render(&trace, &TextOptions::default());
    let (_, findings) = text.split_once("started").unwrap();
    let lines: Vec<_> = findings.lines().skip(1).collect();
    assert_eq!(lines.len(), 9);
    assert_eq!(lines[7], "· no processing of 2 messages is known at api -> t07 -> ?");
    assert_eq!(lines[8], "… and 4 more findings; the JSON form has all");
}
