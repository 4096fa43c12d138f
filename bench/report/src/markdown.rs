//! The table for docs/BENCHMARKS.md.

use std::fmt::Write as _;

use bench_harness::Figure;
use bench_harness::summary::{Met, Summary, is_ours};

use crate::report::{Report, Row};

/// The whole report.
pub fn page(report: &Report) -> String {
    let mut text = String::new();
    if report.run.quick {
        text += "**A quick run: to steer by, not to quote.**\n\n";
    }
    text += "## The machine\n\n| | |\n|---|---|\n";
    for fact in &report.run.machine {
        line(
            &mut text,
            format_args!("| {} | {} |", fact.name, cell(&fact.value)),
        );
    }
    for (name, version) in &report.versions {
        line(
            &mut text,
            format_args!("| version of {name} | {} |", cell(version)),
        );
    }
    for (name, why) in &report.absent {
        line(
            &mut text,
            format_args!("| absent: {name} | {} |", cell(why)),
        );
    }
    bars(report, &mut text);
    for group in report.groups() {
        line(&mut text, format_args!("\n## {group}"));
        for row in report.rows.iter().filter(|row| row.group == group) {
            section(row, &mut text);
        }
    }
    settings(report, &mut text);
    text
}

fn bars(report: &Report, text: &mut String) {
    let verdicts = report.verdicts();
    if verdicts.is_empty() {
        return;
    }
    text.push_str("\n## What was to be reached\n\n| row | cores | | |\n|---|---|---|---|\n");
    for (row, verdict) in verdicts {
        let word = match verdict.result {
            Met::No => "**missed**",
            Met::NotJudged => "**not judged**",
            result => result.word(),
        };
        line(
            text,
            format_args!(
                "| {} · {} | {} | {} | {word} |",
                row.group,
                row.name,
                verdict.distance(),
                verdict.text
            ),
        );
    }
}

fn section(row: &Row, text: &mut String) {
    line(text, format_args!("\n### {}\n\n{}.", row.name, row.about));
    for place in row.standing.places() {
        if let Some(sentence) = place.sentence() {
            line(text, format_args!("\n{sentence}"));
        }
        table(row, &row.standing.sorted(place, row.shows[0]), text);
    }
    for contender in row.standing.without() {
        line(
            text,
            format_args!(
                "\n{contender}: no sample counts, all were preempted or taken while the cores moved."
            ),
        );
    }
    for (contender, why) in &row.standing.failed {
        line(
            text,
            format_args!("\n**{contender} failed**: {}", cell(why)),
        );
    }
}

fn table(row: &Row, sorted: &[&Summary], text: &mut String) {
    let ours = sorted.iter().find(|summary| is_ours(summary));
    let ours = ours.and_then(|summary| summary.figures.get(&row.shows[0]));
    text.push_str("\n| |");
    for figure in &row.shows {
        write!(text, " {}, {} |", figure.label(), figure.unit()).expect("a string takes all");
    }
    text.push_str(" ours | samples |\n|---|");
    text.push_str(&"---|".repeat(row.shows.len() + 2));
    text.push('\n');
    for summary in sorted {
        let bold = if is_ours(summary) { "**" } else { "" };
        write!(text, "| {bold}{}{bold} |", summary.contender).expect("a string takes all");
        for figure in &row.shows {
            write!(text, " {} |", spread(summary, *figure)).expect("a string takes all");
        }
        let ratio = ours.zip(summary.figures.get(&row.shows[0]));
        let ratio = ratio.map_or_else(String::new, |(ours, own)| {
            format!("{:.2}×", ours.median / own.median)
        });
        let noise = if summary.disturbed { ", disturbed" } else { "" };
        line(
            text,
            format_args!(" {ratio} | {}{noise} |", summary.samples),
        );
    }
}

/// `median [low–high]`.
pub fn spread(summary: &Summary, figure: Figure) -> String {
    summary
        .figures
        .get(&figure)
        .map_or_else(String::new, |spread| {
            let [median, low, high] =
                [spread.median, spread.low, spread.high].map(|value| figure.show(value));
            format!("{median} [{low}–{high}]")
        })
}

fn settings(report: &Report, text: &mut String) {
    text.push_str("\n## Settings\n\n| | |\n|---|---|\n");
    let mut known: Vec<(&str, &str)> = Vec::new();
    for (name, settings) in report.rows.iter().flat_map(|row| &row.contenders) {
        if !settings.is_empty() && !known.contains(&(name, settings)) {
            known.push((name, settings));
            line(text, format_args!("| {name} | `{}` |", cell(settings)));
        }
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', "; ")
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes all");
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use bench_harness::results::Line;
    use bench_harness::{Bar, Sample};

    use super::*;

    #[test]
    fn a_loss_is_printed_as_plainly_as_a_win() {
        let (group, row) = ("rings".to_owned(), "spsc".to_owned());
        let mut lines = vec![Line::Row {
            group: group.clone(),
            row: row.clone(),
            about: "one thread".into(),
            shows: vec![Figure::Ns],
            bars: vec![Bar::times_best("trunkline", Figure::Ns, 1.0)],
            point: None,
            discard_preempted: false,
        }];
        for (contender, ns) in [("trunkline", 2.0), ("peer", 1.0)] {
            lines.push(crate::report::tests::contender("rings", "spsc", contender));
            let sample = Sample::default().with(Figure::Ns, ns);
            let (group, row) = (group.clone(), row.clone());
            lines.push(Line::Sample {
                group,
                row,
                contender: contender.into(),
                sample,
            });
        }
        let page = page(&Report::of(lines));
        assert!(
            page.contains("| peer | 1.00 [1.00–1.00] | 2.00× | 1 |\n| **trunkline** | 2.00"),
            "{page}"
        );
        assert!(
            page.contains(
                "trunkline, time: 2.00 ns ≤ 1.00 = 1 × peer, of few samples: 1 | **missed** |"
            ),
            "{page}"
        );
    }
}
