//! The report as one page that needs nothing else: charts are inside it.

use std::fmt::Write as _;

use bench_harness::summary::{Met, is_ours};
use bench_harness::{Failure, Figure, Place};

use crate::charts::{self, escape};
use crate::markdown::spread;
use crate::report::{Report, Row};

/// The whole page.
///
/// # Errors
/// When a chart cannot be drawn.
pub fn page(report: &Report) -> Result<String, Failure> {
    let mut html = String::from(HEAD);
    if report.run.quick {
        html += "<p class=\"note\">A quick run: to steer by, not to quote.</p>";
    }
    html += "<p>Bars and lines in blue or bold are ours. Every figure is a median; the numbers in brackets are the smallest \
             and the largest sample. Samples taken at different distances of the cores are never mixed. What is lost stands here as what is won.</p>";
    contents(report, &mut html);
    facts(report, &mut html);
    verdicts(report, &mut html);
    for group in report.groups() {
        put(
            &mut html,
            format_args!("<h2 id=\"{0}\">{0}</h2>", escape(group)),
        );
        for row in report.rows.iter().filter(|row| row.group == group) {
            section(row, &mut html)?;
        }
        curves(report, group, &mut html)?;
    }
    settings(report, &mut html);
    html += "</body></html>\n";
    Ok(html)
}

fn contents(report: &Report, html: &mut String) {
    html.push_str(
        "<nav><a href=\"#machine\">machine</a> <a href=\"#bars\">what was to be reached</a>",
    );
    for group in report.groups() {
        put(
            html,
            format_args!(" <a href=\"#{0}\">{0}</a>", escape(group)),
        );
    }
    html.push_str(" <a href=\"#settings\">settings</a></nav>");
}

fn facts(report: &Report, html: &mut String) {
    html.push_str("<h2 id=\"machine\">The machine</h2><table>");
    let mut row = |name: &str, value: &str| {
        put(
            html,
            format_args!(
                "<tr><th>{}</th><td>{}</td></tr>",
                escape(name),
                escape(value)
            ),
        );
    };
    for fact in &report.run.machine {
        row(&fact.name, &fact.value);
    }
    for (name, version) in &report.versions {
        row(&format!("version of {name}"), version);
    }
    for (name, why) in &report.absent {
        row(&format!("absent: {name}"), why);
    }
    html.push_str("</table>");
}

fn verdicts(report: &Report, html: &mut String) {
    html.push_str("<h2 id=\"bars\">What was to be reached</h2><table>");
    for (row, verdict) in report.verdicts() {
        let word = verdict.result.word();
        let class = match verdict.result {
            Met::Yes => "met",
            Met::WithinSpread => "level",
            Met::No => "missed",
            Met::NotJudged => "note",
        };
        put(
            html,
            format_args!(
                "<tr><td>{} · {}</td><td>{}</td><td>{}</td><td class=\"{class}\">{word}</td></tr>",
                escape(&row.group),
                escape(&row.name),
                verdict.distance(),
                escape(&verdict.text)
            ),
        );
    }
    html.push_str("</table>");
}

fn section(row: &Row, html: &mut String) -> Result<(), Failure> {
    put(
        html,
        format_args!(
            "<h3>{}</h3><p>{}.</p>",
            escape(&row.name),
            escape(&row.about)
        ),
    );
    for place in row.standing.places() {
        let summaries = row.standing.sorted(place, row.shows[0]);
        if let Some(sentence) = place.sentence() {
            put(html, format_args!("<p>{sentence}</p>"));
        }
        html.push_str("<table><tr><th></th>");
        for figure in &row.shows {
            put(
                html,
                format_args!("<th>{}, {}</th>", figure.label(), figure.unit()),
            );
        }
        html.push_str("<th>samples</th></tr>");
        for summary in &summaries {
            let class = if is_ours(summary) {
                " class=\"ours\""
            } else {
                ""
            };
            put(
                html,
                format_args!("<tr{class}><td>{}</td>", escape(&summary.contender)),
            );
            for figure in &row.shows {
                put(
                    html,
                    format_args!("<td class=\"n\">{}</td>", spread(summary, *figure)),
                );
            }
            let noise = if summary.disturbed { ", disturbed" } else { "" };
            put(
                html,
                format_args!("<td class=\"n\">{}{noise}</td></tr>", summary.samples),
            );
        }
        html.push_str("</table>");
        html.push_str(&charts::bars(row, place));
        html.push_str(&charts::percentiles(row, place)?.unwrap_or_default());
    }
    for contender in row.standing.without() {
        put(
            html,
            format_args!(
                "<p class=\"note\">{}: no sample counts.</p>",
                escape(contender)
            ),
        );
    }
    for (contender, why) in &row.standing.failed {
        put(
            html,
            format_args!(
                "<p class=\"missed\">{} failed: {}</p>",
                escape(contender),
                escape(why)
            ),
        );
    }
    Ok(())
}

