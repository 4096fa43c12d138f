//! Files and file systems of the machine, for servers that meet bad ones.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Server;

/// The segment files of stream `main`, oldest first.
pub(crate) fn segments(server: &Server) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(server.data().join("streams/main"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

/// Every file below a directory.
pub(crate) fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

/// Flags with which `unshare` gives a process mounts of its own here, so that nothing is left behind however a test ends.
pub(crate) fn mount_namespace() -> Option<&'static str> {
    let found = ["-Urm", "-m"].into_iter().find(|flags| {
        let tried = Command::new("unshare")
            .args([flags, "sh", "-c", "mount -t tmpfs none /mnt"])
            .output();
        tried.is_ok_and(|output| output.status.success())
    });
    if found.is_none() {
        eprintln!("SKIPPED: this user cannot mount a small file system (unshare -Urm)");
    }
    found
}

/// The command in a namespace in which a file system of its own is mounted.
pub(crate) fn mounted(namespace: &str, options: &str, at: &Path, command: &Command) -> Command {
    let mut outer = Command::new("unshare");
    outer
        .args([
            namespace,
            "sh",
            "-c",
            "mount -t tmpfs -o \"$0\" none \"$1\" && shift && exec \"$@\"",
            options,
        ])
        .arg(at)
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(key, value),
            None => outer.env_remove(key),
        };
    }
    outer
}
