//! The torture of `torture/`: the real server, killed at random moments under load.

use crate::{Outcome, evidence, shell, workspace};

/// Kills so many servers.
pub(crate) fn run(kills: u64) -> Outcome {
    // As the tests build it: with the product's own assertions.
    let build = [
        "build",
        "--locked",
        "--quiet",
        "--package",
        "trunkline",
        "--package",
        "torture",
    ];
    shell::run(&mut shell::cargo(&build))?;
    let target = workspace::target_dir();
    let directory = target.join("torture");
    std::fs::create_dir_all(&directory)
        .map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut command = std::process::Command::new(target.join("debug/torture"));
    command
        .args(["--kills", &kills.to_string()])
        .arg("--server")
        .arg(target.join("debug/trunkline"))
        .arg("--directory")
        .arg(directory);
    evidence::counted("torture", |path| {
        shell::run(command.arg("--counts").arg(path))
    })
}

/// What CI runs: some two minutes on two cores.
pub(crate) const CI_KILLS: u64 = 300;
