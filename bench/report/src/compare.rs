//! Two runs: the ratio of each row, with its spread, and what got worse.

use std::fmt::Write as _;

use bench_harness::Figure;
use bench_harness::summary::{Spread, Summary};

use crate::report::{Report, Row};

/// What differs, for people. Rows that only one of them has, and figures of other places, are left out and counted.
pub fn text(before: &Report, after: &Report) -> String {
    let mut text = String::new();
    if before.run.quick || after.run.quick {
        text += "at least one of these is a quick run\n";
    }
    for name in differing_facts(before, after) {
        writeln!(text, "the runs differ in: {name}").expect("a string takes all");
    }
    let (mut worse, mut alone) = (Vec::new(), 0);
    for row in &after.rows {
        let Some(old) = before
            .rows
            .iter()
            .find(|old| old.group == row.group && old.name == row.name)
        else {
            alone += 1;
            continue;
        };
        let changes = changes(old, row);
        if !changes.is_empty() {
            writeln!(text, "\n{} · {}", row.group, row.name).expect("a string takes all");
        }
        for change in changes {
            writeln!(text, "  {change}").expect("a string takes all");
            if change.verdict() == Word::Worse {
                worse.push(format!("{} · {} · {}", row.group, row.name, change));
            }
        }
    }
    writeln!(
        text,
        "\n{} rows have no counterpart; {} figures got worse",
        alone,
        worse.len()
    )
    .expect("a string takes all");
    for line in worse {
        writeln!(text, "  {line}").expect("a string takes all");
    }
    text
}

fn differing_facts(before: &Report, after: &Report) -> Vec<String> {
    let matter = [
        "processor",
        "cores",
        "kernel",
        "governor",
        "disk",
        "compiler",
    ];
    let value = |report: &Report, name: &str| {
        report
            .run
            .machine
            .iter()
            .find(|fact| fact.name == name)
            .map(|fact| fact.value.clone())
    };
    let differ = matter
        .iter()
        .filter(|name| value(before, name) != value(after, name));
    differ
        .map(|name| {
            format!(
                "{name}: {:?}, {:?}",
                value(before, name),
                value(after, name)
            )
        })
        .collect()
}

fn changes(before: &Row, after: &Row) -> Vec<Change> {
    let mut changes = Vec::new();
    for new in &after.standing.summaries {
        let same = |old: &&Summary| old.contender == new.contender && old.place == new.place;
        let Some(old) = before.standing.summaries.iter().find(same) else {
            continue;
        };
        for figure in &after.shows {
            if let (Some(a), Some(b)) = (old.figures.get(figure), new.figures.get(figure)) {
                changes.push(Change {
                    contender: new.contender.clone(),
                    figure: *figure,
                    before: *a,
                    after: *b,
                });
            }
        }
    }
    changes
}

/// One figure of one contender in both runs.
#[derive(Debug)]
struct Change {
    contender: String,
    figure: Figure,
    before: Spread,
    after: Spread,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Better,
    Same,
    Worse,
}

impl Change {
    /// Nothing is said of what lies within the samples' spreads, or within three percent.
    fn verdict(&self) -> Word {
        let apart = self.before.high < self.after.low || self.after.high < self.before.low;
        let ratio = self.after.median / self.before.median;
        if !apart || !ratio.is_finite() || (0.97..=1.03).contains(&ratio) {
            Word::Same
        } else if (ratio > 1.0) == self.figure.more_is_better() {
            Word::Better
        } else {
            Word::Worse
        }
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (a, b, figure) = (&self.before, &self.after, self.figure);
        let word = match self.verdict() {
            Word::Better => "  better",
            Word::Same => "",
            Word::Worse => "  WORSE",
        };
        write!(
            f,
            "{}, {}: {} to {} {}, ratio {:.2} [{:.2}–{:.2}]{word}",
            self.contender,
            figure.label(),
            figure.show(a.median),
            figure.show(b.median),
            figure.unit(),
            b.median / a.median,
            b.low / a.high,
            b.high / a.low,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(figure: Figure, before: [f64; 3], after: [f64; 3]) -> Word {
        let spread = |[low, median, high]: [f64; 3]| Spread { low, median, high };
        Change {
            contender: String::new(),
            figure,
            before: spread(before),
            after: spread(after),
        }
        .verdict()
    }

    #[test]
    fn only_what_lies_outside_both_spreads_has_changed() {
        assert_eq!(
            change(Figure::PerSecond, [9.0, 10.0, 11.0], [10.0, 12.0, 13.0]),
            Word::Same
        );
        assert_eq!(
            change(Figure::PerSecond, [9.0, 10.0, 11.0], [12.0, 12.5, 13.0]),
            Word::Better
        );
        assert_eq!(
            change(Figure::P50Us, [9.0, 10.0, 11.0], [12.0, 12.5, 13.0]),
            Word::Worse
        );
        assert_eq!(
            change(Figure::P50Us, [9.99, 10.0, 10.0], [10.1, 10.1, 10.1]),
            Word::Same
        );
    }
}
