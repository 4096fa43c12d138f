//! Two runs: the ratio of each row, with its spread, and what got worse. Their samples are put in the groups of distance that they would have as one run.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use bench_harness::summary::{ENOUGH, Spread, Standing, Summary};
use bench_harness::{Figure, Place};

use crate::report::{Report, Row};

/// What differs, for people; what only one of them has is named.
pub fn text(before: &Report, after: &Report) -> String {
    let mut text = String::new();
    if before.run.quick || after.run.quick {
        text += "at least one of these is a quick run\n";
    }
    for difference in differences(before, after) {
        line(&mut text, &format!("the runs differ in {difference}"));
    }
    let (mut worse, mut unpaired) = (Vec::new(), 0);
    for (old, new) in rows(before, after) {
        let pair = match (old, new) {
            (Some(old), Some(new)) => Pair::of(old, new),
            (Some(old), None) => Pair::lone(old, "first"),
            (None, Some(new)) => Pair::lone(new, "second"),
            (None, None) => continue,
        };
        unpaired += pair.unpaired.len();
        worse.extend(pair.worse());
        text += &pair.to_string();
    }
    line(
        &mut text,
        &format!(
            "\n{unpaired} have no counterpart; {} got worse",
            worse.len()
        ),
    );
    for own in worse {
        line(&mut text, &format!("  {own}"));
    }
    text
}

fn line(text: &mut String, what: &str) {
    text.push_str(what);
    text.push('\n');
}

/// Every row of both, each once.
fn rows<'a>(before: &'a Report, after: &'a Report) -> Vec<(Option<&'a Row>, Option<&'a Row>)> {
    let find = |report: &'a Report, row: &Row| {
        let mut rows = report.rows.iter();
        rows.find(|own| own.group == row.group && own.name == row.name)
    };
    let of_after = after.rows.iter().map(|row| (find(before, row), Some(row)));
    let gone = before.rows.iter().filter(|row| find(after, row).is_none());
    of_after.chain(gone.map(|row| (Some(row), None))).collect()
}

/// In what the machines, the peers and the settings differ.
fn differences(before: &Report, after: &Report) -> Vec<String> {
    let facts = |report: &Report| -> Vec<(String, String)> {
        let facts = report.run.machine.iter();
        let facts = facts.filter(|fact| fact.name != "time");
        let facts = facts.map(|fact| (fact.name.clone(), fact.value.clone()));
        let versions = report.versions.iter();
        let versions = versions.map(|(name, own)| (format!("version of {name}"), own.clone()));
        facts.chain(versions).chain(settings(report)).collect()
    };
    let (old, new) = (facts(before), facts(after));
    let value = |facts: &[(String, String)], name: &str| {
        let fact = facts.iter().find(|(own, _)| own == name);
        fact.map_or(NOTHING.to_owned(), |(_, value)| format!("`{value}`"))
    };
    let mut names: Vec<&String> = old.iter().chain(&new).map(|(name, _)| name).collect();
    let mut known = HashSet::new();
    names.retain(|name| known.insert(*name));
    let pairs = names
        .into_iter()
        .map(|name| (name, value(&old, name), value(&new, name)));
    pairs
        .filter(|(_, old, new)| old != new)
        // Who takes part in one only is said in the rows.
        .filter(|(name, old, new)| {
            !(name.starts_with(SETTINGS) && (old == NOTHING || new == NOTHING))
        })
        .map(|(name, old, new)| format!("{name}: {old}, {new}"))
        .collect()
}

/// The settings of everybody, by group; several where rows differ in them.
fn settings(report: &Report) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for row in &report.rows {
        for (name, settings) in &row.contenders {
            let key = format!("{SETTINGS}{} · {name}", row.group);
            all.entry(key).or_default().insert(settings);
        }
    }
    let joined = |settings: BTreeSet<&str>| settings.into_iter().collect::<Vec<_>>().join(" | ");
    all.into_iter()
        .map(|(key, settings)| (key, joined(settings)))
        .collect()
}

const SETTINGS: &str = "settings of ";
const NOTHING: &str = "nothing";

/// A row of both runs.
struct Pair {
    title: String,
    changes: Vec<Change>,
    /// Who came through before and fails now.
    broke: Vec<String>,
    /// What only one of them has.
    unpaired: Vec<String>,
}

