//! What peers say to each other, in bytes: FORMAT.md, "Calls between peers". Both directions, and hostile input is an error.
//! The same bytes stand in the journal of the peer that was called, so that a restart knows what it has promised.

mod holds;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use throughline_otlp::TraceId;
use throughline_otlp::wire::put_varint;
use throughline_sampling::decision::{Reason, Verdict, Wish};

pub(crate) use self::holds::{Answered, Holding, Holds, OTHERS_MOST};
use self::holds::{decided, put_decided};

use crate::sampler::record::{DecidedError, Reader, put_text};

/// First byte of every call, answer and record.
const VERSION: u8 = 1;

/// Most wishes, or questions, in one call. More is refused whole.
pub(crate) const MOST: usize = 4096;

/// Longest call, in bytes. A longer one is refused whole.
pub(crate) const CALL_BYTES: usize = 512 * 1024;

/// Longest name of a pipeline or a node.
const NAME_BYTES: usize = 1024;

const KEEP: u8 = 1;
const PASS: u8 = 2;
const FOLLOW: u8 = 3;
const KEPT: u8 = 4;

/// Of what is kept.
const PROMISED: u8 = 1;
const RELAYED: u8 = 2;

/// `POST /tl/v1/peer/keep`: what shards of the caller wish of traces that the called one owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keep {
    /// Both have a pipeline of this name, which samples.
    pub(crate) pipeline: String,
    pub(crate) wishes: Vec<Wished>,
}

/// A wish under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wished {
    pub(crate) wish: Wanted,
    /// How long ago it was wished: look-back counts from then. Relative, so that clocks need not agree.
    pub(crate) age: Duration,
}

/// What is wanted of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Because of a link.
    Link(Wish),
    /// Another node keeps a part of the trace.
    Kept(Kept),
}

/// A part of a trace is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) trace: TraceId,
    pub(crate) reason: Reason,
    /// How many links away it is kept.
    pub(crate) hops: Option<u8>,
    /// Who keeps it, by its name on the ring; empty if it has none.
    pub(crate) by: Arc<str>,
    pub(crate) what: What,
    pub(crate) hand: Hand,
}

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Spans,
    /// Those that come, because of a link: there were none yet.
    Promise,
}

/// Who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hand {
    /// Who keeps it: whoever is told tells those who have asked.
    First,
    /// Somebody who was told: it goes no further.
    Second,
}

impl Kept {
    /// A promise as the wish that it is.
    pub(crate) fn wish(&self) -> Option<Wish> {
        let (from, hops) = (self.reason.origin()?, self.hops?);
        (self.what == What::Promise).then_some(Wish::Keep { trace: self.trace, from, hops })
    }
}

impl Wanted {
    pub(crate) fn trace(&self) -> TraceId {
        match self {
            Self::Link(wish) => wish.trace(),
            Self::Kept(kept) => kept.trace,
        }
    }

    /// What it takes in a call, at most.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Link(_) => 64,
            Self::Kept(Kept { reason, by, .. }) => {
                let policy = if let Reason::Policy(name) = reason { name.len().min(NAME_BYTES) } else { 0 };
                64 + policy + by.len()
            }
        }
    }

    /// Nodes of before know only wishes because of a link: these go in calls of their own.
    pub(crate) fn is_link(&self) -> bool {
        matches!(self, Self::Link(_))
    }
}

/// Why bytes are no call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    #[error("version {0}; this build speaks version {VERSION}")]
    Version(u8),
    #[error("ends early, or is longer than it says")]
    Length,
    #[error("has the unknown {what} {code}")]
    Unknown { what: &'static str, code: u8 },
    #[error("has more than {MOST} entries")]
    TooMany,
}

impl From<DecidedError> for CallError {
    fn from(error: DecidedError) -> Self {
        match error {
            DecidedError::Version(version) => Self::Version(version),
            DecidedError::Short => Self::Length,
            DecidedError::Unknown { what, code } => Self::Unknown { what, code },
        }
    }
}

