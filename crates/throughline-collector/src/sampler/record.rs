//! Decisions as a record of the journal: the bytes of FORMAT.md, "Decisions". Owns both directions.
//!
//! It refuses a record of a later version and one that ends early; it never guesses.

use std::sync::Arc;

use throughline_otlp::TraceId;
use throughline_otlp::wire::put_varint;
use throughline_sampling::decision::{Decision, Reason, Trigger, Verdict};

/// First byte of the payload.
const VERSION: u8 = 1;

/// Stands for "links do not spread from here".
const NO_HOPS: u8 = u8::MAX;

/// What one poll of one shard decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decided {
    /// Name of the pipeline, as configured.
    pub(crate) pipeline: String,
    pub(crate) decisions: Vec<Decision>,
}

/// Why a record's payload is not a list of decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecidedError {
    #[error("decisions record of version {0}; this build reads version {VERSION}")]
    Version(u8),
    #[error("decisions record ends early")]
    Short,
    #[error("decisions record has the unknown {what} {code}")]
    Unknown { what: &'static str, code: u8 },
}

impl Decided {
    /// As it stands in the journal.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_text(&mut out, &self.pipeline);
        let names = self.policy_names();
        put_varint(&mut out, names.len() as u64);
        names.iter().for_each(|name| put_text(&mut out, name));
        put_varint(&mut out, self.decisions.len() as u64);
        for decision in &self.decisions {
            put_decision(&mut out, decision, &names);
        }
        out
    }

    /// Reads what [`Decided::encode`] wrote.
    pub(crate) fn decode(payload: &[u8]) -> Result<Self, DecidedError> {
        let mut rest = Reader(payload);
        match rest.byte()? {
            VERSION => {}
            other => return Err(DecidedError::Version(other)),
        }
        let pipeline = rest.text()?.to_owned();
        let names: Vec<Arc<str>> = rest.list(|rest| Ok(Arc::from(rest.text()?)))?;
        let decisions = rest.list(|rest| rest.decision(&names))?;
        Ok(Self { pipeline, decisions })
    }

    /// The lowest record that a kept trace's spans stand in.
    pub(crate) fn needs_from(&self) -> Option<u64> {
        self.decisions.iter().filter_map(|decision| decision.records.first().copied()).min()
    }

    /// Spans that go out because of these decisions. After a restart a decision's own number is an estimate: a record holds
    /// at least one, so what has records never counts as nothing to send.
    pub(crate) fn spans(&self) -> u64 {
        let of = |decision: &Decision| u64::from(decision.spans).max(decision.records.len() as u64);
        self.decisions.iter().map(of).sum()
    }

    fn policy_names(&self) -> Vec<Arc<str>> {
        let mut names: Vec<Arc<str>> = Vec::new();
        for decision in &self.decisions {
            if let Reason::Policy(name) = &decision.reason
                && !names.contains(name)
            {
                names.push(Arc::clone(name));
            }
        }
        names
    }
}

fn put_decision(out: &mut Vec<u8>, decision: &Decision, names: &[Arc<str>]) {
    out.extend_from_slice(&decision.trace.bytes());
    out.push(verdict_code(decision.verdict));
    out.push(trigger_code(decision.trigger));
    put_hops(out, decision.hops);
    put_reason(out, &decision.reason, |out, name| {
        let at = names.iter().position(|known| known == name).unwrap_or_default();
        put_varint(out, at as u64);
    });
    put_varint(out, decision.through);
    put_varint(out, u64::from(decision.left_out));
    put_varint(out, u64::from(decision.spans));
    put_varint(out, decision.records.len() as u64);
    let mut before = 0;
    for &record in &decision.records {
        put_varint(out, record.wrapping_sub(before));
        before = record;
    }
}

pub(crate) fn verdict_code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::NotSampled => 1,
        Verdict::Sampled => 2,
        Verdict::Dropped => 3,
    }
}

pub(crate) fn put_hops(out: &mut Vec<u8>, hops: Option<u8>) {
    out.push(hops.unwrap_or(NO_HOPS));
}

