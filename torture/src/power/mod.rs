//! Power that fails under the real server on real file systems.
//!
//! [`device`] is a device that records what is written to it and when it is flushed, [`fuse`] shows it as a file, [`volume`] has the
//! kernel's file systems on a loop device over that file, and [`site`] is what is done with them: servers live on them under load,
//! power is cut in many places of each recording, and what the file system, the log and the server make of what is left is held against what clients were told. [`shutdown`] has the kernel stop a file system on the spot instead, while server and clients look on.
//!
//! Everything is mounted in a mount namespace of this process, and the kernel takes it away with its last process, however that ends.

mod device;
mod fuse;
mod shutdown;
mod site;
mod volume;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use self::site::Site;
use self::volume::{FileSystem, has_program, missing_for_shutdown};
use crate::arguments::Arguments;
use crate::side_by_side::side_by_side;
use crate::tally::PowerTally;

/// What this machine lacks: `NAME: reason` for each file system that cannot be used, or `all: reason`.
pub(crate) fn missing() -> Vec<String> {
    if let Some(reason) = missing_for_all() {
        return vec![format!("all: {reason}")];
    }
    let missing = FileSystem::ALL.iter().filter_map(|file_system| {
        let reason = file_system.missing()?;
        Some(format!("{}: {reason}", file_system.name()))
    });
    let shutdown = missing_for_shutdown().map(|reason| format!("shutdown: {reason}"));
    missing.chain(shutdown).collect()
}

fn missing_for_all() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("file systems are mounted by root only".into());
    }
    for device in [fuse::DEVICE, "/dev/loop-control"] {
        if !Path::new(device).exists() {
            return Some(format!("there is no {device}"));
        }
    }
    let programs = ["mount", "losetup", "unshare", "setpriv"];
    let program = programs.iter().find(|name| !has_program(name))?;
    Some(format!(
        "{program} is not installed (Debian: mount util-linux)"
    ))
}

/// Checks `states` states of the file systems that this machine has.
pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    if let Some(reason) = missing_for_all() {
        return Err(reason);
    }
    if std::env::var_os(ALONE).is_none() {
        return Err(go_alone());
    }
    eprintln!("torture: seed {}", arguments.seed);
    let begin = Instant::now();
    let tally = PowerTally::default();
    let failed = AtomicBool::new(false);
    if let Some(reason) = missing_for_shutdown() {
        eprintln!("torture: SHUTDOWN SKIPPED: {reason}");
    }
    let mut sites = Vec::new();
    for file_system in FileSystem::ALL {
        match file_system.missing() {
            None => sites.push(Site::new(file_system, arguments, &tally, &failed)?),
            Some(reason) => {
                let name = file_system.name().to_uppercase();
                eprintln!("torture: {name} SKIPPED: {reason}");
            }
        }
    }
    let count = sites.len() as u64;
    if count == 0 {
        return Err("no file system can be used".into());
    }
    let share = |nth| arguments.states / count + u64::from(nth < arguments.states % count);
    let shared = sites.into_iter().zip((0..).map(share));
    let done = side_by_side(
        shared.collect(),
        &failed,
        |(site, share)| site.lose_power(share),
        || tally.line(arguments.states, begin.elapsed()),
    );
    tally.findings.count(&done);
    if let Some(path) = &arguments.counts {
        let head = format!("seed\t{}\n", arguments.seed);
        tally.write(path, head, begin.elapsed())?;
    }
    done?;
    tally.print(begin.elapsed());
    if arguments.all_kinds {
        let lacking = FileSystem::ALL.iter().filter(|one| one.missing().is_some());
        let mut except: Vec<String> = lacking
            .map(|one| format!("crash states of {}", one.name()))
            .collect();
        let can_shut_down = FileSystem::ALL
            .iter()
            .any(|one| one.missing().is_none() && one.has_shutdown());
        if missing_for_shutdown().is_some() || !can_shut_down {
            except.push("file systems shut down".into());
        }
        let except: Vec<&str> = except.iter().map(String::as_str).collect();
        tally.require_all(&except)?;
    }
    Ok(())
}

/// Becomes the same program with the same arguments in a mount namespace of its own; returns only when that fails.
fn go_alone() -> String {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return error.to_string(),
    };
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--"]);
    command.arg(program).args(std::env::args_os().skip(1));
    format!("unshare: {}", command.env(ALONE, "yes").exec())
}

/// Set where the mounts of this process are its own.
const ALONE: &str = "TORTURE_HAS_MOUNTS_OF_ITS_OWN";
