//! The project's own tasks: `cargo xtask TASK`.
//!
//! What runs here on a laptop is what runs in CI; there is no other script. The rules of the project that a compiler
//! does not check are checked by `tidy`.
#![forbid(unsafe_code)]

mod advisories;
mod bench;
mod ci;
mod evidence;
mod fuzz;
mod licences;
mod miri;
mod mutants;
mod planted;
mod setup;
mod shell;
mod sim;
mod test;
mod tidy;
mod torture;
mod workspace;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["setup"] => setup::run(),
        ["test"] => test::run(),
        ["ci"] => ci::run(),
        ["tidy"] => tidy::run(),
        ["licences"] => licences::run(),
        ["advisories"] => told(advisories::run()),
        ["fuzz"] => fuzz::run(DEFAULT_FUZZ_SECONDS),
        ["fuzz", seconds] => match seconds.parse() {
            Ok(seconds) => fuzz::run(seconds),
            Err(_) => Err(format!("`{seconds}` is not a number of seconds")),
        },
        ["planted"] => planted::run(""),
        ["planted", filter] => planted::run(filter),
        ["miri"] => miri::run(),
        ["mutants"] => mutants::run(None),
        ["mutants", file] => mutants::run(Some(file)),
        ["sim"] => sim::run(sim::CI_SEEDS),
        ["sim", seeds] => match seeds.parse() {
            Ok(seeds) => sim::run(seeds),
            Err(_) => Err(format!("`{seeds}` is not a number of seeds")),
        },
        ["sim", "--small-scope", operations] => match operations.parse() {
            Ok(operations) => sim::small_scope(operations),
            Err(_) => Err(format!("`{operations}` is not a number of operations")),
        },
        ["torture"] => told(torture::kill(torture::CI_KILLS)),
        ["torture", "--kills", kills] => match kills.parse() {
            Ok(kills) => told(torture::kill(kills)),
            Err(_) => Err(format!("`{kills}` is not a number of kills")),
        },
        ["torture", "--power-loss"] => told(torture::lose_power(torture::CI_STATES)),
        ["torture", "--power-loss", "--states", states] => match states.parse() {
            Ok(states) => told(torture::lose_power(states)),
            Err(_) => Err(format!("`{states}` is not a number of crash states")),
        },
        ["evidence"] => evidence::run(),
        ["bench", ref rest @ ..] => bench::run(rest),
        ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        [] => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
        [task, ..] => {
            eprintln!("xtask: `{task}` is not a task, or has other arguments\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

/// What a task returns: the reason in a sentence when it failed.
type Outcome = Result<(), String>;

/// The same for a task that is left out where something is missing: then it returns why.
type Skippable = Result<Option<String>, String>;

/// Says what was left out; nobody else does when a task is run for itself.
fn told(outcome: Skippable) -> Outcome {
    outcome.map(|skipped| {
        if let Some(reason) = skipped {
            eprintln!("xtask: SKIPPED: {reason}");
        }
    })
}

const DEFAULT_FUZZ_SECONDS: u64 = 10;

const HELP: &str = "\
Usage: cargo xtask TASK

  setup           installs what the tests need beside Rust, and cargo-deny, where they are missing and can be had
  test            everything that must pass: tests, examples in the documentation, loom models
  ci              what CI runs: format, lints, documentation, tidy, licences, advisories, fuzz smoke, Miri,
                  simulation, planted bugs, torture, power loss, test; what it leaves out it says at the end
  tidy            the project's rules: crate arrows, unsafe code, leftovers, stray files
  licences        licences of the dependencies
  advisories      published advisories about them, where cargo-deny is installed and the database can be fetched
  fuzz [SECONDS]  each fuzz target for so long (default 10); needs a nightly toolchain and a C++ compiler
  miri            the rings' tests, interpreted access by access; needs a nightly toolchain with Miri
  planted [NAME]  bugs that are planted on purpose, and what catches each; NAME is part of a bug's name
  mutants [FILE]  changes to the log's recovery, or to one file, that a test should notice; needs cargo-mutants, and about an hour
  sim [SEEDS]     the simulated world (default 800 seeds): crashes, disks, networks and clocks that fail; then
                  every sequence of five operations on one log, with every crash
  torture [--kills N]
                  the real server, killed so often (default 300) at random moments under load
  torture --power-loss [--states N]
                  power that fails under the real server on ext4, xfs and btrfs: so many crash states (default 300);
                  needs root, FUSE and loop devices
  evidence        EVIDENCE.md, from what sim, planted, torture and fuzz have counted on this commit
  bench …         the benchmarks behind docs/BENCHMARKS.md, with peers or without; `bench help` says how

CI=true keeps going after a failed step and never asks anything; no task reads standard input.
";
