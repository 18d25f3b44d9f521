//! What stands in the topic of decisions, byte for byte (FORMAT.md, "The topic of decisions"), and what it means to whoever
//! takes a partition over. No I/O.

use std::collections::BTreeMap;

use throughline_otlp::TraceId;
use throughline_sampling::decision::{Decision, Reason, Verdict, Wish};

use crate::sampler::record::{Decided, DecidedError};

/// First byte of every value.
const VERSION: u8 = 1;

/// A record of the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A trace was decided.
    Decision(Delivery, Decision),
    /// A trace is wanted by another.
    Wish(Wish),
}

/// Whether a decision has to be acted on again by the next owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Spans go out that the committed offset had passed, and not all outlets have them.
    Open,
    /// They have, or the committed offset waits for them.
    Settled,
}

impl Entry {
    /// Key and value.
    pub(crate) fn encode(&self, pipeline: &str) -> (String, Vec<u8>) {
        match self {
            Self::Decision(delivery, decision) => {
                // Records are positions in a journal that nobody else has.
                let decision = Decision { records: Vec::new(), through: 0, ..decision.clone() };
                let key = decision.trace.to_string();
                let decided = Decided { pipeline: pipeline.to_owned(), decisions: vec![decision] };
                let mut value = vec![VERSION, if *delivery == Delivery::Open { 0 } else { 1 }];
                value.extend(decided.encode());
                (key, value)
            }
            Self::Wish(wish) => {
                let (kind, trace, other, hops) = match *wish {
                    Wish::Keep { trace, from, hops } => (1, trace, from, hops),
                    Wish::Pass { trace, to, hops } => (2, trace, to, hops),
                    Wish::Follow { trace, from } => (3, trace, from, 0),
                };
                let key = match kind {
                    1 => format!("{trace}/keep"),
                    2 => format!("{trace}/pass/{other}"),
                    _ => format!("{trace}/follow/{other}"),
                };
                let mut value = vec![VERSION, kind];
                value.extend(trace.bytes());
                value.extend(other.bytes());
                value.push(hops);
                (key, value)
            }
        }
    }

    /// Reads a record; `None` if it was taken back.
    pub(crate) fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<Self>, DecidedError> {
        let Some(value) = value else { return Ok(None) };
        let (head, rest) = value.split_first_chunk::<2>().ok_or(DecidedError::Short)?;
        let [version, code] = *head;
        if version != VERSION {
            return Err(DecidedError::Version(version));
        }
        if key.contains(&b'/') {
            return Self::decode_wish(code, rest).map(|wish| Some(Self::Wish(wish)));
        }
        let delivery = if code == 0 { Delivery::Open } else { Delivery::Settled };
        let decision = Decided::decode(rest)?.decisions.pop().ok_or(DecidedError::Short)?;
        Ok(Some(Self::Decision(delivery, decision)))
    }

    fn decode_wish(kind: u8, rest: &[u8]) -> Result<Wish, DecidedError> {
        let (trace, rest) = rest.split_first_chunk::<16>().ok_or(DecidedError::Short)?;
        let (other, rest) = rest.split_first_chunk::<16>().ok_or(DecidedError::Short)?;
        let hops = *rest.first().ok_or(DecidedError::Short)?;
        let id = |id: &[u8; 16]| TraceId::new(*id).ok_or(DecidedError::Unknown { what: "trace id", code: 0 });
        let (trace, other) = (id(trace)?, id(other)?);
        match kind {
            1 => Ok(Wish::Keep { trace, from: other, hops }),
            2 => Ok(Wish::Pass { trace, to: other, hops }),
            3 => Ok(Wish::Follow { trace, from: other }),
            code => Err(DecidedError::Unknown { what: "wish", code }),
        }
    }
}

/// What a partition of the topic says, once it has been read to its end: of each key the last value.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    decisions: BTreeMap<TraceId, (Delivery, Decision)>,
    wishes: BTreeMap<String, Wish>,
}

