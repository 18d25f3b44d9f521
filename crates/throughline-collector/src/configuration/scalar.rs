//! What a word without quotes is: a whole number, another number, a boolean, or a text.

/// Whether YAML reads a word without quotes as a number or a boolean.
pub(super) fn is_number_or_boolean(text: &str) -> bool {
    let number = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))
        && (whole(text).is_some() || text.parse::<f64>().is_ok_and(f64::is_finite));
    number || matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE")
}

/// `100.0`, `1e3`: a double without a fraction, which no rounding has touched.
#[expect(clippy::cast_possible_truncation, reason = "it has no fraction, and fits")]
pub(super) fn whole_double(text: &str) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let number: f64 = text.parse().ok()?;
    (number.fract() == 0.0 && number.abs() < EXACT).then_some(number as i64)
}

/// `12`, `-3`, `0x10`, `1_000`: what YAML and Go read as a whole number.
pub(super) fn whole(text: &str) -> Option<i64> {
    let digits = text.replace('_', "");
    let (sign, magnitude) = match digits.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, digits.strip_prefix('+').unwrap_or(&digits)),
    };
    if !magnitude.starts_with(|first: char| first.is_ascii_digit()) || text.starts_with('_') {
        return None;
    }
    let (radix, magnitude) = [("0x", 16), ("0o", 8), ("0b", 2)]
        .iter()
        .find_map(|(prefix, radix)| magnitude.strip_prefix(prefix).map(|rest| (*radix, rest)))
        .unwrap_or((10, magnitude));
    let number = i128::from_str_radix(magnitude, radix).ok()? * sign;
    i64::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_booleans_are_no_texts() {
        for number in ["1", "-1", "+5", "0x10", "1_000", "1.0", ".5", "1e3", "true", "False"] {
            assert!(is_number_or_boolean(number), "{number}");
        }
        for text in [
            "",
            "a",
            "1.2.3",
            "10.0.0.1",
            "v1",
            "yes",
            "on",
            "-",
            "nan",
            "inf",
            "e3",
            "1s",
            "a:1",
            "2024-01-01",
        ] {
            assert!(!is_number_or_boolean(text), "{text}");
        }
    }

    #[test]
    fn a_double_without_a_fraction_is_whole() {
        let cases = [
            ("100.0", Some(100)),
            ("1e3", Some(1000)),
            ("-2.0", Some(-2)),
            ("1.5", None),
            ("1e300", None),
            ("a", None),
        ];
        for (text, expected) in cases {
            assert_eq!(whole_double(text), expected, "{text}");
        }
    }
}