impl Pair {
    fn of(before: &Row, after: &Row) -> Self {
        let mut pair = Self::lone(after, "");
        pair.unpaired.clear();
        // As if both were one run: what may stand in one table of it may be compared.
        let places = Place::grouped(before.distances().chain(after.distances()));
        let (old, new) = (&before.at(&places), &after.at(&places));
        for (name, why) in &new.failed {
            match old.failed.iter().any(|(failed, _)| failed == name) {
                true => pair.unpaired.push(format!("{name} failed in both")),
                false => pair.broke.push(format!("{name} failed: {why}")),
            }
        }
        for (name, _) in &old.failed {
            if !new.failed.iter().any(|(failed, _)| failed == name) {
                pair.unpaired.push(format!("{name} failed in the first"));
            }
        }
        for (of, other, which) in [(old, new, "first"), (new, old, "second")] {
            let names = of.contenders.iter();
            let alone = names.filter(|name| !other.contenders.contains(name));
            let said = alone.map(|name| format!("{name} is only in the {which}"));
            pair.unpaired.extend(said);
        }
        pair.take(old, new, &after.shows);
        pair
    }

    /// A row that one of them has.
    fn lone(row: &Row, which: &str) -> Self {
        Self {
            title: format!("{} · {}", row.group, row.name),
            changes: Vec::new(),
            broke: Vec::new(),
            unpaired: vec![format!("the row is only in the {which}")],
        }
    }

    /// Compares what was measured at the same distance.
    fn take(&mut self, old: &Standing, new: &Standing, shows: &[Figure]) {
        let mut paired = Vec::new();
        for own in &new.summaries {
            match counterpart(own, old) {
                Some(before) => {
                    paired.push((&before.contender, before.place));
                    self.compare(before, own, shows);
                }
                None => self.alone(own, old, "second"),
            }
        }
        for own in &old.summaries {
            if !paired.contains(&(&own.contender, own.place)) {
                self.alone(own, new, "first");
            }
        }
    }

    /// Says that figures have no counterpart, unless it is said already that nothing of this contender has.
    fn alone(&mut self, own: &Summary, other: &Standing, which: &str) {
        let name = &own.contender;
        let failed = other.failed.iter().any(|(failed, _)| failed == name);
        if other.contenders.contains(name) && !failed {
            self.unpaired.push(format!(
                "{name} at {}: only the {which} has samples at such a distance",
                own.place
            ));
        }
    }

    fn compare(&mut self, before: &Summary, after: &Summary, shows: &[Figure]) {
        for figure in shows {
            let both = (before.figures.get(figure), after.figures.get(figure));
            if let (Some(a), Some(b)) = both {
                self.changes.push(Change {
                    contender: after.contender.clone(),
                    place: after.place,
                    figure: *figure,
                    before: *a,
                    after: *b,
                    few: before.samples.min(after.samples) < ENOUGH,
                });
            }
        }
    }

    fn worse(&self) -> Vec<String> {
        let changes = self.changes.iter();
        let worse = changes.filter(|change| change.verdict() == Word::Worse);
        let worse = worse.map(Change::to_string);
        worse
            .chain(self.broke.iter().cloned())
            .map(|what| format!("{} · {what}", self.title))
            .collect()
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}", self.title)?;
        for change in &self.changes {
            writeln!(f, "  {change}")?;
        }
        for broke in &self.broke {
            writeln!(f, "  {broke}  WORSE")?;
        }
        for alone in &self.unpaired {
            writeln!(f, "  {alone}")?;
        }
        Ok(())
    }
}

/// The same contender at the same distance.
fn counterpart<'a>(own: &Summary, others: &'a Standing) -> Option<&'a Summary> {
    let mut others = others.summaries.iter();
    others.find(|other| other.contender == own.contender && other.place == own.place)
}

/// One figure of one contender in both runs.
#[derive(Debug)]
struct Change {
    contender: String,
    place: Place,
    figure: Figure,
    before: Spread,
    after: Spread,
    /// One of them has fewer samples than a verdict takes.
    few: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Better,
    Same,
    Worse,
}

