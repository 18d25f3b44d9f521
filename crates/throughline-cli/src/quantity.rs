//! Lengths of time and sizes as flags take and show them: `7d`, `10GiB`.

use std::time::Duration;

const LENGTHS: &[(&str, u64)] = &[("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];
const SIZES: &[(&str, u64)] = &[
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// `90s`, `15m`, `12h`, `7d`; above zero.
pub(crate) fn length(text: &str) -> Result<Duration, String> {
    parse(text, LENGTHS)
        .map(Duration::from_secs)
        .ok_or_else(|| "expected a length such as 90s, 15m, 12h or 7d".to_owned())
}

/// `500MB`, `10GiB`; above zero.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    parse(text, SIZES).ok_or_else(|| "expected a size such as 500MB or 10GiB".to_owned())
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor).filter(|product| *product > 0)
}

/// In the largest unit that leaves a whole number.
pub(crate) fn show_length(length: Duration) -> String {
    let seconds = length.as_secs();
    let whole = LENGTHS.iter().rev().find(|(_, factor)| seconds.is_multiple_of(*factor));
    whole.map_or_else(|| format!("{seconds}s"), |(unit, factor)| format!("{}{unit}", seconds / factor))
}

/// In the largest binary unit that leaves a whole number.
pub(crate) fn show_size(bytes: u64) -> String {
    let binary = SIZES.iter().rev().filter(|(unit, _)| unit.ends_with("iB"));
    let whole = binary.into_iter().find(|(_, factor)| bytes.is_multiple_of(*factor));
    whole.map_or_else(|| format!("{bytes} bytes"), |(unit, factor)| format!("{}{unit}", bytes / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_reads_back_and_the_rest_is_refused() {
        for text in ["90s", "15m", "12h", "7d"] {
            assert_eq!(show_length(length(text).unwrap()), text);
        }
        for text in ["512KiB", "500MiB", "10GiB"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
        assert_eq!(
            (show_length(length("60m").unwrap()).as_str(), size("3GB").unwrap()),
            ("1h", 3_000_000_000)
        );
        assert_eq!(show_size(1_001), "1001 bytes");
        for bad in
            ["", "7", "d", "0d", "-1d", "1.5h", "7w", "99999999999999999999d", "18446744073709551615GiB"]
        {
            assert!(length(bad).is_err(), "{bad}");
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
