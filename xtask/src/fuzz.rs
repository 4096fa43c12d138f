//! The fuzz targets of `fuzz/`, which is a workspace of its own.
//!
//! libFuzzer needs a nightly compiler's coverage and a C++ compiler; `cargo fuzz` only passes the flags below, so it is not
//! needed here. The flags are those that it passes.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use crate::{Outcome, Skippable, evidence, shell, workspace};

/// Runs each target for some seconds.
pub(crate) fn run(seconds: u64) -> Outcome {
    if let Some(reason) = missing() {
        return Err(reason);
    }
    let host = workspace::host()?;
    let target_dir = workspace::target_dir().join("fuzz");
    let mut build = nightly(&["build", "--release", "--bins", "--quiet", "--target", &host]);
    shell::run(
        build
            .env("RUSTFLAGS", FLAGS.join(" "))
            .env("CARGO_TARGET_DIR", &target_dir),
    )?;
    let (mut outcome, mut rows) = (Ok(()), String::new());
    for target in targets()? {
        let corpus = root().join("corpus").join(&target);
        std::fs::create_dir_all(&corpus)
            .map_err(|error| format!("{}: {error}", corpus.display()))?;
        let artifacts = root().join("artifacts").join(&target);
        std::fs::create_dir_all(&artifacts)
            .map_err(|error| format!("{}: {error}", artifacts.display()))?;
        let mut command = Command::new(target_dir.join(&host).join("release").join(&target));
        command.arg(&corpus);
        // Inputs to begin with, which are committed; what is found goes to the first folder.
        let seeds = root().join("seeds").join(&target);
        if seeds.is_dir() {
            command.arg(&seeds);
        }
        command
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .args([
                "-max_len=65536",
                "-timeout=10",
                "-print_final_stats=0",
                "-verbosity=0",
            ])
            .current_dir(root());
        let begin = Instant::now();
        outcome = outcome.and(shell::run(&mut command));
        rows.push_str(&format!("{target}\t{:.1}\n", begin.elapsed().as_secs_f64()));
    }
    evidence::counted("fuzz", seconds >= CI_SECONDS, |path| {
        outcome?;
        std::fs::write(path, rows).map_err(|error| format!("{}: {error}", path.display()))
    })
}

/// A few seconds of each where the tools are there; elsewhere it says why nothing was fuzzed.
pub(crate) fn smoke() -> Skippable {
    match missing() {
        None => run(CI_SECONDS).map(|()| None),
        skipped => Ok(skipped),
    }
}

/// For each target: enough to see that it runs.
const CI_SECONDS: u64 = 3;

fn root() -> PathBuf {
    workspace::root().join("fuzz")
}

fn missing() -> Option<String> {
    if !root().join("Cargo.toml").is_file() {
        return Some("there is no fuzz workspace".into());
    }
    if shell::output(&mut nightly(&["--version"])).is_none() {
        return Some("there is no nightly toolchain (rustup toolchain install nightly)".into());
    }
    let compilers = ["c++", "g++", "clang++"];
    if !compilers
        .iter()
        .any(|compiler| shell::has_program(compiler))
    {
        return Some("there is no C++ compiler for libFuzzer (Debian: g++)".into());
    }
    None
}

/// Cargo of the nightly toolchain, in the fuzz workspace.
fn nightly(arguments: &[&str]) -> Command {
    let mut command = shell::nightly(arguments);
    command.current_dir(root());
    command
}

/// The programs of the fuzz workspace.
fn targets() -> Result<Vec<String>, String> {
    let mut command = nightly(&["metadata", "--no-deps", "--format-version", "1"]);
    let text = shell::output(&mut command).ok_or("cargo metadata of fuzz/ failed")?;
    let metadata: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let targets = metadata["packages"].as_array().into_iter().flatten();
    let targets = targets.flat_map(|package| package["targets"].as_array().into_iter().flatten());
    let programs = targets.filter(|target| target["kind"][0] == "bin");
    Ok(programs
        .filter_map(|target| target["name"].as_str().map(str::to_owned))
        .collect())
}

const FLAGS: [&str; 10] = [
    "--cfg fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Zsanitizer=address",
    "-Ccodegen-units=1",
    "-Cdebug-assertions",
];
