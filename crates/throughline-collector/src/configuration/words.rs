//! Words for errors: what is allowed, and what was probably meant.

/// `; did you mean …?`, if something near is allowed.
pub(super) fn nearest(word: &str, allowed: &[&str]) -> String {
    // Of numbers and of words of two letters, another is no slip.
    let near = match word.chars().filter(|char| char.is_alphabetic()).count() {
        0..=2 => return String::new(),
        3 => 1,
        letters => 2.max(letters / 4),
    };
    let best = allowed.iter().map(|candidate| (distance(word, candidate), candidate)).min();
    match best {
        Some((distance, candidate)) if distance <= near => format!("; did you mean `{candidate}`?"),
        _ => String::new(),
    }
}

/// Levenshtein's, of words of bounded length, case aside.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.to_lowercase().chars().take(64).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, from) in left.to_lowercase().chars().take(64).enumerate() {
        let mut diagonal = index;
        let mut before = index + 1;
        for (cell, to) in row.iter_mut().zip(std::iter::once(None).chain(right.iter().map(Some))) {
            let Some(to) = to else {
                *cell = before;
                continue;
            };
            let best = (diagonal + usize::from(*to != from)).min(before + 1).min(*cell + 1);
            diagonal = *cell;
            *cell = best;
            before = best;
        }
    }
    row.last().copied().unwrap_or(0)
}

/// "`a`, `b` or `c`"
pub(super) fn listed(words: &[&str]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [word] => format!("`{word}`"),
        [first @ .., last] => format!("{} or `{last}`", listed_all(first)),
    }
}

/// "`a`, `b`, `c`"
pub(super) fn listed_all(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_told_from_another_word() {
        let near = |word: &str, candidate: &str| !nearest(word, &[candidate]).is_empty();
        for (word, candidate) in [
            ("otpl", "otlp"),
            ("synk", "sync"),
            ("latncy", "latency"),
            ("Timeout", "timeout"),
            ("decision_wiat", "decision_wait"),
            ("treshold_ms", "threshold_ms"),
            ("batch/2", "batch"),
        ] {
            assert!(near(word, candidate), "{word} {candidate}");
        }
        for (word, candidate) in [
            ("2", "1"),
            ("1.1", "1.2"),
            ("nop", "file"),
            ("newest", "latest"),
            ("jaeger", "kafka"),
            ("", "x"),
        ] {
            assert!(!near(word, candidate), "{word} {candidate}");
        }
    }

    #[test]
    fn distance_is_levenshteins() {
        for (left, right, expected) in
            [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("Same", "same", 0), ("ab", "ba", 2)]
        {
            assert_eq!(distance(left, right), expected, "{left} {right}");
            assert_eq!(distance(right, left), expected, "{right} {left}");
        }
    }
}