impl Change {
    /// Nothing is said of what lies within the samples' spreads, or within three percent, or has few samples, whose spread nobody knows.
    fn verdict(&self) -> Word {
        let apart = self.before.high < self.after.low || self.after.high < self.before.low;
        let ratio = self.after.median / self.before.median;
        if self.few || !apart || !ratio.is_finite() || (0.97..=1.03).contains(&ratio) {
            Word::Same
        } else if (ratio > 1.0) == self.figure.more_is_better() {
            Word::Better
        } else {
            Word::Worse
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (a, b, figure) = (&self.before, &self.after, self.figure);
        let word = match self.verdict() {
            Word::Better => "  better",
            Word::Same if self.few => "  (few samples)",
            Word::Same => "",
            Word::Worse => "  WORSE",
        };
        write!(
            f,
            "{} at {}, {}: {} to {} {}, ratio {:.2} [{:.2}–{:.2}]{word}",
            self.contender,
            self.place,
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
    use bench_harness::machine::Fact;
    use bench_harness::results::{Line, Run};

    use super::*;
    use crate::report::tests::{contender, row, sample};

    fn change(figure: Figure, before: [f64; 3], after: [f64; 3]) -> Word {
        let spread = |[low, median, high]: [f64; 3]| Spread { low, median, high };
        Change {
            contender: String::new(),
            place: Place::at(0.0),
            figure,
            before: spread(before),
            after: spread(after),
            few: false,
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

    /// A contender, a time, and a distance.
    type Took<'a> = (&'a str, f64, f64);

    /// A run of rows, of which everybody has enough samples.
    fn report(rows: &[(&str, &[Took<'_>])], more: Vec<Line>) -> Report {
        report_of(ENOUGH, rows, more)
    }

    fn report_of(samples: usize, rows: &[(&str, &[Took<'_>])], more: Vec<Line>) -> Report {
        let mut lines = Vec::new();
        for (name, contenders) in rows {
            lines.push(row("rings", name));
            for (who, ns, far) in *contenders {
                lines.push(contender("rings", name, who));
                lines.extend((0..samples).map(|_| sample("rings", name, who, *ns, *far)));
            }
        }
        lines.extend(more);
        Report::of(lines)
    }

    fn says(text: &str, what: &[&str]) {
        for what in what {
            assert!(text.contains(what), "`{what}` is not in\n{text}");
        }
    }

    #[test]
    fn what_only_one_run_has_is_named() {
        let before = report(
            &[("one", &[("a", 1.0, 0.0), ("b", 1.0, 0.0)]), ("gone", &[])],
            Vec::new(),
        );
        let after = report(
            &[("one", &[("a", 1.0, 0.0), ("c", 1.0, 0.0)]), ("new", &[])],
            Vec::new(),
        );
        let gone = "rings · gone\n  the row is only in the first\n";
        let new = "rings · new\n  the row is only in the second\n";
        let others = ["b is only in the first", "c is only in the second"];
        let text = text(&before, &after);
        says(
            &text,
            &[gone, new, others[0], others[1], "4 have no counterpart"],
        );
    }

    #[test]
    fn figures_of_different_distances_are_not_compared() {
        let before = report(
            &[("one", &[("a", 1.0, 40.0), ("b", 1.0, 40.0)])],
            Vec::new(),
        );
        let after = report(
            &[("one", &[("a", 9.0, 200.0), ("b", 9.0, 44.0)])],
            Vec::new(),
        );
        let text = text(&before, &after);
        says(
            &text,
            &[
                "a at 40–44 ns: only the first has",
                "a at 200 ns: only the second has",
                "b at 40–44 ns, time: 1.00 to 9.00 ns",
                "1 got worse",
            ],
        );
    }

    #[test]
    fn few_samples_say_nothing() {
        let compared = |samples: usize| {
            let took = |ns: f64| report_of(samples, &[("one", &[("a", ns, 0.0)])], Vec::new());
            text(&took(1.0), &took(9.0))
        };
        says(&compared(ENOUGH - 1), &["(few samples)", "0 got worse"]);
        says(&compared(ENOUGH), &["1 got worse"]);
    }

    #[test]
    fn one_who_fails_now_got_worse() {
        let failed = Line::Failed {
            group: "rings".into(),
            row: "one".into(),
            contender: "a".into(),
            why: "lost one".into(),
        };
        let rows: &[(&str, &[Took<'_>])] = &[("one", &[("a", 1.0, 0.0)])];
        let (well, ill) = (report(rows, Vec::new()), report(rows, vec![failed]));
        says(
            &text(&well, &ill),
            &[
                "a failed: lost one  WORSE",
                "1 got worse",
                "rings · one · a failed",
            ],
        );
        says(
            &text(&ill, &well),
            &["a failed in the first", "0 got worse"],
        );
    }

    #[test]
    fn what_was_not_the_same_is_listed() {
        let of = |commit: &str, version: &str| {
            let machine = vec![
                Fact {
                    name: "commit".into(),
                    value: commit.into(),
                },
                Fact {
                    name: "one synced kilobyte".into(),
                    value: commit.into(),
                },
            ];
            let peer = Line::Peer {
                group: "rings".into(),
                contender: "rtrb".into(),
                version: version.into(),
            };
            let run = Line::Run(Run {
                machine,
                ..Run::default()
            });
            report(&[], vec![run, peer])
        };
        says(
            &text(&of("a", "1"), &of("b", "2")),
            &[
                "differ in commit: `a`, `b`",
                "differ in one synced kilobyte",
                "differ in version of rtrb: `1`, `2`",
            ],
        );
        let mut other = contender("rings", "one", "a");
        if let Line::Contender { settings, .. } = &mut other {
            *settings = "capacity 64".into();
        }
        let before = report(&[("one", &[("a", 1.0, 0.0)])], Vec::new());
        let after = report(&[("one", &[])], vec![other]);
        says(
            &text(&before, &after),
            &["settings of rings · a: `none`, `capacity 64`"],
        );
    }
}
