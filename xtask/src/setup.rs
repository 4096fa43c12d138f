//! Installs what the tests need beside Rust.

use std::process::Command;

use crate::{Outcome, advisories, shell};

/// Program, Debian package, and why it is needed.
const NEEDED: [(&str, &str, &str); 3] = [
    ("cc", "gcc libc6-dev", "links every Rust program"),
    ("git", "git", "tells tidy which files belong to the project"),
    (
        "script",
        "bsdutils",
        "gives a command a terminal, in a test of what is shown there",
    ),
];

/// The same, for what only root can do.
const NEEDED_BY_ROOT: [(&str, &str, &str); 5] = [
    (
        "strace",
        "strace",
        "has system calls of the server fail, in its tests",
    ),
    (
        "losetup",
        "mount util-linux",
        "puts file systems on files, for the torture by power loss",
    ),
    (
        "mkfs.ext4",
        "e2fsprogs",
        "makes the file systems whose power fails",
    ),
    (
        "mkfs.xfs",
        "xfsprogs",
        "makes the file systems whose power fails",
    ),
    (
        "mkfs.btrfs",
        "btrfs-progs",
        "makes the file systems whose power fails",
    ),
];

/// Program, how to get it, and what is lost without it.
const OPTIONAL: [(&str, &str, &str); 4] = [
    (
        "cargo-nextest",
        "cargo install cargo-nextest --locked",
        "tests run one crate after another",
    ),
    (
        "cargo-mutants",
        "cargo install cargo-mutants --locked",
        "no `cargo xtask mutants`",
    ),
    (
        "c++",
        "Debian: g++",
        "no fuzz smoke in ci (it needs a nightly toolchain too)",
    ),
    (
        "taskset",
        "Debian: util-linux",
        "bench cannot bind its server to CPUs",
    ),
];

/// Installs what is missing as root on Debian; elsewhere says what to do.
pub(crate) fn run() -> Outcome {
    needed()?;
    advisories::install();
    Ok(())
}

fn needed() -> Outcome {
    let root = shell::output(Command::new("id").arg("-u")).is_some_and(|id| id.trim() == "0");
    let by_root: &[_] = if root { &NEEDED_BY_ROOT } else { &[] };
    let missing: Vec<_> = NEEDED
        .iter()
        .chain(by_root)
        .filter(|needed| !shell::has_program(needed.0))
        .collect();
    for (program, packages, why) in &missing {
        eprintln!("xtask: `{program}` is missing (Debian: {packages}); it {why}");
    }
    for (program, how, loss) in OPTIONAL.iter().filter(|tool| !shell::has_program(tool.0)) {
        eprintln!("xtask: optional: {program} is not installed ({how}); without it: {loss}");
    }
    if missing.is_empty() {
        eprintln!("xtask: everything that the tests need is installed");
        return Ok(());
    }
    if !root || !shell::has_program("apt-get") {
        return Err("install the packages named above, then run `cargo xtask setup` again".into());
    }
    shell::run(Command::new("apt-get").args(["update", "--quiet"]))?;
    let mut install = Command::new("apt-get");
    install.args(["install", "--yes", "--quiet", "--no-install-recommends"]);
    for (_, packages, _) in missing {
        install.args(packages.split(' '));
    }
    shell::run(install.env("DEBIAN_FRONTEND", "noninteractive"))
}
