//! How far each exporter's backend has acknowledged, as a record of the journal: the bytes of FORMAT.md,
//! "Exporter acknowledgement". Each record names all exporters, so the last one is enough.

use throughline_otlp::wire::put_varint;

use crate::sampler::record::{DecidedError, Reader};

/// First byte of the payload.
const VERSION: u8 = 1;

/// Every exporter's name with the last position whose spans its backend has acknowledged, and everything before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) acknowledged: Vec<(String, u64)>,
}

impl Checkpoint {
    /// As it stands in the journal.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_varint(&mut out, self.acknowledged.len() as u64);
        for (name, position) in &self.acknowledged {
            put_varint(&mut out, name.len() as u64);
            out.extend_from_slice(name.as_bytes());
            put_varint(&mut out, *position);
        }
        out
    }

    /// Reads what [`Checkpoint::encode`] wrote.
    pub(crate) fn decode(payload: &[u8]) -> Result<Self, DecidedError> {
        let mut rest = Reader(payload);
        match rest.byte()? {
            VERSION => {}
            other => return Err(DecidedError::Version(other)),
        }
        let acknowledged = rest.list(|rest| Ok((rest.text()?.to_owned(), rest.varint()?)))?;
        Ok(Self { acknowledged })
    }

    /// How far this exporter was.
    pub(crate) fn of(&self, exporter: &str) -> Option<u64> {
        self.acknowledged.iter().find(|(name, _)| name == exporter).map(|(_, position)| *position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_cut_is_refused() {
        let checkpoint = Checkpoint {
            acknowledged: vec![("traces/otlp".to_owned(), 7), ("logs/otlphttp/tempo".to_owned(), u64::MAX)],
        };
        let bytes = checkpoint.encode();
        assert_eq!(Checkpoint::decode(&bytes), Ok(checkpoint.clone()));
        assert_eq!((checkpoint.of("traces/otlp"), checkpoint.of("other")), (Some(7), None));
        for end in 0..bytes.len() {
            assert!(Checkpoint::decode(bytes.get(..end).expect("within")).is_err(), "cut at {end}");
        }
    }
}
