//! What a run's results say.
//!
//! ```text
//! bench-report write RESULTS.jsonl      results.md, report.html and throughput.svg beside it
//! bench-report compare A.jsonl B.jsonl  the ratio of each row, with its spread, and what got worse
//! bench-report flame TITLE < SCRIPT     a flame graph of what `perf script` printed
//! ```
#![forbid(unsafe_code)]

mod charts;
mod compare;
mod flame;
mod html;
mod markdown;
mod report;

use std::path::Path;
use std::process::ExitCode;

use bench_harness::Failure;

use report::Report;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["write", results] => write(Path::new(results)),
        ["compare", before, after] => compare(Path::new(before), Path::new(after)),
        ["flame", title] => std::io::read_to_string(std::io::stdin())
            .map_err(|error| error.to_string())
            .and_then(|script| flame::svg(title, &script))
            .map(|picture| print!("{picture}")),
        _ => Err("write RESULTS, compare A B, or flame TITLE".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn write(results: &Path) -> Result<(), Failure> {
    let report = Report::read(results)?;
    if report.rows.is_empty() {
        return Err(format!(
            "{}: nothing was measured, as no row and contender are called what was asked for",
            results.display()
        ));
    }
    let folder = results.parent().unwrap_or(Path::new("."));
    let keep = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        eprintln!("{}", path.display());
        Ok::<_, Failure>(())
    };
    keep("results.md", markdown::page(&report))?;
    keep("report.html", html::page(&report)?)?;
    // What the README shows.
    let shown = |row: &&report::Row| row.group == "broker" && row.name == "throughput 1→1, 64 B";
    if let Some(row) = report.rows.iter().find(shown)
        && let Some(place) = row.standing.places().first()
    {
        keep("throughput.svg", charts::bars(row, *place))?;
    }
    Ok(())
}

fn compare(before: &Path, after: &Path) -> Result<(), Failure> {
    let (before, after) = (Report::read(before)?, Report::read(after)?);
    print!("{}", compare::text(&before, &after));
    Ok(())
}
