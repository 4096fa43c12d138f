//! The simulated world of `sim/`: seeds in which everything goes wrong that can.

use std::process::Command;

use crate::{Outcome, evidence, shell, workspace};

/// Runs so many seeds, of which every kind of fault must strike at least once, and everything that is small.
pub(crate) fn run(seeds: u64) -> Outcome {
    let (whole, seeds) = (seeds >= CI_SEEDS, seeds.to_string());
    let mut command = program(&["--all-faults", "--seeds", &seeds]);
    evidence::counted("sim", whole, |path| {
        shell::run(command.arg("--counts").arg(path))
    })?;
    small_scope(OPERATIONS)
}

/// Every sequence of so many operations on one log, and every crash.
pub(crate) fn small_scope(operations: u64) -> Outcome {
    let (whole, operations) = (operations >= OPERATIONS, operations.to_string());
    let mut command = program(&["--small-scope", &operations]);
    evidence::counted("small", whole, |path| {
        shell::run(command.arg("--counts").arg(path))
    })
}

fn program(words: &[&str]) -> Command {
    let arguments = [
        "run",
        "--release",
        "--locked",
        "--quiet",
        "--package",
        "sim",
        "--",
    ];
    let mut command = shell::cargo(&arguments);
    // Fast, and yet with the product's own assertions; a folder of its own, because no other build has these settings.
    command
        .args(words)
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
        .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true")
        .env("CARGO_TARGET_DIR", workspace::target_dir().join("sim"));
    command
}

/// What CI runs: less than a minute on two cores.
pub(crate) const CI_SEEDS: u64 = 800;
/// Operations of a sequence: less than a minute on two cores.
pub(crate) const OPERATIONS: u64 = 5;