/// Rows that differ in one number, as curves.
fn curves(report: &Report, group: &str, html: &mut String) -> Result<(), Failure> {
    let mut known: Vec<&str> = Vec::new();
    for row in report.rows.iter().filter(|row| row.group == group) {
        let Some(point) = &row.point else { continue };
        if known.contains(&point.curve.as_str()) {
            continue;
        }
        known.push(&point.curve);
        let of_curve = |other: &&Row| {
            other
                .point
                .as_ref()
                .is_some_and(|own| own.curve == point.curve)
        };
        let rows: Vec<&Row> = report.rows.iter().filter(of_curve).collect();
        put(
            html,
            format_args!(
                "<h3>{} over {}</h3>",
                escape(&point.curve),
                escape(&point.axis)
            ),
        );
        let places = rows.iter().flat_map(|row| row.standing.places());
        for place in Place::grouped(places) {
            for figure in [Figure::P50Us, Figure::P99Us] {
                html.push_str(&charts::curve(&rows, place, figure)?.unwrap_or_default());
            }
        }
    }
    Ok(())
}

fn settings(report: &Report, html: &mut String) {
    html.push_str("<h2 id=\"settings\">Settings</h2><table>");
    let mut known: Vec<(&str, &str)> = Vec::new();
    for (name, settings) in report.rows.iter().flat_map(|row| &row.contenders) {
        if !settings.is_empty() && !known.contains(&(name, settings)) {
            known.push((name, settings));
            put(
                html,
                format_args!(
                    "<tr><th>{}</th><td><code>{}</code></td></tr>",
                    escape(name),
                    escape(settings)
                ),
            );
        }
    }
    html.push_str("</table>");
}

fn put(html: &mut String, what: std::fmt::Arguments<'_>) {
    html.write_fmt(what).expect("a string takes all");
    html.push('\n');
}

const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width\"><title>Trunkline beside its peers</title><style>\
body{font:15px/1.45 sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1a1d21;background:#fff}\
table{border-collapse:collapse;margin:.6rem 0}td,th{padding:.2rem .7rem;border-bottom:1px solid #dde1e5;text-align:left;vertical-align:top}\
.n{font-variant-numeric:tabular-nums}.ours{font-weight:bold;color:#0072b2}.met{color:#007a54}.level{color:#7a5c00}.missed{color:#b33000;font-weight:bold}\
.note{background:#fff6da;padding:.5rem .8rem}nav{margin:1rem 0}nav a{margin-right:.8rem}svg{display:block;max-width:100%;margin:.6rem 0}\
code{font-size:13px}h2{border-top:2px solid #1a1d21;padding-top:.6rem;margin-top:2.4rem}</style></head><body>\
<h1>Trunkline beside its peers</h1>";

#[cfg(test)]
mod tests {
    use bench_harness::results::Line;
    use bench_harness::row::Point;
    use bench_harness::{Latency, Sample};

    use super::*;

    #[test]
    fn the_page_holds_everything_it_shows() {
        let mut lines = Vec::new();
        for (row, at) in [("at 1 k/s", 1e3), ("at 10 k/s", 1e4)] {
            lines.push(Line::Row {
                group: "broker".into(),
                row: row.into(),
                about: "a < b & c".into(),
                shows: vec![Figure::P50Us],
                bars: Vec::new(),
                point: Some(Point {
                    curve: "latency".into(),
                    axis: "messages per second".into(),
                    at,
                }),
                discard_preempted: false,
            });
            for (contender, ns) in [("trunkline", 9_000), ("peer", 20_000)] {
                lines.push(crate::report::tests::contender("broker", row, contender));
                let mut latency = Latency::default();
                (0..1000).for_each(|more| latency.record(ns + more * 10));
                let sample = Sample {
                    crossing_ns: [40.0; 2],
                    ..Sample::default()
                }
                .with_latency(latency);
                let (group, row) = ("broker".into(), row.into());
                lines.push(Line::Sample {
                    group,
                    row,
                    contender: contender.into(),
                    sample,
                });
            }
        }
        let page = page(&Report::of(lines)).unwrap();
        assert!(page.contains("a &lt; b &amp; c"));
        assert_eq!(
            page.matches("<svg").count(),
            2 * 2 + 2,
            "bars and percentiles of two rows, two curves"
        );
        for outside in ["src=", "href=\"http", "url(", "@import", "<script"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
