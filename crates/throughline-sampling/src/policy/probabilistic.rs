//! `probabilistic`: a share of all trace ids, the peer's: a collector of either make with the same salt keeps the same ids.

use super::judges::{Answer, Case, Judges};
use crate::builder::Builder;
use crate::error::{PlanError, Step};

/// The peer's salt if none is given.
const DEFAULT_SALT: &str = "default-hash-seed";

#[derive(Debug)]
pub(super) struct Probabilistic {
    /// FNV-1a state after the salt.
    salted: u64,
    /// The largest hash that is kept; `None` at 0 %.
    up_to: Option<u64>,
}

pub(super) fn compile(
    salt: Option<&str>,
    percentage: f64,
    builder: &Builder,
) -> Result<Box<dyn Judges>, PlanError> {
    if !(0.0..=100.0).contains(&percentage) {
        let message = format!("{percentage} is not a percentage; give 0 to 100");
        return Err(builder.error(&[Step::Key("sampling_percentage")], message));
    }
    let salt = salt.filter(|salt| !salt.is_empty()).unwrap_or(DEFAULT_SALT);
    let up_to = (percentage > 0.0).then(|| threshold(percentage / 100.0));
    Ok(Box::new(Probabilistic { salted: fnv1a(FNV_OFFSET, salt.as_bytes()), up_to }))
}

impl Judges for Probabilistic {
    fn says(&self, case: &Case<'_>) -> Answer {
        let hash = fnv1a(self.salted, &case.facts.trace.bytes());
        Answer::of(self.up_to.is_some_and(|up_to| hash <= up_to))
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

fn fnv1a(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME))
}

/// `ratio` (in 0..=1) of 2^64 - 1, as the peer computes it: the exact product rounded to 64 significant bits, half to even,
/// and its fraction cut off.
fn threshold(ratio: f64) -> u64 {
    // A double in 0..=1 is mantissa x 2^-shift.
    let bits = ratio.to_bits();
    let (exponent, fraction) = (bits >> 52, bits & ((1 << 52) - 1));
    let mantissa = if exponent == 0 { fraction } else { fraction | 1 << 52 };
    let shift = 1075 - exponent.max(1);
    let product = u128::from(mantissa) * u128::from(u64::MAX);
    let surplus = (128 - product.leading_zeros()).saturating_sub(64);
    let rounded = round_off(product, surplus);
    u64::try_from(rounded.checked_shr(u32::try_from(shift).unwrap_or(u32::MAX)).unwrap_or(0))
        .unwrap_or(u64::MAX)
}

/// `number` with its lowest `bits` rounded to zero, half to even.
fn round_off(number: u128, bits: u32) -> u128 {
    if bits == 0 {
        return number;
    }
    let unit = 1 << bits;
    let (low, half) = (number & (unit - 1), unit >> 1);
    let down = number - low;
    let odd = down & unit != 0;
    if low > half || (low == half && odd) { down + unit } else { down }
}