impl Contents {
    pub(crate) fn add(&mut self, entry: Entry) {
        match entry {
            Entry::Decision(delivery, decision) => {
                self.decisions.insert(decision.trace, (delivery, decision));
            }
            Entry::Wish(wish) => {
                let (key, _) = Entry::Wish(wish).encode("");
                self.wishes.insert(key, wish);
            }
        }
    }

    /// What the next owner begins with. Of a decision whose delivery is open nobody knows what went out: the trace counts as
    /// not kept, and is kept again by the wish or the late span that had it kept.
    pub(crate) fn restored(self) -> (Vec<Decision>, Vec<Wish>) {
        let mut wishes: Vec<Wish> = self.wishes.into_values().collect();
        let mut decisions = Vec::with_capacity(self.decisions.len());
        for (delivery, mut decision) in self.decisions.into_values() {
            if delivery == Delivery::Open && decision.verdict == Verdict::Sampled {
                if let (Some(from), Some(hops)) = (decision.reason.origin(), decision.hops) {
                    wishes.push(Wish::Keep { trace: decision.trace, from, hops });
                }
                (decision.verdict, decision.reason, decision.hops) =
                    (Verdict::NotSampled, Reason::NoPolicy, None);
            }
            decisions.push(decision);
        }
        (decisions, wishes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use throughline_sampling::decision::Trigger;

    use super::*;

    fn trace(n: u8) -> TraceId {
        TraceId::new([n; 16]).expect("not zero")
    }

    fn decision(n: u8, reason: Reason, hops: Option<u8>) -> Decision {
        Decision {
            trace: trace(n),
            verdict: Verdict::Sampled,
            reason,
            trigger: Trigger::Link,
            hops,
            records: Vec::new(),
            spans: 3,
            through: 0,
            left_out: 0,
        }
    }

    #[test]
    fn what_is_written_is_read_and_what_is_cut_is_refused() {
        let policy = Reason::Policy(Arc::from("errors"));
        for (entry, key) in [
            (Entry::Decision(Delivery::Settled, decision(1, policy, Some(0))), trace(1).to_string()),
            (
                Entry::Decision(Delivery::Open, decision(2, Reason::LinkedFrom(trace(1)), Some(1))),
                trace(2).to_string(),
            ),
            (
                Entry::Wish(Wish::Keep { trace: trace(1), from: trace(2), hops: 1 }),
                format!("{}/keep", trace(1)),
            ),
            (
                Entry::Wish(Wish::Pass { trace: trace(1), to: trace(2), hops: 2 }),
                format!("{}/pass/{}", trace(1), trace(2)),
            ),
            (
                Entry::Wish(Wish::Follow { trace: trace(1), from: trace(2) }),
                format!("{}/follow/{}", trace(1), trace(2)),
            ),
        ] {
            let (written, value) = entry.encode("traces");
            assert_eq!(written, key);
            assert_eq!(Entry::decode(key.as_bytes(), Some(&value)), Ok(Some(entry)));
            for end in 0..value.len() {
                assert!(Entry::decode(key.as_bytes(), value.get(..end)).is_err(), "cut at {end}");
            }
        }
        assert_eq!(Entry::decode(b"key", None), Ok(None));
        assert_eq!(Entry::decode(b"key", Some(&[9, 1])), Err(DecidedError::Version(9)));
    }

    #[test]
    fn what_was_not_delivered_is_asked_for_again() {
        let mut contents = Contents::default();
        let linked = decision(2, Reason::LinkedFrom(trace(1)), Some(1));
        contents.add(Entry::Decision(Delivery::Open, linked.clone()));
        contents.add(Entry::Decision(Delivery::Open, decision(3, Reason::LinkedFrom(trace(1)), Some(1))));
        contents.add(Entry::Decision(Delivery::Settled, decision(3, Reason::LinkedFrom(trace(1)), Some(1))));
        let (decisions, wishes) = contents.restored();
        let said: Vec<_> = decisions.iter().map(|it| (it.trace, it.verdict)).collect();
        assert_eq!(said, [(trace(2), Verdict::NotSampled), (trace(3), Verdict::Sampled)]);
        assert_eq!(wishes, [Wish::Keep { trace: trace(2), from: trace(1), hops: 1 }]);
    }
}
