//! Files and file systems of the machine, for servers that meet bad ones.

use std::collections::BTreeMap;
use std::fs;
use std::io::IoSlice;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Resource, Rlimit, prlimit};
use trunkline_reactor::{AnyReactor, Config, IoBackend};

use super::skipped::skipped;
use super::{Server, pid};

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

/// Where a segment of stream `main` is, or would be.
pub(crate) fn segment(server: &Server, index: u64) -> PathBuf {
    server.data().join(format!("streams/main/{index:016x}.seg"))
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
        skipped("this user cannot mount a small file system (unshare -Urm)");
    }
    found
}

/// The command under a tracer that makes system calls on one file fail as `injection` says, or nothing where there is none. The process is
/// still the server: signals and exit codes are its own. Counts of calls are those of each thread.
pub(crate) fn injected(path: &Path, injection: &str, command: &Command) -> Option<Command> {
    if !can_trace() {
        return None;
    }
    let call = injection.split(':').next().unwrap();
    let mut outer = Command::new("strace");
    outer
        .args(["-D", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e"])
        .arg(format!("trace={call}"))
        .arg("-e")
        .arg(format!("inject={injection}"))
        .arg("-P")
        .arg(path);
    Some(around(outer, command))
}

/// The command under a tracer that makes system calls fail as `injection` says, on whatever file, or nothing where there is none.
pub(crate) fn injected_anywhere(injection: &str, command: &Command) -> Option<Command> {
    can_trace().then(|| {
        let mut outer = Command::new("strace");
        outer.args(["-D", "-f", "-o", "/dev/null", "-e"]);
        outer.arg(format!("inject={injection}"));
        around(outer, command)
    })
}

/// Makes system calls of a process fail from now on as `injection` says. The tracer, which ends with the process; none where there is none.
pub(crate) fn inject_into(process: u32, injection: &str) -> Option<Child> {
    can_trace().then(|| {
        let mut tracer = Command::new("strace");
        tracer
            .args(["-f", "-qq", "-o", "/dev/null", "-e"])
            .arg(format!("inject={injection}"))
            .args(["-p", &process.to_string()]);
        tracer.spawn().unwrap()
    })
}

/// The command with its calls written to `trace`, the files of descriptors by name, and no contents. The process is still the server.
pub(crate) fn traced(command: &Command, calls: &str, trace: &Path) -> Command {
    let mut outer = Command::new("strace");
    outer
        .args(["-D", "-f", "-y", "-qq", "-s", "0", "-e"])
        .arg(format!("trace={calls}"))
        .arg("-o")
        .arg(trace);
    around(outer, command)
}

/// The io back-ends that servers can be started with here, by name; says so where io_uring is none of them.
pub(crate) fn back_ends() -> &'static [&'static str] {
    match has_io_uring() {
        true => &["epoll", "io_uring"],
        false => &["epoll"],
    }
}

/// Whether a worker can have io_uring here; says so if not. Whether it should, the reactor's tests ask the kernel itself.
pub(crate) fn has_io_uring() -> bool {
    let refused = AnyReactor::new(IoBackend::IoUring, &Config::default()).err();
    if let Some(error) = &refused {
        skipped(error);
    }
    refused.is_none()
}

/// Whether system calls can be seen and changed here; says so if not.
pub(crate) fn can_trace() -> bool {
    let tried = Command::new("strace")
        .args(["-D", "-f", "-o", "/dev/null", "true"])
        .output();
    let can = tried.is_ok_and(|tried| tried.status.success());
    if !can {
        skipped(
            "system calls cannot be seen or made to fail here: strace is missing (cargo xtask setup), or may not trace",
        );
    }
    can
}

/// Whether the file system of a folder has writes that go past the page cache and are on the device when they return; says so if not.
pub(crate) fn has_direct_writes(folder: &Path) -> bool {
    let path = folder.join("direct");
    let flags = rustix::fs::OFlags::DIRECT.bits() as i32;
    let mut options = fs::OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .custom_flags(flags)
        .open(&path);
    let bytes = vec![1; 2 * BLOCK_BYTES];
    let block = &bytes[bytes.as_ptr().align_offset(BLOCK_BYTES)..][..BLOCK_BYTES];
    let synced = rustix::io::ReadWriteFlags::DSYNC;
    let written = file.and_then(|file| {
        let written = rustix::io::pwritev2(&file, &[IoSlice::new(block)], 0, synced);
        Ok(written?)
    });
    let _ = fs::remove_file(&path);
    match written {
        Ok(count) => assert_eq!(count, BLOCK_BYTES),
        Err(error) => {
            skipped(format_args!(
                "{} has no synced writes past the page cache: {error}",
                folder.display()
            ));
            return false;
        }
    }
    true
}

/// The command behind the words of another one.
pub(crate) fn around(mut outer: Command, command: &Command) -> Command {
    outer
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

/// Has a limit of a process changed while it runs: the soft one, and the hard one or none.
pub(crate) fn limit(process: u32, what: Resource, current: u64, maximum: Option<u64>) {
    let limit = Rlimit {
        current: Some(current),
        maximum,
    };
    prlimit(Some(pid(process)), what, limit).unwrap();
}

/// Open files of a process.
pub(crate) fn descriptors(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

/// An ext4 file system in a file. Each process that is to see it has it mounted in a namespace of its own.
pub(crate) struct Ext4 {
    place: tempfile::TempDir,
}

impl Ext4 {
    /// One of so many `megabytes` that holds what a directory holds. None where this user cannot have it.
    pub(crate) fn new(megabytes: u64, contents: Option<&Path>) -> Option<Self> {
        let made = Self {
            place: tempfile::tempdir().unwrap(),
        };
        fs::File::create(made.image())
            .and_then(|file| file.set_len(megabytes << 20))
            .unwrap();
        let mut shell = Command::new("sh");
        shell
            .env("PATH", WITH_SBIN)
            .args([
                "-c",
                "mkfs.ext4 -q -F -m 0 \"$@\" \"$0\" && unshare -m mount -o loop \"$0\" /mnt",
            ])
            .arg(made.image());
        if let Some(contents) = contents {
            shell.arg("-d").arg(contents);
        }
        let why = match shell.output() {
            Ok(output) if output.status.success() => return Some(made),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        skipped(format_args!(
            "this user cannot mount a file system in a file: {why}"
        ));
        None
    }

    /// The command in a namespace in which it is mounted, anew: the kernel may still be busy with one that has just gone.
    pub(crate) fn mounted(&self, at: &Path, command: &Command) -> Command {
        let mut outer = Command::new("unshare");
        outer
            .args([
                "-m",
                "sh",
                "-c",
                "while losetup -j \"$0\" | grep -q .; do sleep 0.01; done; mount -o loop \"$0\" \"$1\" && shift && exec \"$@\"",
            ])
            .env("PATH", WITH_SBIN)
            .args([&*self.image(), at]);
        around(outer, command)
    }

    fn image(&self) -> PathBuf {
        self.place.path().join("image")
    }
}

/// Has an ext4 file system that a process sees do what ext4 does when it finds an error in itself: give its journal up, and be read-only. An ordinary
/// remount is refused as long as files are open for writing.
pub(crate) fn turn_read_only(process: u32, at: &Path) {
    let status = Command::new("nsenter")
        .args(["--mount", "--target", &process.to_string()])
        .args(["mount", "-o", "remount,abort"])
        .arg(at)
        .status()
        .unwrap();
    assert!(status.success(), "{}", at.display());
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
        .arg(at);
    around(outer, command)
}

/// What direct writes are aligned to: the largest block of any device that is in use.
const BLOCK_BYTES: usize = 4096;
/// Where programs for file systems are, whatever the user looks through.
const WITH_SBIN: &str = "/usr/sbin:/sbin:/usr/bin:/bin";
