//! The benchmarks behind docs/BENCHMARKS.md, in versions that take minutes.

use std::process::Command;

use crate::{Outcome, shell, workspace};

/// Runs the criterion benchmarks of our crates, the comparisons with peers below `bench/`, and the end-to-end run of the
/// binary; with a filter only those whose crate or name contains it.
pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let filter = arguments.first().copied().unwrap_or_default();
    parts(filter)?;
    peers(filter)?;
    if "trunkline".contains(filter) || "end-to-end".contains(filter) {
        end_to_end()?;
    }
    Ok(())
}

/// The criterion benchmarks of the workspace.
fn parts(filter: &str) -> Outcome {
    for package in workspace::members()? {
        let name = package["name"].as_str().unwrap_or_default();
        let targets = package["targets"].as_array().into_iter().flatten();
        for target in targets.filter(|target| target["kind"][0] == "bench") {
            let bench = target["name"].as_str().unwrap_or_default();
            if name.contains(filter) || bench.contains(filter) {
                let run = ["bench", "--locked", "--package", name, "--bench", bench];
                shell::run(&mut shell::cargo(&run))?;
            }
        }
    }
    Ok(())
}

/// The comparisons, each a program of the workspace `bench/` that takes `--quick`.
fn peers(filter: &str) -> Outcome {
    let root = workspace::root().join("bench");
    let entries = std::fs::read_dir(&root).map_err(|error| format!("bench: {error}"))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    for name in names.iter().filter(|name| name.contains(filter)) {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .args(["run", "--release", "--", "--quick"])
            .current_dir(root.join(name))
            .env("CARGO_TARGET_DIR", workspace::target_dir().join("bench"));
        shell::run(&mut command)?;
    }
    Ok(())
}

/// Throughput and latency through a server.
fn end_to_end() -> Outcome {
    shell::run(&mut shell::cargo(&[
        "build",
        "--release",
        "--locked",
        "--package",
        "trunkline",
    ]))?;
    let binary = workspace::target_dir().join("release/trunkline");
    shell::run(Command::new(binary).arg("bench"))
}
