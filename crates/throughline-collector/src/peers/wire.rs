//! What peers say to each other, in bytes: FORMAT.md, "Calls between peers". Both directions, and hostile input is an error.
//! The same bytes stand in the journal of the peer that was called, so that a restart knows what it has promised.

use std::time::Duration;

use throughline_otlp::TraceId;
use throughline_otlp::wire::put_varint;
use throughline_sampling::decision::Wish;

use crate::sampler::record::{DecidedError, Reader};

/// First byte of every call, answer and record.
const VERSION: u8 = 1;

/// Most wishes, or questions, in one call. More is refused whole.
pub(crate) const MOST: usize = 4096;

/// Longest name of a pipeline or a node.
const NAME_BYTES: usize = 1024;

const KEEP: u8 = 1;
const PASS: u8 = 2;
const FOLLOW: u8 = 3;

/// `POST /tl/v1/peer/keep`: what shards of the caller wish of traces that the called one owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keep {
    /// Both have a pipeline of this name, which samples.
    pub(crate) pipeline: String,
    pub(crate) wishes: Vec<Wished>,
}

/// A wish under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wished {
    pub(crate) wish: Wish,
    /// How long ago it was wished: look-back counts from then. Relative, so that clocks need not agree.
    pub(crate) age: Duration,
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
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_text(&mut out, &self.pipeline);
        put_varint(&mut out, self.wishes.len() as u64);
        for Wished { wish, age } in &self.wishes {
            let (kind, first, second, hops) = match *wish {
                Wish::Keep { trace, from, hops } => (KEEP, trace, from, Some(hops)),
                Wish::Pass { trace, to, hops } => (PASS, trace, to, Some(hops)),
                Wish::Follow { trace, from } => (FOLLOW, trace, from, None),
            };
            out.push(kind);
            out.extend_from_slice(&first.bytes());
            out.extend_from_slice(&second.bytes());
            out.extend(hops);
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

fn wished(rest: &mut Reader<'_>) -> Result<Wished, CallError> {
    let kind = rest.byte()?;
    let (first, second) = (trace(rest)?, trace(rest)?);
    let wish = match kind {
        KEEP => Wish::Keep { trace: first, from: second, hops: hops(rest, 1)? },
        PASS => Wish::Pass { trace: first, to: second, hops: hops(rest, 2)? },
        FOLLOW => Wish::Follow { trace: first, from: second },
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

fn trace(rest: &mut Reader<'_>) -> Result<TraceId, CallError> {
    TraceId::from_slice(rest.bytes(16)?).ok_or(CallError::Unknown { what: "trace id", code: 0 })
}

/// Nothing may follow: a longer call is of a caller that says more than this build understands.
fn end(rest: &Reader<'_>) -> Result<(), CallError> {
    if rest.0.is_empty() { Ok(()) } else { Err(CallError::Length) }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn a_trace() -> impl Strategy<Value = TraceId> {
        any::<[u8; 16]>().prop_filter_map("zero", TraceId::new)
    }

    fn a_wish() -> impl Strategy<Value = Wish> {
        (a_trace(), a_trace(), 0..3_u8, 2..=255_u8).prop_map(|(trace, other, kind, hops)| match kind {
            0 => Wish::Keep { trace, from: other, hops },
            1 => Wish::Pass { trace, to: other, hops },
            _ => Wish::Follow { trace, from: other },
        })
    }

    fn a_keep() -> impl Strategy<Value = Keep> {
        let wished =
            (a_wish(), 0..u64::MAX).prop_map(|(wish, age)| Wished { wish, age: Duration::from_millis(age) });
        (".{0,40}", prop::collection::vec(wished, 0..20))
            .prop_map(|(pipeline, wishes)| Keep { pipeline, wishes })
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
                prop_assert!(read.wishes.len() <= bytes.len() / 33);
            }
        }
    }

    #[test]
    fn too_many_at_once_and_later_versions_are_named() {
        let trace = TraceId::new([1; 16]).unwrap();
        let wished = Wished { wish: Wish::Follow { trace, from: trace }, age: Duration::ZERO };
        let keep = |count| Keep { pipeline: "traces".to_owned(), wishes: vec![wished; count] }.encode();
        assert!(Keep::decode(&keep(MOST)).is_ok());
        assert_eq!(Keep::decode(&keep(MOST + 1)), Err(CallError::TooMany));
        let mut later = keep(0);
        later[0] = 2;
        assert_eq!(Keep::decode(&later), Err(CallError::Version(2)));
        let long = Keep { pipeline: "x".repeat(NAME_BYTES + 1), wishes: Vec::new() };
        assert_eq!(Keep::decode(&long.encode()), Err(CallError::Length));
    }
}