impl Keep {
    /// What all of a call but its wishes takes, at most.
    pub(crate) fn frame_bytes(pipeline: &str) -> usize {
        32 + pipeline.len()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_text(&mut out, &self.pipeline);
        put_varint(&mut out, self.wishes.len() as u64);
        for Wished { wish, age } in &self.wishes {
            match wish {
                Wanted::Link(wish) => put_wish(&mut out, *wish),
                Wanted::Kept(kept) => put_kept(&mut out, kept),
            }
            put_varint(&mut out, u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CallError> {
        let mut rest = Reader(bytes);
        version(&mut rest)?;
        let pipeline = name(&mut rest)?;
        let count = count(&mut rest)?;
        let wishes = (0..count).map(|_| wished(&mut rest)).collect::<Result<_, _>>()?;
        end(&rest)?;
        Ok(Self { pipeline, wishes })
    }
}

fn put_wish(out: &mut Vec<u8>, wish: Wish) {
    let (kind, first, second, hops) = match wish {
        Wish::Keep { trace, from, hops } => (KEEP, trace, from, Some(hops)),
        Wish::Pass { trace, to, hops } => (PASS, trace, to, Some(hops)),
        Wish::Follow { trace, from } => (FOLLOW, trace, from, None),
    };
    out.push(kind);
    out.extend_from_slice(&first.bytes());
    out.extend_from_slice(&second.bytes());
    out.extend(hops);
}

fn put_kept(out: &mut Vec<u8>, kept: &Kept) {
    let Kept { trace, reason, hops, by, what, hand } = kept;
    out.push(KEPT);
    out.extend_from_slice(&trace.bytes());
    let promised = if *what == What::Promise { PROMISED } else { 0 };
    let relayed = if *hand == Hand::Second { RELAYED } else { 0 };
    out.push(promised | relayed);
    put_decided(out, Verdict::Sampled, reason, *hops);
    put_text(out, by);
}

fn kept(rest: &mut Reader<'_>, trace: TraceId) -> Result<Kept, CallError> {
    let flags = rest.byte()?;
    if flags & !(PROMISED | RELAYED) != 0 {
        return Err(CallError::Unknown { what: "flag", code: flags });
    }
    let (Verdict::Sampled, reason, hops) = decided(rest)? else {
        return Err(CallError::Unknown { what: "verdict on what is kept", code: KEPT });
    };
    let what = if flags & PROMISED != 0 { What::Promise } else { What::Spans };
    let hand = if flags & RELAYED != 0 { Hand::Second } else { Hand::First };
    let kept = Kept { trace, reason, hops, by: name(rest)?.into(), what, hand };
    match (what, kept.wish()) {
        (What::Promise, None) => Err(CallError::Unknown { what: "promise without a link", code: flags }),
        _ => Ok(kept),
    }
}

fn wished(rest: &mut Reader<'_>) -> Result<Wished, CallError> {
    let kind = rest.byte()?;
    let first = rest.trace()?;
    let wish = match kind {
        KEEP => Wanted::Link(Wish::Keep { trace: first, from: rest.trace()?, hops: hops(rest, 1)? }),
        PASS => Wanted::Link(Wish::Pass { trace: first, to: rest.trace()?, hops: hops(rest, 2)? }),
        FOLLOW => Wanted::Link(Wish::Follow { trace: first, from: rest.trace()? }),
        KEPT => Wanted::Kept(kept(rest, first)?),
        code => return Err(CallError::Unknown { what: "wish", code }),
    };
    Ok(Wished { wish, age: Duration::from_millis(rest.varint()?) })
}

fn hops(rest: &mut Reader<'_>, least: u8) -> Result<u8, CallError> {
    match rest.byte()? {
        code if code < least => Err(CallError::Unknown { what: "number of links", code }),
        hops => Ok(hops),
    }
}

pub(super) fn version(rest: &mut Reader<'_>) -> Result<(), CallError> {
    match rest.byte()? {
        VERSION => Ok(()),
        other => Err(CallError::Version(other)),
    }
}

fn name(rest: &mut Reader<'_>) -> Result<String, CallError> {
    let name = rest.text()?;
    if name.len() > NAME_BYTES { Err(CallError::Length) } else { Ok(name.to_owned()) }
}

fn count(rest: &mut Reader<'_>) -> Result<usize, CallError> {
    usize::try_from(rest.varint()?).ok().filter(|count| *count <= MOST).ok_or(CallError::TooMany)
}

/// Nothing may follow: a longer call is of a caller that says more than this build understands.
fn end(rest: &Reader<'_>) -> Result<(), CallError> {
    if rest.0.is_empty() { Ok(()) } else { Err(CallError::Length) }
}
