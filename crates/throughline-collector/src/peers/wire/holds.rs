//! "What do you hold of this trace?" and the answer, in bytes: FORMAT.md, "Calls between peers".

use std::sync::Arc;

use throughline_otlp::wire::put_varint;
use throughline_otlp::{TraceId, UnixNanos};
use throughline_sampling::decision::{Decided, Held, Reason, Verdict};
use throughline_sampling::facts::{Met, Root, TraceFacts};

use super::{CallError, NAME_BYTES, VERSION, count, end, name, version};
use crate::sampler::record::{DecidedError, Reader, put_hops, put_reason, put_text, verdict_code};

/// What stands in an answer about a trace, a bit each.
const DECIDED: u8 = 1;
const FACTS: u8 = 2;
const PROMISED: u8 = 4;
const OTHERS: u8 = 8;
const FOLLOWED: u8 = 16;

/// Most nodes named in the answer about a trace.
pub(crate) const OTHERS_MOST: usize = 8;

/// `POST /tl/v1/peer/holds`: what do you hold of these?
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holds {
    pub(crate) pipeline: String,
    /// The caller's name on the ring; empty if it has none. It holds a part of each trace.
    pub(crate) from: String,
    pub(crate) traces: Vec<TraceId>,
}

/// The answer to [`Holds`]: what is held of each, in the order asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    /// The plan that facts are of: to another plan they mean something else.
    pub(crate) plan: u64,
    pub(crate) holdings: Vec<Holding>,
}

/// What is held of a trace, and which other nodes may hold a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holding {
    pub(crate) held: Held,
    pub(crate) others: Vec<Arc<str>>,
}

impl Holds {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_text(&mut out, &self.pipeline);
        put_text(&mut out, &self.from);
        put_varint(&mut out, self.traces.len() as u64);
        self.traces.iter().for_each(|trace| out.extend_from_slice(&trace.bytes()));
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CallError> {
        let mut rest = Reader(bytes);
        version(&mut rest)?;
        let (pipeline, from) = (name(&mut rest)?, name(&mut rest)?);
        let count = count(&mut rest)?;
        let traces = (0..count).map(|_| rest.trace()).collect::<Result<_, _>>()?;
        end(&rest)?;
        Ok(Self { pipeline, from, traces })
    }
}

impl Answered {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.plan.to_le_bytes());
        put_varint(&mut out, self.holdings.len() as u64);
        self.holdings.iter().for_each(|holding| put_holding(&mut out, holding));
        out
    }

    /// Reads the answer about these traces.
    pub(crate) fn decode(bytes: &[u8], traces: &[TraceId]) -> Result<Self, CallError> {
        let mut rest = Reader(bytes);
        version(&mut rest)?;
        let mut plan = [0; 8];
        plan.copy_from_slice(rest.bytes(8)?);
        if count(&mut rest)? != traces.len() {
            return Err(CallError::Length);
        }
        let holdings = traces.iter().map(|trace| holding(&mut rest, *trace)).collect::<Result<_, _>>()?;
        end(&rest)?;
        Ok(Self { plan: u64::from_le_bytes(plan), holdings })
    }
}

fn put_holding(out: &mut Vec<u8>, Holding { held, others }: &Holding) {
    let flag = |is: bool, flag: u8| if is { flag } else { 0 };
    let Held { decided, promised, followed, facts } = held;
    out.push(
        flag(decided.is_some(), DECIDED)
            | flag(facts.is_some(), FACTS)
            | flag(promised.is_some(), PROMISED)
            | flag(!others.is_empty(), OTHERS)
            | flag(*followed, FOLLOWED),
    );
    if let Some((verdict, reason, hops)) = decided {
        put_decided(out, *verdict, reason, *hops);
    }
    if let Some(facts) = facts {
        put_facts(out, facts);
    }
    if let Some((origin, hops)) = promised {
        out.extend_from_slice(&origin.bytes());
        out.push(*hops);
    }
    if !others.is_empty() {
        put_varint(out, others.len().min(OTHERS_MOST) as u64);
        others.iter().take(OTHERS_MOST).for_each(|other| put_text(out, other));
    }
}

fn holding(rest: &mut Reader<'_>, of: TraceId) -> Result<Holding, CallError> {
    let flags = rest.byte()?;
    if flags & !(DECIDED | FACTS | PROMISED | OTHERS | FOLLOWED) != 0 {
        return Err(CallError::Unknown { what: "flag", code: flags });
    }
    let has = |flag: u8| flags & flag != 0;
    let decided = if has(DECIDED) { Some(decided(rest)?) } else { None };
    let facts = if has(FACTS) { Some(facts(rest, of)?) } else { None };
    let promised = if has(PROMISED) { Some((rest.trace()?, rest.byte()?)) } else { None };
    let others = if has(OTHERS) { others(rest)? } else { Vec::new() };
    Ok(Holding { held: Held { decided, promised, followed: has(FOLLOWED), facts }, others })
}

fn others(rest: &mut Reader<'_>) -> Result<Vec<Arc<str>>, CallError> {
    let count = usize::try_from(rest.varint()?).unwrap_or(usize::MAX);
    if count > OTHERS_MOST {
        return Err(CallError::TooMany);
    }
    (0..count).map(|_| Ok(name(rest)?.into())).collect()
}

/// A reason's policy may have any name: of one that is too long the beginning counts.
pub(super) fn put_decided(out: &mut Vec<u8>, verdict: Verdict, reason: &Reason, hops: Option<u8>) {
    out.push(verdict_code(verdict));
    put_hops(out, hops);
    put_reason(out, reason, |out, name| {
        put_text(out, name.get(..name.floor_char_boundary(NAME_BYTES)).unwrap_or_default());
    });
}

pub(super) fn decided(rest: &mut Reader<'_>) -> Result<Decided, CallError> {
    let (verdict, hops) = (rest.verdict()?, rest.hops()?);
    let reason = rest.reason(|rest| match rest.text()? {
        long if long.len() > NAME_BYTES => Err(DecidedError::Short),
        name => Ok(name.into()),
    })?;
    Ok((verdict, reason, hops))
}

fn put_facts(out: &mut Vec<u8>, facts: &TraceFacts) {
    out.extend_from_slice(&facts.met.bits().to_le_bytes());
    for number in [facts.start.0, facts.end.0, u64::from(facts.spans), facts.bytes] {
        put_varint(out, number);
    }
    out.push(u8::from(facts.root == Root::Seen));
}

fn facts(rest: &mut Reader<'_>, of: TraceId) -> Result<TraceFacts, CallError> {
    let mut met = [0; 16];
    met.copy_from_slice(rest.bytes(16)?);
    Ok(TraceFacts {
        trace: of,
        met: Met::from_bits(u128::from_le_bytes(met)),
        start: UnixNanos(rest.varint()?),
        end: UnixNanos(rest.varint()?),
        spans: u32::try_from(rest.varint()?).unwrap_or(u32::MAX),
        bytes: rest.varint()?,
        root: match rest.byte()? {
            0 => Root::Unseen,
            1 => Root::Seen,
            code => return Err(CallError::Unknown { what: "root", code }),
        },
        links: Vec::new(),
        links_left_out: 0,
    })
}
