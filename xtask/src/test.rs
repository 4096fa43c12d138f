//! Everything that must pass, from a machine that has Rust and nothing else.

use crate::shell::{self, Tally};
use crate::{Outcome, workspace};

/// Runs all tests and closes with the sum of what was run.
pub(crate) fn run() -> Outcome {
    let mut tally = Tally::default();
    let done = all(&mut tally);
    close(tally);
    done
}

/// Examples in documentation, loom models, then the tests: the largest part comes last, because its summary is what one
/// looks for at the end of the output.
pub(crate) fn all(tally: &mut Tally) -> Outcome {
    let nextest = shell::has_cargo_command("nextest");
    let loom = loom(tally);
    let tests = if nextest {
        let doc = ["test", "--workspace", "--doc", "--locked", "--quiet"];
        let doc = shell::run_counting(&mut shell::cargo(&doc), tally);
        let nextest = [
            "nextest",
            "run",
            "--workspace",
            "--locked",
            "--no-fail-fast",
        ];
        doc.and(shell::run_counting(&mut shell::cargo(&nextest), tally))
    } else {
        eprintln!("xtask: cargo-nextest is not installed; cargo test takes its place");
        let test = ["test", "--workspace", "--locked", "--no-fail-fast"];
        shell::run_counting(&mut shell::cargo(&test), tally)
    };
    loom.and(tests)
}

/// The closing line, in the form that CI systems read.
pub(crate) fn close(tally: Tally) {
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
