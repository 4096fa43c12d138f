//! Published advisories about what we depend on: `cargo deny` reads them from a database that is fetched.
//!
//! Where the program or the network is missing nothing is checked, and that is said loudly: no network is not the project's
//! fault, so it makes nothing red, and it is asked for a few seconds, so it makes nothing slow.

use std::process::Command;
use std::time::Duration;

use crate::{Skippable, shell, workspace};

/// Checks the dependencies, or says why it could not.
pub(crate) fn run() -> Skippable {
    if !shell::has_cargo_command("deny") {
        return Ok(Some(
            "cargo-deny is not installed (cargo xtask setup installs it where the database can be fetched)"
                .into(),
        ));
    }
    if let Err(reason) = reachable() {
        return Ok(Some(reason));
    }
    if let Err(reason) = shell::run(&mut shell::cargo(&["deny", "fetch", "db"])) {
        return Ok(Some(format!("the database cannot be fetched: {reason}")));
    }
    let check = ["deny", "--locked", "check", "--disable-fetch", "advisories"];
    shell::run(&mut shell::cargo(&check)).map(|()| None)
}

/// Installs `cargo-deny` where there are advisories for it to check; elsewhere it would be built for nothing, and building it
/// takes minutes.
pub(crate) fn install() {
    if shell::has_cargo_command("deny") {
        return;
    }
    let installed = reachable()
        .and_then(|()| shell::run(&mut shell::cargo(&["install", "cargo-deny", "--locked"])));
    if let Err(reason) = installed {
        eprintln!("xtask: cargo-deny is not installed, ADVISORIES WILL NOT BE CHECKED: {reason}");
    }
}

/// Whether the database of `deny.toml` can be fetched from here.
fn reachable() -> Result<(), String> {
    let policy = workspace::root().join("deny.toml");
    let policy = std::fs::read_to_string(policy).map_err(|error| format!("deny.toml: {error}"))?;
    let database = policy
        .split("db-urls = [\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .ok_or("deny.toml names no database (db-urls)")?;
    answers(database)
}

fn answers(repository: &str) -> Result<(), String> {
    let mut ask = Command::new("git");
    ask.args(["ls-remote", "--quiet", repository, "HEAD"])
        .env("GIT_TERMINAL_PROMPT", "0");
    shell::within(&mut ask, PATIENCE)
        .map_err(|reason| format!("the database of advisories cannot be reached: {reason}"))
}

const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_not_there_is_a_reason_to_leave_the_check_out() {
        let reason = answers("file:///nowhere/at/all").unwrap_err();
        assert!(reason.contains("cannot be reached"), "{reason}");
    }

    #[test]
    fn the_policy_names_a_database() {
        // Whether it answers depends on the network; that it is named does not.
        let outcome = reachable();
        assert!(
            outcome
                .as_ref()
                .err()
                .is_none_or(|reason| reason.contains("cannot be reached")),
            "{outcome:?}"
        );
    }
}
