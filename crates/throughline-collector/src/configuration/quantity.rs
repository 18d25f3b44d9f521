//! Lengths of time and sizes as text. Refuses a bare number for a time: the OpenTelemetry Collector takes `5` as five
//! nanoseconds.

use std::time::Duration;

const UNITS: &[(&str, u128)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// A length of time in Go's syntax: `30s`, `1m30s`, `1.5h`, `250ms`, `0`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.parse::<f64>().is_ok() {
        return Err(format!(
            "is `{text}`, a number without a unit; write `{text}s` for seconds or `{text}ms` for milliseconds"
        ));
    }
    if text.starts_with('-') {
        return Err(format!("is `{text}`, but a length of time can not be negative"));
    }
    parts(text.strip_prefix('+').unwrap_or(text)).ok_or_else(|| {
        format!("is `{text}`, which is no length of time; write it like `30s`, `1m30s` or `250ms` (ns, us, ms, s, m, h)")
    })
}

fn parts(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut nanos = 0_u128;
    loop {
        let end = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|char: char| char.is_ascii_digit() || char == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        nanos = nanos.checked_add(product(number, *factor)?)?;
        if after.is_empty() {
            let nanos = u64::try_from(nanos).ok().filter(|nanos| i64::try_from(*nanos).is_ok())?;
            return Some(Duration::from_nanos(nanos));
        }
        rest = after;
    }
}

/// `1.5` times `factor`, exactly.
fn product(number: &str, factor: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || number.len() > 30 {
        return None;
    }
    let digits = |text: &str| if text.is_empty() { Some(0_u128) } else { text.parse::<u128>().ok() };
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let small = digits(fraction)?.checked_mul(factor)?.checked_div(scale)?;
    digits(whole)?.checked_mul(factor)?.checked_add(small)
}

/// A length of time as one would write it: in the largest unit that leaves a whole number.
pub(super) fn show(length: Duration) -> String {
    let nanos = length.as_nanos();
    let whole = UNITS.iter().rev().find(|(_, factor)| nanos.is_multiple_of(*factor));
    whole
        .filter(|_| nanos > 0)
        .map_or_else(|| "0s".to_owned(), |(unit, factor)| format!("{}{unit}", nanos / factor))
}

/// A number of bytes: `512MiB`, `10GB`, `4096`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("is `{text}`, which is no size; write it like `512MiB`, `10GB` or a number of bytes");
    let end = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit = if unit.trim().is_empty() { "B" } else { unit.trim() };
    let (_, factor) = SIZES.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    number.checked_mul(*factor).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_gos() {
        let cases = [
            ("30s", 30_000_000_000),
            ("1m30s", 90_000_000_000),
            ("5ms", 5_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1h0m0.25s", 3_600_250_000_000),
            ("2us", 2_000),
            ("2µs", 2_000),
            ("7ns", 7),
            ("+1s", 1_000_000_000),
            ("0", 0),
            ("0s", 0),
        ];
        for (text, nanos) in cases {
            assert_eq!(duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
            assert_eq!(
                duration(&show(Duration::from_nanos(nanos))),
                Ok(Duration::from_nanos(nanos)),
                "{text}"
            );
        }
        for text in
            ["", "5", "1.5", "abc", "s", "1x", "1d", "-1s", "1s ", " 1s", "1s2", ".s", "1..2s", "300000000h"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_decimal_or_binary() {
        let cases = [
            ("4096", 4096),
            ("512MiB", 512 << 20),
            ("10GB", 10_000_000_000),
            ("1 KiB", 1024),
            ("0", 0),
            ("7B", 7),
        ];
        for (text, bytes) in cases {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "-1", "1.5GiB", "1mib", "MiB", "99999999999999999999", "99999999TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
