//! The simulated world of `sim/`: seeds in which everything goes wrong that can.

use crate::{Outcome, evidence, shell, workspace};

/// Runs so many seeds; every kind of fault must strike at least once.
pub(crate) fn run(seeds: u64) -> Outcome {
    let seeds = seeds.to_string();
    let arguments = [
        "run",
        "--release",
        "--locked",
        "--quiet",
        "--package",
        "sim",
        "--",
        "--all-faults",
        "--seeds",
        &seeds,
    ];
    let mut command = shell::cargo(&arguments);
    // Fast, and yet with the product's own assertions; a folder of its own, because no other build has these settings.
    command
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
        .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true")
        .env("CARGO_TARGET_DIR", workspace::target_dir().join("sim"));
    evidence::counted("sim", |path| shell::run(command.arg("--counts").arg(path)))
}

/// What CI runs: less than a minute on two cores.
pub(crate) const CI_SEEDS: u64 = 800;
