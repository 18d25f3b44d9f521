//! Durations and times as people read them: three figures, one or two units, UTC.

use throughline_otlp::UnixNanos;

const MICRO: u128 = 1_000;
const MILLI: u128 = 1_000 * MICRO;
const SECOND: u128 = 1_000 * MILLI;
const MINUTE: u128 = 60 * SECOND;
const HOUR: u128 = 60 * MINUTE;
const DAY: u128 = 24 * HOUR;

/// `812 ns`, `3.14 ms`, `38.0 ms`, `2.41 s`, `3 min 12 s`, `2 h 5 min`, `3 d 4 h`; a negative one keeps its sign.
#[must_use]
pub fn duration(nanos: i128) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let n = nanos.unsigned_abs();
    let text = match n {
        0..MICRO => format!("{n} ns"),
        MICRO..MILLI => three_figures(n, MICRO, "µs"),
        MILLI..SECOND => three_figures(n, MILLI, "ms"),
        SECOND..MINUTE => three_figures(n, SECOND, "s"),
        MINUTE..HOUR => format!("{} min {} s", n / MINUTE, n % MINUTE / SECOND),
        HOUR..DAY => format!("{} h {} min", n / HOUR, n % HOUR / MINUTE),
        _ => format!("{} d {} h", n / DAY, n % DAY / HOUR),
    };
    format!("{sign}{text}")
}

/// Cut, not rounded: 999.96 ms must not become `1000 ms`.
fn three_figures(n: u128, unit: u128, name: &str) -> String {
    let hundredths = n * 100 / unit;
    match hundredths {
        0..1_000 => format!("{}.{:02} {name}", hundredths / 100, hundredths % 100),
        1_000..10_000 => format!("{}.{} {name}", hundredths / 100, hundredths % 100 / 10),
        _ => format!("{} {name}", hundredths / 100),
    }
}

/// `3 s ago`, `2 h ago`; `in 3 s` if a clock is ahead.
#[must_use]
pub fn age(since: UnixNanos, now: UnixNanos) -> String {
    let nanos = now.since(since);
    let n = nanos.unsigned_abs();
    let text = match n {
        0..MINUTE => format!("{} s", n / SECOND),
        MINUTE..HOUR => format!("{} min", n / MINUTE),
        HOUR..DAY => format!("{} h", n / HOUR),
        _ => format!("{} d", n / DAY),
    };
    if nanos < 0 { format!("in {text}") } else { format!("{text} ago") }
}

/// `2026-02-07 14:03:22.114`, UTC.
#[must_use]
pub fn date_and_clock(time: UnixNanos) -> String {
    let millis = u128::from(time.0) / MILLI;
    let (seconds, millis) = (millis / 1_000, millis % 1_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (h, m, s) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {h:02}:{m:02}:{s:02}.{millis:03}")
}

/// Days since 1970-01-01 as a date of the Gregorian calendar: years counted from March, in eras of 400 years, so that
/// the leap day is a year's last.
fn civil(days: u128) -> (u128, u128, u128) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u128::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_figures_at_most_and_keep_their_sign() {
        let cases = [
            (0, "0 ns"),
            (812, "812 ns"),
            (3_140_000, "3.14 ms"),
            (38_000_000, "38.0 ms"),
            (-38_000_000, "-38.0 ms"),
            (999_999_999, "999 ms"),
            (2_410_000_000, "2.41 s"),
            (59_999_999_999, "59.9 s"),
            (192_000_000_000, "3 min 12 s"),
            (7_500_000_000_000, "2 h 5 min"),
            (273_600_000_000_000, "3 d 4 h"),
        ];
        for (nanos, expect) in cases {
            assert_eq!(duration(nanos), expect);
        }
        assert!(duration(i128::MIN).starts_with('-'));
    }

    #[test]
    fn ages_say_when_a_clock_is_ahead() {
        let now = UnixNanos(100_000_000_000);
        assert_eq!(age(UnixNanos(97_000_000_000), now), "3 s ago");
        assert_eq!(age(UnixNanos(103_500_000_000), now), "in 3 s");
        assert_eq!(age(UnixNanos(10_000_000_000), now), "1 min ago");
    }

    #[test]
    fn dates_know_leap_years_and_the_ends_of_time() {
        let cases = [
            (0, "1970-01-01 00:00:00.000"),
            (951_782_400, "2000-02-29 00:00:00.000"),
            (1_709_251_199, "2024-02-29 23:59:59.000"),
            (1_709_251_200, "2024-03-01 00:00:00.000"),
            (4_107_542_400, "2100-03-01 00:00:00.000"),
        ];
        for (seconds, expect) in cases {
            assert_eq!(date_and_clock(UnixNanos(seconds * 1_000_000_000)), expect);
        }
        assert_eq!(date_and_clock(UnixNanos(u64::MAX)), "2554-07-21 23:34:33.709");
    }
}
