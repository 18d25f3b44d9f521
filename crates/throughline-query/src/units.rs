//! Durations and timestamps as people write them into a query or a URL, and back. What is only shown is told by
//! [`throughline_trace::time`], so that page and terminal say the same.

use std::time::Duration;

use throughline_otlp::UnixNanos;

#[cfg(test)]
mod tests;

const SECOND: i128 = 1_000_000_000;
const MINUTE: i128 = 60 * SECOND;
const DAY: i128 = 24 * 60 * MINUTE;

/// Units a duration may be written with, as Go's `time.ParseDuration` has them, plus `d`. Longest names first where one
/// is a prefix of another.
const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// `1 span`, `2,000 spans`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", thousands(count))
}

/// `2360` as `2,360`.
pub(crate) fn thousands(number: impl ToString) -> String {
    let number = number.to_string();
    let (sign, digits) = number.strip_prefix('-').map_or(("", &*number), |digits| ("−", digits));
    let mut text = sign.to_owned();
    for (i, digit) in digits.chars().enumerate() {
        let left = digits.len() - i;
        if i > 0 && left.is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A duration exactly, in the largest unit that needs no fraction; [`parse_duration`] reads it back.
pub(crate) fn exact(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let (name, size) = UNITS
        .iter()
        .rev()
        .find(|(_, size)| nanos != 0 && nanos.is_multiple_of(u128::from(*size)))
        .copied()
        .unwrap_or(("ns", 1));
    // Of the three spellings of a microsecond only the ASCII one is written.
    let name = if size == 1_000 { "us" } else { name };
    format!("{}{name}", nanos / u128::from(size))
}

/// Reads `1.2s`, `100ms`, `100us`, `1h30m`, `2d`; `None` if it is anything else, negative, or over some 584 years.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit_end)?;
        let (_, size) = UNITS.iter().find(|(name, _)| *name == unit)?;
        nanos = nanos.checked_add(scaled(number, *size)?)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(Duration::from_nanos(nanos))
}

/// `number * size`, where the number may have a fraction; what is below a nanosecond is cut.
fn scaled(number: &str, size: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
    let mut total = whole.checked_mul(size)?;
    let mut part = size;
    for digit in fraction.chars() {
        part /= 10;
        total = total.checked_add(u64::from(digit.to_digit(10)?) * part)?;
    }
    Some(total)
}

/// Date and time of day in UTC, from the proleptic Gregorian calendar.
struct Civil {
    year: i64,
    month: u32,
    day: u32,
    second_of_day: u64,
    nanos: u64,
}

impl Civil {
    fn of(time: UnixNanos) -> Self {
        let seconds = time.0 / 1_000_000_000;
        // Days since 0000-03-01, so that the leap day is the last day of its year (Howard Hinnant's algorithm).
        let days = seconds / 86_400 + 719_468;
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        Self {
            year: i64::try_from(year).unwrap_or(i64::MAX),
            month: u32::try_from(month).unwrap_or(1),
            day: u32::try_from(day_of_year - (153 * shifted_month + 2) / 5 + 1).unwrap_or(1),
            second_of_day: seconds % 86_400,
            nanos: time.0 % 1_000_000_000,
        }
    }
}

/// Days from 1970-01-01 to a date; `None` if there is no such date, or it is before 1970.
fn days_since_epoch(year: u64, month: u64, day: u64) -> Option<u64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if !(1970..=2554).contains(&year) || !(1..=length).contains(&day) {
        return None;
    }
    let year = year - u64::from(month <= 2);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let year_of_era = year % 400;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (year / 400 * 146_097 + day_of_era).checked_sub(719_468)
}

/// `2026-01-15T14:03:22.114Z`: RFC 3339 in UTC, with as many digits of the fraction as are not zero.
pub(crate) fn timestamp(time: UnixNanos) -> String {
    let c = Civil::of(time);
    let s = c.second_of_day;
    let fraction = match format!("{:09}", c.nanos).trim_end_matches('0') {
        "" => String::new(),
        digits => format!(".{digits}"),
    };
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{fraction}Z",
        c.year,
        c.month,
        c.day,
        s / 3_600,
        s / 60 % 60,
        s % 60
    )
}

/// `14:03:22.114`: the time of day in UTC, to the millisecond.
pub(crate) fn clock_time(time: UnixNanos) -> String {
    let c = Civil::of(time);
    let s = c.second_of_day;
    format!("{:02}:{:02}:{:02}.{:03}", s / 3_600, s / 60 % 60, s % 60, c.nanos / 1_000_000)
}

/// The time of day in UTC, with its date unless that is today's.
pub(crate) fn clock_near(time: UnixNanos, now: UnixNanos) -> String {
    let day = |time: UnixNanos| i128::from(time.0) / DAY;
    if day(time) == day(now) { clock_time(time) } else { throughline_trace::time::date_and_clock(time) }
}

/// Further ahead than this is no trace that has just begun but a clock that is wrong.
pub(crate) const CLOCK_AHEAD: i128 = 60 * MINUTE;

/// Whether a time was told by a clock that is far ahead.
pub(crate) fn is_ahead(time: UnixNanos, now: UnixNanos) -> bool {
    time.since(now) > CLOCK_AHEAD
}

/// Reads RFC 3339, with `T` or a space; seconds, fraction and zone may be missing (then UTC), and so may the time.
pub(crate) fn parse_timestamp(text: &str) -> Option<UnixNanos> {
    let (date, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, ""));
    let mut parts = date.split('-');
    let (year, month, day) =
        (digits(parts.next()?, 4)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    if parts.next().is_some() {
        return None;
    }
    let midnight = i128::from(days_since_epoch(year, month, day)?) * DAY;
    let nanos = if time.is_empty() { 0 } else { time_of_day(time)? };
    u64::try_from(midnight + nanos).ok().map(UnixNanos)
}

/// `14:03[:22[.5]][Z|+01:00]` as nanoseconds since midnight UTC; negative or over a day if the zone makes it so.
fn time_of_day(text: &str) -> Option<i128> {
    let zone_at = text.find(['Z', 'z', '+', '-']).unwrap_or(text.len());
    let (clock, zone) = text.split_at_checked(zone_at)?;
    let mut parts = clock.split(':');
    let (hour, minute) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let seconds = parts.next().unwrap_or("00");
    let (second, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let second = digits(second, 2)?;
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let fraction = i128::from(scaled(&format!("0.{fraction}"), 1_000_000_000)?);
    let seconds = i128::from(hour * 3_600 + minute * 60 + second);
    Some(seconds * SECOND + fraction - offset(zone)?)
}

/// `Z`, `+01:00` or nothing, as nanoseconds east of UTC.
fn offset(zone: &str) -> Option<i128> {
    if zone.is_empty() || zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let east = match zone.chars().next()? {
        '+' => 1,
        _ => -1,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
    (hours < 24 && minutes < 60).then_some(east * i128::from(hours * 60 + minutes) * MINUTE)
}

fn digits(text: &str, count: usize) -> Option<u64> {
    (text.len() == count && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}
