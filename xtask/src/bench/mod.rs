//! Side by side: builds the comparisons below `bench/` and our server, runs them, and has a report written.
//!
//! A group is a program `bench-NAME` of the workspace `bench/` that takes the options of `bench_harness::Options`. A new one
//! is a folder there and a name in [`GROUPS`].

mod aeron;
mod install;
mod options;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::SIGINT;
use signal_hook::flag;

use self::options::{Options, Task};
use crate::{Outcome, shell, workspace};

/// A group.
#[derive(Clone, Copy)]
struct Group {
    name: &'static str,
    /// It starts our server.
    serves: bool,
    /// Something of ours takes part.
    ours: bool,
}

/// The groups in the order in which they run.
const GROUPS: [Group; 6] = [
    group("parts"),
    group("rings"),
    group("tcp"),
    group("log"),
    Group {
        serves: true,
        ..group("broker")
    },
    Group {
        ours: false,
        ..group("ipc")
    },
];

const fn group(name: &'static str) -> Group {
    Group {
        name,
        serves: false,
        ours: true,
    }
}

/// `cargo xtask bench …`.
pub(crate) fn run(arguments: &[&str]) -> Outcome {
    match options::parse(arguments)? {
        Task::Help => {
            print!("{}", options::HELP);
            Ok(())
        }
        Task::Run(options) => measure(&options),
        Task::Compare(before, after) => {
            build(&["bench-report".to_owned()])?;
            let arguments = [
                "compare".into(),
                results_file(&before),
                results_file(&after),
            ];
            shell::run(program("report").args(arguments))
        }
        Task::Report(folder) => {
            build(&["bench-report".to_owned()])?;
            report(&folder)
        }
    }
}

fn measure(options: &Options) -> Outcome {
    let groups = wanted(options)?;
    if let Some(server) = options.server.as_ref().filter(|server| !server.is_file()) {
        return Err(format!(
            "--server {}: there is no such file",
            server.display()
        ));
    }
    let peers = if options.peers {
        Some(install::peers(options.install)?)
    } else {
        None
    };
    let packages = groups.iter().map(|group| format!("bench-{}", group.name));
    let packages: Vec<String> = packages.chain(["bench-report".to_owned()]).collect();
    // Of what is built now, whatever becomes of the sources while it runs.
    let commit = shell::output(
        Command::new("git")
            .args(["describe", "--always", "--dirty"])
            .current_dir(workspace::root()),
    );
    build(&packages)?;
    let server = match &options.server {
        Some(server) => server.clone(),
        None if groups.iter().any(|group| group.serves) => build_server()?,
        None => PathBuf::new(),
    };
    let folder = if options.list {
        None
    } else {
        Some(folder(options)?)
    };
    if let Some(folder) = &folder {
        eprintln!("\nxtask: results go to {}", folder.display());
    }
    let mut failed = Vec::new();
    let interrupted = Arc::new(AtomicBool::new(false));
    flag::register_conditional_shutdown(SIGINT, 130, interrupted.clone())
        .and_then(|_| flag::register(SIGINT, interrupted.clone()))
        .map_err(|error| format!("cannot listen to signals: {error}"))?;
    for group in &groups {
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
        let mut command = program(group.name);
        if let Some(folder) = &folder {
            command.arg("--out").arg(folder.join(RESULTS));
        }
        if group.serves {
            command.arg("--server").arg(&server);
        }
        if let Some(commit) = &commit {
            command.env("TRUNKLINE_BENCH_COMMIT", commit.trim());
        }
        if let Some(peers) = &peers {
            command.env("TRUNKLINE_BENCH_PEERS", peers);
        } else {
            command.arg("--ours");
        }
        command.args(&options.passed);
        if let Err(why) = shell::run(&mut command) {
            failed.push(why);
        }
    }
    if let Some(folder) = folder.as_ref().filter(|own| own.join(RESULTS).exists())
        && let Err(why) = report(folder)
    {
        failed.push(why);
    }
    if let (true, Some(folder)) = (interrupted.load(Ordering::Relaxed), &folder) {
        return Err(format!(
            "interrupted; the same command goes on with what is complete when it has `--out {}` (`--resume`, where that is the newest run)",
            folder.display()
        ));
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("; "))
    }
}

fn wanted(options: &Options) -> Result<Vec<Group>, String> {
    let known = |name: &str| GROUPS.iter().any(|group| group.name == name);
    if let Some(stranger) = options.only.iter().find(|name| !known(name)) {
        let names: Vec<&str> = GROUPS.iter().map(|group| group.name).collect();
        return Err(format!(
            "there is no group `{stranger}`; there are {}",
            names.join(", ")
        ));
    }
    let all = options.only.is_empty();
    let named = |group: &Group| options.only.iter().any(|only| only == group.name);
    Ok(GROUPS
        .into_iter()
        .filter(|group| named(group) || (all && (group.ours || options.peers)))
        .collect())
}

/// Builds programs of the workspace `bench/`.
fn build(packages: &[String]) -> Outcome {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["build", "--release", "--locked"])
        .current_dir(workspace::root().join("bench"))
        .env("CARGO_TARGET_DIR", target_dir());
    for package in packages {
        command.args(["--package", package]);
    }
    shell::run(&mut command)
}

fn build_server() -> Result<PathBuf, String> {
    let arguments = ["build", "--release", "--locked", "--package", "trunkline"];
    shell::run(&mut shell::cargo(&arguments))?;
    Ok(workspace::target_dir().join("release/trunkline"))
}

fn program(name: &str) -> Command {
    Command::new(target_dir().join(format!("release/bench-{name}")))
}

fn report(folder: &Path) -> Outcome {
    shell::run(program("report").arg("write").arg(results_file(folder)))
}

/// A new folder for results, or the newest one to go on with.
fn folder(options: &Options) -> Result<PathBuf, String> {
    if let Some(out) = &options.out {
        return make(out.clone());
    }
    let root = target_dir().join("results");
    if options.resume {
        let entries =
            std::fs::read_dir(&root).map_err(|error| format!("{}: {error}", root.display()))?;
        let newest = entries.flatten().map(|entry| entry.path()).max();
        return newest.ok_or_else(|| "there is no run to go on with".into());
    }
    let time = shell::output(Command::new("date").args(["-u", "+%Y-%m-%d-%H%M%S"]));
    make(root.join(time.ok_or("no `date`")?.trim()))
}

fn make(folder: PathBuf) -> Result<PathBuf, String> {
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder)
}

/// The results in a folder, or the file itself.
fn results_file(path: &Path) -> std::ffi::OsString {
    if path.is_dir() {
        path.join(RESULTS).into()
    } else {
        path.into()
    }
}

fn target_dir() -> PathBuf {
    workspace::target_dir().join("bench")
}

const RESULTS: &str = "results.jsonl";
