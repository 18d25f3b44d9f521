//! Text that nobody meant: it ends in errors, soon, and never in a panic.

use proptest::prelude::*;

use super::{BASE, EVERYTHING, environment, load_all};
use crate::configuration::{Configuration, Source};

/// Loads it; every error is about a line that there is.
fn survives(text: &str) {
    let sources = [Source::new("a", BASE), Source::new("b", text)];
    if let Err(errors) = Configuration::load(&sources, &environment) {
        assert!(!errors.problems.is_empty());
        for problem in errors.problems {
            let lines =
                if problem.file == "a" { BASE.lines().count() } else { text.split(['\n', '\r']).count() };
            assert!((1..=lines + 1).contains(&problem.line) && problem.column > 0, "{problem}");
        }
    }
}

fn refused(text: &str, expected: &str) {
    let errors = load_all(&[("a", text)]).unwrap_err().to_string();
    assert!(errors.contains(expected), "{errors}");
}

#[test]
fn what_grows_is_bounded() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        laughs.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    refused(&laughs, "holds more than");
    refused(&format!("a: {}{}", "[".repeat(100), "]".repeat(100)), "nested deeper");
    refused(&(0..100).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect::<String>(), "nested deeper");
    refused(&format!("a: {}", "x".repeat(5 << 20)), "bytes");
    refused("a: &a [*a]", "");
    refused(&format!("a: {}", "[".repeat(100_000)), "");
    refused(&format!("a: {}", "${".repeat(100_000)), "");
    refused(&format!("a: {}{}", "${".repeat(100), "}".repeat(100)), "variables");
    refused(&format!("a: \"{}\"", "${env:LOOP}".repeat(100)), "name itself");
}

#[test]
fn a_variable_that_names_two_others_ends() {
    let twice = |name: &str| {
        let depth: u32 = name.strip_prefix('V')?.parse().ok()?;
        Some(format!("${{V{}}}${{V{}}}", depth + 1, depth + 1))
    };
    let errors = Configuration::load(&[Source::new("a", "a: ${V0}")], &twice).unwrap_err();
    assert!(errors.to_string().contains("variables"), "{errors}");
}

/// One of the things that a configuration is made of.
fn piece() -> impl Strategy<Value = String> {
    let words: Vec<String> = EVERYTHING.split_inclusive([' ', '\n', ':', ',']).map(str::to_owned).collect();
    prop_oneof![
        4 => prop::sample::select(words),
        1 => prop::sample::select(vec!["{", "}", "[", "]", ": ", "- ", "\n", "  ", "&a ", "*a ", "${", "}", "|", ">", "!!str ", "<<: "])
            .prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_survived(text in ".*") {
        survives(&text);
    }

    #[test]
    fn pieces_in_any_order_are_survived(pieces in prop::collection::vec(piece(), 0..60)) {
        survives(&pieces.concat());
    }

    #[test]
    fn a_configuration_with_something_wrong_is_survived(at in 0..EVERYTHING.len(), length in 0..40_usize, with in piece()) {
        let start = (0..=at).rev().find(|at| EVERYTHING.is_char_boundary(*at)).unwrap();
        let rest = EVERYTHING[start..].chars().skip(length).collect::<String>();
        survives(&format!("{}{with}{rest}", &EVERYTHING[..start]));
    }

    #[test]
    fn whole_seconds_read_back(seconds in 0..1_000_000_u64) {
        let over = format!("processors: {{tail_sampling: {{decision_wait: {seconds}s}}}}");
        let loaded = load_all(&[("a", BASE), ("b", &over)]).unwrap();
        let waits = loaded.configuration.processors.values().filter_map(|processor| match processor {
            crate::configuration::Processor::TailSampling(settings) => Some(settings.decision_wait.as_secs()),
            _ => None,
        });
        prop_assert_eq!(waits.collect::<Vec<_>>(), vec![seconds]);
    }
}
