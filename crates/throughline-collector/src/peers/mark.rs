//! What a peer was promised, as a record of the journal: the bytes of FORMAT.md, "Marks". A restart reads it again; what is
//! found twice changes nothing.

use throughline_journal::Keys;
use throughline_sampling::decision::Wish;

use super::wire::{CallError, Keep, Wanted, version};
use crate::sampler::keys;
use crate::sampler::record::Reader;

const VERSION: u8 = 1;
const WISHES: u8 = 1;

/// A record of kind `Mark`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Wishes of a peer for traces of this node.
    Wishes(Keep),
}

impl Mark {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self::Wishes(keep) = self;
        [vec![VERSION, WISHES], keep.encode()].concat()
    }

    /// `None`: a mark of a kind that is not known here.
    pub(crate) fn decode(payload: &[u8]) -> Result<Option<Self>, CallError> {
        let mut rest = Reader(payload);
        version(&mut rest)?;
        match rest.byte()? {
            WISHES => Keep::decode(rest.0).map(Self::Wishes).map(Some),
            _ => Ok(None),
        }
    }

    /// By which traces it is found: those that a trace of another node links to, so that it counts among what links to them.
    pub(crate) fn keys(&self) -> Keys {
        let Self::Wishes(keep) = self;
        let mut keys = Keys::default();
        for wished in &keep.wishes {
            if let Wanted::Link(Wish::Follow { trace, from }) = &wished.wish {
                keys::push_linked_by(&mut keys, *trace, *from);
            }
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use throughline_otlp::TraceId;

    use super::*;
    use throughline_sampling::decision::Reason;

    use crate::peers::wire::{Hand, Kept, What, Wished};

    #[test]
    fn it_is_read_as_it_was_written_and_found_by_what_is_linked_to() {
        let (one, other) = (TraceId::new([1; 16]).unwrap(), TraceId::new([2; 16]).unwrap());
        let age = Duration::from_secs(1);
        let wishes = vec![
            Wished { wish: Wanted::Link(Wish::Keep { trace: one, from: other, hops: 1 }), age },
            Wished { wish: Wanted::Link(Wish::Follow { trace: one, from: other }), age },
            Wished {
                wish: Wanted::Kept(Kept {
                    trace: one,
                    reason: Reason::Policy("slow".into()),
                    hops: Some(0),
                    by: "b".into(),
                    what: What::Spans,
                    hand: Hand::First,
                }),
                age,
            },
        ];
        let mark = Mark::Wishes(Keep { pipeline: "traces".to_owned(), wishes });
        assert_eq!(Mark::decode(&mark.encode()), Ok(Some(mark.clone())));
        let keys: Vec<_> = mark.keys().iter().map(|(key, value)| (key, keys::Entry::read(value))).collect();
        assert_eq!(keys, [(one.bytes(), Some(keys::Entry::LinkedBy(other)))]);
        assert_eq!(Mark::decode(&[1, 77, 5]), Ok(None));
        assert_eq!(Mark::decode(&[2, 1]), Err(CallError::Version(2)));
        assert_eq!(Mark::decode(&[1]), Err(CallError::Length));
    }
}
