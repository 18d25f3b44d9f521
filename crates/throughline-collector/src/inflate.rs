//! gzip off the wire. A bomb is refused by what it inflates to, while it inflates: at most one piece beyond the limit
//! is ever in memory, and every piece is accounted before the next.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;

use crate::budget::Reservation;
use crate::refusal::Refusal;

/// Inflated at a time: large enough that the loop costs nothing, small enough that a bomb costs nothing.
const PIECE: usize = 64 * 1024;

/// The inflated bytes of one or more gzip members.
pub(crate) fn inflate(
    compressed: &[u8],
    limit: usize,
    reservation: &mut Reservation,
) -> Result<Bytes, Refusal> {
    let mut decoder = MultiGzDecoder::new(compressed);
    let mut inflated = Vec::new();
    loop {
        let read = (&mut decoder).take(PIECE as u64).read_to_end(&mut inflated).map_err(damaged)?;
        if inflated.len() > limit {
            return Err(Refusal::TooLarge { limit });
        }
        reservation.grow(read).map_err(|_| Refusal::Busy)?;
        if read == 0 {
            return Ok(Bytes::from(inflated));
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape map_err wants")]
fn damaged(error: io::Error) -> Refusal {
    Refusal::Malformed(format!("body is not valid gzip: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::budget::Budget;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn check(compressed: &[u8], limit: usize, budget: usize) -> Result<usize, &'static str> {
        inflate(compressed, limit, &mut Budget::new(budget).open()).map(|b| b.len()).map_err(|r| r.reason())
    }

    #[test]
    fn bounds_hold_and_damage_is_named() {
        let megabyte = gzip(&vec![0; 1 << 20]);
        assert!(megabyte.len() < 2000, "it is a bomb");
        assert_eq!(check(&megabyte, 1 << 20, 1 << 20), Ok(1 << 20));
        assert_eq!(check(&megabyte, (1 << 20) - 1, usize::MAX), Err("too_large"));
        assert_eq!(check(&megabyte, 1 << 20, 1 << 19), Err("busy"));
        assert_eq!(check(&[gzip(b"ab"), gzip(b"cd")].concat(), 9, 9), Ok(4), "members join");
        assert_eq!(check(&gzip(b""), 9, 9), Ok(0));
        assert_eq!(check(&gzip(b"abcdef")[..12], 9, 9), Err("malformed"), "cut");
        assert_eq!(check(b"plain", 9, 9), Err("malformed"));
        assert_eq!(
            check(&[gzip(b"ab"), b"tail".to_vec()].concat(), 9, 9),
            Err("malformed"),
            "trailing bytes"
        );
    }
}