/// `put_policy` writes which policy it was.
pub(crate) fn put_reason(
    out: &mut Vec<u8>,
    reason: &Reason,
    put_policy: impl FnOnce(&mut Vec<u8>, &Arc<str>),
) {
    match reason {
        Reason::Policy(name) => {
            out.push(1);
            put_policy(out, name);
        }
        Reason::NoPolicy => out.push(2),
        Reason::LinkedFrom(trace) => {
            out.push(3);
            out.extend_from_slice(&trace.bytes());
        }
        Reason::TooLarge => out.push(4),
        Reason::Shutdown => out.push(5),
    }
}

/// As in metrics, attributes and on the page.
pub(crate) fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::NotSampled => "not_sampled",
        Verdict::Sampled => "sampled",
        Verdict::Dropped => "dropped",
    }
}

/// As in metrics: few values, so a linked trace is not named.
pub(crate) fn reason_name(reason: &Reason) -> String {
    match reason {
        Reason::Policy(name) => name.to_string(),
        Reason::NoPolicy => "no policy".to_owned(),
        Reason::LinkedFrom(_) => "linked".to_owned(),
        Reason::TooLarge => "too large".to_owned(),
        Reason::Shutdown => "shutdown".to_owned(),
    }
}

/// As in an attribute and on the page: a linked trace is named.
pub(crate) fn reason_text(reason: &Reason) -> String {
    match reason {
        Reason::LinkedFrom(trace) => format!("linked from {trace}"),
        other => reason_name(other),
    }
}

