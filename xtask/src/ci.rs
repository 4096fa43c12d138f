//! What CI runs.

use std::time::Instant;

use crate::shell::{self, Tally};
use crate::{
    Outcome, Skippable, advisories, fuzz, licences, miri, planted, sim, test, tidy, torture,
};

/// Runs every step, then says how each went. A failed step does not stop the others: one run shows all that is wrong.
pub(crate) fn run() -> Outcome {
    let mut tally = Tally::default();
    let mut rows: Vec<(&str, Skippable, f64)> = Vec::new();
    let whole = |outcome: Outcome| outcome.map(|()| None);
    let steps: [(&str, &mut dyn FnMut() -> Skippable); 13] = [
        ("format", &mut || whole(format())),
        ("tidy", &mut || whole(tidy::run())),
        ("licences", &mut || whole(licences::run())),
        ("advisories", &mut advisories::run),
        ("lints", &mut || whole(lints())),
        ("documentation", &mut || whole(documentation())),
        ("fuzz smoke", &mut fuzz::smoke),
        ("miri", &mut miri::where_it_is),
        ("simulation", &mut || whole(sim::run(sim::CI_SEEDS))),
        ("planted bugs", &mut || whole(planted::run(""))),
        ("torture", &mut || torture::kill(torture::CI_KILLS)),
        ("power loss", &mut || {
            torture::lose_power(torture::CI_STATES)
        }),
        ("test", &mut || test::all(&mut tally)),
    ];
    for (name, step) in steps {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let outcome = step();
        match &outcome {
            Err(message) => eprintln!("xtask: {name} failed: {message}"),
            Ok(Some(reason)) => eprintln!("xtask: {name} SKIPPED: {reason}"),
            Ok(None) => {}
        }
        rows.push((name, outcome, start.elapsed().as_secs_f64()));
    }
    eprintln!();
    for (name, outcome, seconds) in &rows {
        let verdict = match outcome {
            Ok(None) => "ok",
            Ok(Some(_)) => "SKIPPED",
            Err(_) => "FAILED",
        };
        eprintln!("{name:<16}{verdict:<8}{seconds:>7.1} s");
    }
    for (name, outcome, _) in &rows {
        if let Ok(Some(reason)) = outcome {
            eprintln!("{name} SKIPPED: {reason}");
        }
    }
    test::close(&tally);
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
