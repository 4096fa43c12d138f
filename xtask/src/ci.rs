//! What CI runs.

use std::time::Instant;

use crate::shell::{self, Tally};
use crate::{Outcome, fuzz, licences, sim, test, tidy};

/// Runs every step, then says how each went. A failed step does not stop the others: one run shows all that is wrong.
pub(crate) fn run() -> Outcome {
    let mut tally = Tally::default();
    let mut rows: Vec<(&str, Outcome, f64)> = Vec::new();
    let steps: [(&str, &mut dyn FnMut() -> Outcome); 8] = [
        ("format", &mut format),
        ("tidy", &mut tidy::run),
        ("licences", &mut licences::run),
        ("lints", &mut lints),
        ("documentation", &mut documentation),
        ("fuzz smoke", &mut || fuzz::smoke()),
        ("simulation", &mut || sim::run(sim::CI_SEEDS)),
        ("test", &mut || test::all(&mut tally)),
    ];
    for (name, step) in steps {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let outcome = step();
        if let Err(message) = &outcome {
            eprintln!("xtask: {name} failed: {message}");
        }
        rows.push((name, outcome, start.elapsed().as_secs_f64()));
    }
    eprintln!();
    for (name, outcome, seconds) in &rows {
        let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
        eprintln!("{name:<16}{verdict:<8}{seconds:>7.1} s");
    }
    test::close(tally);
    let failed: Vec<&str> = rows
        .iter()
        .filter(|row| row.1.is_err())
        .map(|row| row.0)
        .collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("failed: {}", failed.join(", ")))
    }
}

fn format() -> Outcome {
    shell::run(&mut shell::cargo(&["fmt", "--all", "--check"]))
}

fn lints() -> Outcome {
    let arguments = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ];
    shell::run(&mut shell::cargo(&arguments))
}

fn documentation() -> Outcome {
    // Private items are documented too, so a link to one leads somewhere.
    const FLAGS: &str = "-D warnings -A rustdoc::private-intra-doc-links";
    let arguments = [
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--locked",
        "--quiet",
    ];
    shell::run(shell::cargo(&arguments).env("RUSTDOCFLAGS", FLAGS))
}