fn trigger_code(trigger: Trigger) -> u8 {
    match trigger {
        Trigger::Wait => 1,
        Trigger::Root => 2,
        Trigger::Ingest => 3,
        Trigger::Size => 4,
        Trigger::Evicted => 5,
        Trigger::Late => 6,
        Trigger::Link => 7,
        Trigger::Shutdown => 8,
        Trigger::Promise => 9,
        Trigger::Peer => 10,
    }
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// What is left of a payload.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn byte(&mut self) -> Result<u8, DecidedError> {
        let (first, rest) = self.0.split_first().ok_or(DecidedError::Short)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecidedError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(DecidedError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, DecidedError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecidedError::Short)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, DecidedError> {
        let count = usize::try_from(self.varint()?).map_err(|_| DecidedError::Short)?;
        std::str::from_utf8(self.bytes(count)?).map_err(|_| DecidedError::Unknown { what: "text", code: 0 })
    }

    /// A count, then as many elements. Each takes at least a byte, which bounds what is reserved.
    pub(crate) fn list<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, DecidedError>,
    ) -> Result<Vec<T>, DecidedError> {
        let count = usize::try_from(self.varint()?).map_err(|_| DecidedError::Short)?;
        if count > self.0.len() {
            return Err(DecidedError::Short);
        }
        (0..count).map(|_| element(self)).collect()
    }

    pub(crate) fn trace(&mut self) -> Result<TraceId, DecidedError> {
        TraceId::from_slice(self.bytes(16)?).ok_or(DecidedError::Unknown { what: "trace id", code: 0 })
    }

    fn decision(&mut self, names: &[Arc<str>]) -> Result<Decision, DecidedError> {
        let trace = self.trace()?;
        let verdict = self.verdict()?;
        let trigger = self.trigger()?;
        let hops = self.hops()?;
        let reason = self.reason(|rest| {
            let at = usize::try_from(rest.varint()?).unwrap_or(usize::MAX);
            let unknown = DecidedError::Unknown { what: "policy", code: 0 };
            names.get(at).map(Arc::clone).ok_or(unknown)
        })?;
        let through = self.varint()?;
        let left_out = u32::try_from(self.varint()?).unwrap_or(u32::MAX);
        let spans = u32::try_from(self.varint()?).unwrap_or(u32::MAX);
        let mut before = 0_u64;
        let records = self.list(|rest| {
            before = before.wrapping_add(rest.varint()?);
            Ok(before)
        })?;
        Ok(Decision { trace, verdict, reason, trigger, hops, records, spans, through, left_out })
    }

    pub(crate) fn verdict(&mut self) -> Result<Verdict, DecidedError> {
        match self.byte()? {
            1 => Ok(Verdict::NotSampled),
            2 => Ok(Verdict::Sampled),
            3 => Ok(Verdict::Dropped),
            code => Err(DecidedError::Unknown { what: "verdict", code }),
        }
    }

    pub(crate) fn hops(&mut self) -> Result<Option<u8>, DecidedError> {
        Ok(Some(self.byte()?).filter(|hops| *hops != NO_HOPS))
    }

    fn trigger(&mut self) -> Result<Trigger, DecidedError> {
        Ok(match self.byte()? {
            1 => Trigger::Wait,
            2 => Trigger::Root,
            3 => Trigger::Ingest,
            4 => Trigger::Size,
            5 => Trigger::Evicted,
            6 => Trigger::Late,
            7 => Trigger::Link,
            8 => Trigger::Shutdown,
            9 => Trigger::Promise,
            10 => Trigger::Peer,
            code => return Err(DecidedError::Unknown { what: "trigger", code }),
        })
    }

    /// `policy` reads which policy it was.
    pub(crate) fn reason(
        &mut self,
        policy: impl FnOnce(&mut Self) -> Result<Arc<str>, DecidedError>,
    ) -> Result<Reason, DecidedError> {
        Ok(match self.byte()? {
            1 => Reason::Policy(policy(self)?),
            2 => Reason::NoPolicy,
            3 => Reason::LinkedFrom(self.trace()?),
            4 => Reason::TooLarge,
            5 => Reason::Shutdown,
            code => return Err(DecidedError::Unknown { what: "reason", code }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(n: u8) -> TraceId {
        TraceId::new([n; 16]).expect("not zero")
    }

    fn sample() -> Decided {
        let decision = |n, verdict, reason, trigger, hops, records: &[u64], spans| Decision {
            trace: trace(n),
            verdict,
            reason,
            trigger,
            hops,
            records: records.to_vec(),
            spans,
            through: u64::from(n) << 33,
            left_out: u32::from(n),
        };
        let policy = |name: &str| Reason::Policy(Arc::from(name));
        Decided {
            pipeline: "traces/checkout".to_owned(),
            decisions: vec![
                decision(1, Verdict::Sampled, policy("errors"), Trigger::Wait, Some(0), &[7, 8, 1 << 40], 9),
                decision(2, Verdict::NotSampled, Reason::NoPolicy, Trigger::Root, None, &[], 0),
                decision(3, Verdict::Dropped, policy("health"), Trigger::Size, None, &[], 0),
                decision(4, Verdict::Sampled, Reason::LinkedFrom(trace(1)), Trigger::Link, Some(1), &[3], 2),
                decision(5, Verdict::Sampled, policy("errors"), Trigger::Late, Some(0), &[u64::MAX], 1),
                decision(6, Verdict::NotSampled, Reason::TooLarge, Trigger::Ingest, None, &[], 0),
                decision(7, Verdict::NotSampled, Reason::Shutdown, Trigger::Shutdown, None, &[], 0),
                decision(8, Verdict::Sampled, policy("slow"), Trigger::Evicted, Some(0), &[5], 1),
            ],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let decided = sample();
        assert_eq!(Decided::decode(&decided.encode()), Ok(decided.clone()));
        assert_eq!((decided.needs_from(), decided.spans()), (Some(3), 13));
        let mut estimated = decided.clone();
        estimated.decisions.iter_mut().for_each(|decision| decision.spans = 0);
        assert_eq!(estimated.spans(), 6, "one for each record");
        let none = Decided { pipeline: String::new(), decisions: Vec::new() };
        assert_eq!(Decided::decode(&none.encode()), Ok(none.clone()));
        assert_eq!((none.needs_from(), none.spans()), (None, 0));
    }

    #[test]
    fn what_is_cut_or_changed_is_refused_and_never_panics() {
        let bytes = sample().encode();
        for end in 0..bytes.len() {
            assert!(Decided::decode(bytes.get(..end).expect("within")).is_err(), "cut at {end}");
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = bytes.clone();
                if let Some(byte) = changed.get_mut(at) {
                    *byte = value;
                }
                let _ = Decided::decode(&changed);
            }
        }
        assert_eq!(Decided::decode(&[9]), Err(DecidedError::Version(9)));
    }
}
