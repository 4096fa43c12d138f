//! The torture of `torture/`: the real server, killed at random moments under load, and power that fails under it.

use std::fs;
use std::process::Command;

use crate::{Skippable, evidence, shell, workspace};

/// Kills so many servers. Back-ends that cannot be had are left out, and named.
pub(crate) fn kill(kills: u64) -> Skippable {
    let mut command = program()?;
    command.args(["--kills", &kills.to_string()]);
    let whole = kills >= CI_KILLS;
    if whole {
        command.arg("--all-kinds");
    }
    let mut left_out = None;
    evidence::counted("torture", whole, |path| {
        shell::run(command.arg("--counts").arg(path))?;
        let rows = fs::read_to_string(path);
        let rows = rows.map_err(|error| format!("{}: {error}", path.display()))?;
        let names = rows.lines().find_map(|row| row.strip_prefix(LEFT_OUT));
        left_out = names.map(|names| format!("in part: this machine has no {names}"));
        Ok(())
    })?;
    Ok(left_out)
}

/// Cuts the power of real file systems so often. What cannot be had is left out, and named.
pub(crate) fn lose_power(states: u64) -> Skippable {
    let mut command = program()?;
    let (all, some) = lacks(&command)?;
    if all.is_some() {
        return Ok(all);
    }
    command.args(["--power-loss", "--states", &states.to_string()]);
    let whole = states >= CI_STATES;
    if whole {
        command.arg("--all-kinds");
    }
    evidence::counted("power", whole, |path| {
        shell::run(command.arg("--counts").arg(path))
    })?;
    Ok(some.map(|reasons| format!("in part: {reasons}")))
}

/// Why this machine cannot cut the power of any file system.
pub(crate) fn missing() -> Skippable {
    Ok(lacks(&program()?)?.0)
}

/// What the machine lacks for all file systems, and what for some of them.
fn lacks(program: &Command) -> Result<(Option<String>, Option<String>), String> {
    let output = Command::new(program.get_program())
        .arg("--missing")
        .output()
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let text = text.trim();
    Ok(match text.strip_prefix("all: ") {
        Some(reason) => (Some(reason.to_owned()), None),
        None if text.is_empty() => (None, None),
        None => (None, Some(text.replace('\n', "; "))),
    })
}

/// The program, built as the tests build it: with the product's own assertions. It knows where the server is.
fn program() -> Result<Command, String> {
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
    fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut command = Command::new(target.join("debug/torture"));
    command
        .arg("--server")
        .arg(target.join("debug/trunkline"))
        .arg("--directory")
        .arg(directory);
    Ok(command)
}

/// What CI runs: half a minute to two minutes on two cores.
pub(crate) const CI_KILLS: u64 = 300;
/// What CI runs: one to two minutes on two cores.
pub(crate) const CI_STATES: u64 = 300;
/// The row in which the torture names the back-ends that the machine lacks.
const LEFT_OUT: &str = "back-ends left out\t";
