//! Everything that must pass, from a machine that has Rust and nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use crate::shell::{self, Tally};
use crate::{Outcome, Skippable, evidence, workspace};

/// Runs all tests and closes with the sum of what was run.
pub(crate) fn run() -> Outcome {
    let mut tally = Tally::default();
    let done = all(&mut tally);
    close(&tally);
    done.map(drop)
}

/// As [`parts`]; tests that leave themselves out are counted as what they are, and the counts go to the evidence. Returns how many there are.
pub(crate) fn all(tally: &mut Tally) -> Skippable {
    let path = skips();
    let _ = fs::remove_file(&path);
    let done = parts(tally, &path);
    // There is none when nothing was skipped.
    tally.skip(&fs::read_to_string(&path).unwrap_or_default());
    let counted = evidence::counted("test", true, |path| {
        done.clone()?;
        let mut rows = format!("passed\t{}\nskipped\t{}\n", tally.passed, tally.skipped);
        for (test, reasons) in &tally.reasons {
            let reasons: Vec<&str> = reasons.iter().map(String::as_str).collect();
            rows.push_str(&format!("skipped: {test}\t{}\n", reasons.join("; ")));
        }
        fs::write(path, rows).map_err(|error| format!("{}: {error}", path.display()))
    });
    done?;
    // Tests need no git checkout, evidence does.
    if let Err(error) = counted {
        eprintln!("xtask: the tests count as no evidence: {error}");
    }
    let count = tally.reasons.len();
    Ok((count > 0).then(|| format!("in part: {count} tests, with their reasons below")))
}

/// Where tests that skip say so: they find its name in [`SKIPPED`].
fn skips() -> PathBuf {
    workspace::root()
        .join(workspace::target_dir())
        .join("skipped.tsv")
}

/// Examples in documentation, loom models, then the tests: the largest part comes last, because its summary is what one
/// looks for at the end of the output.
fn parts(tally: &mut Tally, skips: &Path) -> Outcome {
    let nextest = shell::has_cargo_command("nextest");
    let loom = loom(tally);
    let cargo = |arguments: &[&str]| {
        let mut command = shell::cargo(arguments);
        command.env(SKIPPED, skips);
        command
    };
    let tests = if nextest {
        let doc = ["test", "--workspace", "--doc", "--locked", "--quiet"];
        let doc = shell::run_counting(&mut cargo(&doc), tally);
        let nextest = [
            "nextest",
            "run",
            "--workspace",
            "--locked",
            "--no-fail-fast",
        ];
        doc.and(shell::run_counting(&mut cargo(&nextest), tally))
    } else {
        eprintln!("xtask: cargo-nextest is not installed; cargo test takes its place");
        let test = ["test", "--workspace", "--locked", "--no-fail-fast"];
        shell::run_counting(&mut cargo(&test), tally)
    };
    loom.and(tests)
}

/// What was left out and why, and the closing line, in the form that CI systems read.
pub(crate) fn close(tally: &Tally) {
    for (test, reasons) in &tally.reasons {
        for reason in reasons {
            println!("SKIPPED {test}: {reason}");
        }
    }
    println!(
        "\n{} passed, {} failed, {} skipped",
        tally.passed, tally.failed, tally.skipped
    );
}

/// The models of lock-free code, in every crate that depends on loom. They are another build of the same crates, so they
/// get a folder of their own.
fn loom(tally: &mut Tally) -> Outcome {
    let mut outcome = Ok(());
    for package in workspace::members()? {
        let uses_loom = package["dependencies"]
            .as_array()
            .is_some_and(|list| list.iter().any(|dependency| dependency["name"] == "loom"));
        let tests: Vec<&str> = package["targets"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|target| target["kind"][0] == "test")
            .filter_map(|target| target["name"].as_str())
            .filter(|name| name.starts_with("loom"))
            .collect();
        if !uses_loom || tests.is_empty() {
            continue;
        }
        let name = package["name"].as_str().unwrap_or_default();
        let mut command = shell::cargo(&["test", "--release", "--locked", "--package", name]);
        for test in tests {
            command.args(["--test", test]);
        }
        command
            .env("RUSTFLAGS", "--cfg loom")
            .env(
                "LOOM_MAX_PREEMPTIONS",
                std::env::var("LOOM_MAX_PREEMPTIONS").unwrap_or("2".into()),
            )
            // Models need neither the link-time optimisation nor the symbols of a release.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_PROFILE_RELEASE_PANIC", "unwind")
            .env("CARGO_TARGET_DIR", workspace::target_dir().join("loom"));
        outcome = outcome.and(shell::run_counting(&mut command, tally));
    }
    outcome
}

/// In the environment of tests: the file to which they append a line when they skip.
const SKIPPED: &str = "TRUNKLINE_SKIPPED";
