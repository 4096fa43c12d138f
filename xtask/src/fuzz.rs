//! The fuzz targets of `fuzz/`, which is a workspace of its own.

use std::path::PathBuf;
use std::process::Command;

use crate::{Outcome, shell, workspace};

/// Runs each target for some seconds.
pub(crate) fn run(seconds: u64) -> Outcome {
    if let Some(reason) = missing() {
        return Err(reason);
    }
    let mut outcome = Ok(());
    for (directory, target) in targets()? {
        let mut command = Command::new("cargo");
        command
            .args(["+nightly", "fuzz", "run", "--fuzz-dir", "."])
            .args([
                target.as_str(),
                "--",
                "-max_len=65536",
                &format!("-max_total_time={seconds}"),
            ])
            .current_dir(directory)
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("CARGO")
            .env("CARGO_TARGET_DIR", workspace::target_dir().join("fuzz"));
        outcome = outcome.and(shell::run(&mut command));
    }
    outcome
}

/// A few seconds of each where the tools are there; elsewhere it says loudly that nothing was fuzzed.
pub(crate) fn smoke() -> Outcome {
    match missing() {
        None => run(3),
        Some(reason) => {
            eprintln!("xtask: FUZZ SMOKE SKIPPED: {reason}");
            Ok(())
        }
    }
}

fn missing() -> Option<String> {
    if !workspace::root().join("fuzz").is_dir() {
        return Some("there is no fuzz directory".into());
    }
    let nightly = shell::output(
        Command::new("rustc")
            .args(["+nightly", "--version"])
            .env_remove("RUSTUP_TOOLCHAIN"),
    );
    if nightly.is_none() {
        return Some("there is no nightly toolchain".into());
    }
    if !shell::has_cargo_command("fuzz") {
        return Some("cargo-fuzz is not installed (cargo install cargo-fuzz)".into());
    }
    None
}

/// Folder and name of each target: `fuzz/` itself or its members.
fn targets() -> Result<Vec<(PathBuf, String)>, String> {
    let root = workspace::root().join("fuzz");
    let mut directories = vec![root.clone()];
    let entries = std::fs::read_dir(&root).map_err(|error| error.to_string())?;
    directories.extend(
        entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_dir()),
    );
    let mut targets = Vec::new();
    for directory in directories {
        let Ok(files) = std::fs::read_dir(directory.join("fuzz_targets")) else {
            continue;
        };
        for file in files.flatten().map(|entry| entry.path()) {
            if file.extension().is_some_and(|extension| extension == "rs") {
                let name = file
                    .file_stem()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                targets.push((directory.clone(), name));
            }
        }
    }
    targets.sort();
    Ok(targets)
}
