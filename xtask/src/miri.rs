//! Miri: the rings' tests, interpreted access by access. It finds what no test on a processor sees: reads of memory that is not
//! initialised, references that others still use, races.

use crate::{Outcome, Skippable, shell, workspace};

/// Runs the tests of the crate in which threads share memory, with the smaller counts that they have under Miri.
pub(crate) fn run() -> Outcome {
    match missing() {
        Some(reason) => Err(reason),
        None => shell::run(
            shell::nightly(&[
                "miri",
                "test",
                "--package",
                "trunkline-ring",
                "--lib",
                "--tests",
                "--locked",
            ])
            .current_dir(workspace::root())
            // Not where other clones build: Miri's test programs remember the directory that they were built in.
            .env("CARGO_TARGET_DIR", workspace::root().join("target/miri")),
        ),
    }
}

/// The same where Miri is there; elsewhere it says why nothing was run.
pub(crate) fn where_it_is() -> Skippable {
    match missing() {
        None => run().map(|()| None),
        skipped => Ok(skipped),
    }
}

fn missing() -> Option<String> {
    const INSTALL: &str = "rustup toolchain install nightly -c miri -c rust-src";
    // The second one builds the standard library for Miri, once for each toolchain.
    for (arguments, what) in [
        (
            ["miri", "--version"],
            "there is no nightly toolchain with Miri",
        ),
        (["miri", "setup"], "Miri has no standard library"),
    ] {
        if shell::output(&mut shell::nightly(&arguments)).is_none() {
            return Some(format!("{what} ({INSTALL})"));
        }
    }
    None
}
