//! Matching against a naive oracle: enumerate small subjects, compare.

use proptest::prelude::*;
use trunkline_route::{Pattern, Subject, Table};

/// Straight from the definition, by recursion.
fn naive(pattern: &[&str], subject: &[&str]) -> bool {
    match (pattern, subject) {
        ([], []) => true,
        ([">"], [_, ..]) => true,
        (["*", pattern @ ..], [_, subject @ ..]) => naive(pattern, subject),
        ([token, pattern @ ..], [first, subject @ ..]) => token == first && naive(pattern, subject),
        _ => false,
    }
}

fn naive_match(pattern: &str, subject: &str) -> bool {
    naive(
        &pattern.split('.').collect::<Vec<_>>(),
        &subject.split('.').collect::<Vec<_>>(),
    )
}

/// All subjects of one to four tokens over an alphabet that has a token no pattern uses.
fn subjects() -> Vec<String> {
    let tokens = ["a", "bb", "z"];
    let mut all: Vec<String> = tokens.map(String::from).to_vec();
    let mut last = all.clone();
    for _ in 0..4 {
        last = last
            .iter()
            .flat_map(|subject| tokens.map(|token| format!("{subject}.{token}")))
            .collect();
        all.extend_from_slice(&last);
    }
    all
}

fn pattern() -> impl Strategy<Value = String> {
    let token = prop_oneof![Just("a"), Just("bb"), Just("*")];
    (prop::collection::vec(token, 0..4), any::<bool>()).prop_map(|(mut tokens, rest)| {
        if rest || tokens.is_empty() {
            tokens.push(">");
        }
        tokens.join(".")
    })
}

proptest! {
    #[test]
    fn patterns_agree_with_the_definition(ours in pattern(), theirs in pattern()) {
        let (a, b) = (Pattern::new(&ours).unwrap(), Pattern::new(&theirs).unwrap());
        let all = subjects();
        let (mut overlaps, mut contains) = (false, true);
        for subject in &all {
            let (in_a, in_b) = (naive_match(&ours, subject), naive_match(&theirs, subject));
            prop_assert_eq!(a.matches(Subject::new(subject).unwrap()), in_a, "{} {}", ours, subject);
            overlaps |= in_a && in_b;
            contains &= in_a || !in_b;
        }
        prop_assert_eq!(a.overlaps(&b), overlaps, "{} overlaps {}", ours, theirs);
        prop_assert_eq!(b.overlaps(&a), overlaps, "{} overlaps {}", theirs, ours);
        prop_assert_eq!(a.contains(&b), contains, "{} contains {}", ours, theirs);
    }

    #[test]
    fn a_table_agrees_with_its_patterns(
        patterns in prop::collection::vec(pattern(), 0..40),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        seed in any::<u64>(),
    ) {
        let mut table = Table::with_seed(seed);
        let mut model: Vec<(String, usize)> = Vec::new();
        for (value, text) in patterns.iter().enumerate() {
            table.insert(&Pattern::new(text).unwrap(), value);
            model.push((text.clone(), value));
        }
        for index in removed {
            if model.is_empty() { break; }
            let (text, value) = model.remove(index.index(model.len()));
            prop_assert_eq!(table.remove(&Pattern::new(&text).unwrap(), |v| *v == value), 1);
        }
        prop_assert_eq!(table.len(), model.len());
        for subject in subjects() {
            let mut found = Vec::new();
            table.each(Subject::new(&subject).unwrap(), |value| found.push(*value));
            found.sort_unstable();
            let mut expected: Vec<usize> =
                model.iter().filter(|(text, _)| naive_match(text, &subject)).map(|(_, value)| *value).collect();
            expected.sort_unstable();
            prop_assert_eq!(found, expected, "{}", subject);
        }
    }

    #[test]
    fn tokens_of_any_length_are_told_apart(tokens in prop::collection::vec("[a-z]{1,40}", 1..6)) {
        let text = tokens.join(".");
        prop_assume!(text.len() <= 255);
        let mut table = Table::new();
        table.insert(&Pattern::new(&text).unwrap(), ());
        prop_assert!(table.first(Subject::new(&text).unwrap()).is_some());
        let longer = format!("{text}x");
        if longer.len() <= 255 {
            prop_assert!(table.first(Subject::new(&longer).unwrap()).is_none());
        }
    }
}

#[test]
fn a_star_is_exactly_one_token() {
    let pattern = Pattern::new("orders.*").unwrap();
    assert!(pattern.matches_str("orders.eu"));
    assert!(!pattern.matches_str("orders"));
    assert!(!pattern.matches_str("orders.eu.new"));
}

#[test]
fn the_rest_is_at_least_one_token() {
    let pattern = Pattern::new("orders.>").unwrap();
    assert!(!pattern.matches_str("orders"));
    assert!(pattern.matches_str("orders.eu"));
    assert!(pattern.matches_str("orders.eu.new"));
}

#[test]
fn a_wildcard_inside_a_token_is_a_character_like_any_other() {
    let pattern = Pattern::new("orders.eu*").unwrap();
    assert!(pattern.is_literal());
    assert!(pattern.matches_str("orders.eu*"));
    assert!(!pattern.matches_str("orders.eux"));
}

#[test]
fn a_table_whose_last_pattern_went_starts_over_without_growing() {
    let mut table = Table::new();
    for round in 0..1000 {
        let pattern = Pattern::new(&format!("a.{round}.*.b")).unwrap();
        table.insert(&pattern, round);
        assert_eq!(table.remove(&pattern, |_| true), 1);
        assert!(table.is_empty());
    }
    assert_eq!(table.remove(&Pattern::new("a.1.*.b").unwrap(), |_| true), 0);
}
