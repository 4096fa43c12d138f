//! Real file systems on a device that is ours.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use super::device::{Drive, Image};
use super::fuse::Attached;

/// One that the kernel may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileSystem {
    Ext4,
    Xfs,
    Btrfs,
}

impl FileSystem {
    pub(crate) const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Btrfs];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// Why this machine cannot have it.
    pub(crate) fn missing(self) -> Option<String> {
        let name = self.name();
        let (program, package) = match self {
            Self::Ext4 => ("mkfs.ext4", "e2fsprogs"),
            Self::Xfs => ("mkfs.xfs", "xfsprogs"),
            Self::Btrfs => ("mkfs.btrfs", "btrfs-progs"),
        };
        if !has_program(program) {
            return Some(format!("{program} is not installed (Debian: {package})"));
        }
        let is_known = || {
            let text = fs::read_to_string("/proc/filesystems").unwrap_or_default();
            text.lines()
                .any(|line| line.split_whitespace().last() == Some(name))
        };
        if is_known() || run("modprobe", &[Path::new(name)]).is_ok() && is_known() {
            return None;
        }
        Some(format!("the kernel has no {name}"))
    }

    /// An empty one, on a device of its own. `directory` is where it is made; nothing is left there.
    pub(crate) fn format(self, directory: &Path) -> Result<Image, String> {
        let path = directory.join("new");
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        // What was left by one that did not come to its end.
        let _ = fs::remove_file(&path);
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(failed)?;
        let (program, words, bytes): (_, &[&str], u64) = match self {
            Self::Ext4 => (
                "mkfs.ext4",
                &[
                    "-q",
                    "-F",
                    "-b",
                    "4096",
                    "-E",
                    "nodiscard,lazy_itable_init=0,lazy_journal_init=0",
                ],
                192 << 20,
            ),
            // Not much more than mkfs asks for.
            Self::Xfs => ("mkfs.xfs", &["-q", "-K"], 320 << 20),
            Self::Btrfs => ("mkfs.btrfs", &["-q", "-K"], 512 << 20),
        };
        file.set_len(bytes).map_err(failed)?;
        let mut words: Vec<&Path> = words.iter().map(Path::new).collect();
        words.push(&path);
        run(program, &words)?;
        let image = Image::of(file).map_err(failed)?;
        fs::remove_file(&path).map_err(failed)?;
        Ok(image)
    }
}

/// A file system that is mounted. Dropped, it is unmounted.
#[derive(Debug)]
pub(crate) struct Mounted {
    /// Where.
    point: PathBuf,
    /// What it lies on; goes after it.
    attached: Option<Attached>,
}

impl Mounted {
    /// Mounts what is on the drive as the folder `data` of `directory`.
    pub(crate) fn new(
        file_system: FileSystem,
        drive: &Arc<Drive>,
        directory: &Path,
    ) -> Result<Self, String> {
        let point = directory.join("data");
        fs::create_dir_all(&point).map_err(|error| format!("{}: {error}", point.display()))?;
        let device = directory.join("device");
        let attached = Attached::new(&device, Arc::clone(drive))?;
        if file_system == FileSystem::Btrfs {
            // It remembers devices, and takes an older state of one for a mistake.
            let _ = run("btrfs", &["device", "scan", "--forget"].map(Path::new));
        }
        let words = ["-t", file_system.name(), "-o", "loop,noatime"];
        let mut words = words.map(Path::new).to_vec();
        words.extend([&*device, &*point]);
        // From here on both are taken away when something fails.
        let mounted = Self {
            point: point.clone(),
            attached: Some(attached),
        };
        run("mount", &words)?;
        Ok(mounted)
    }

    /// Unmounts it, and waits until nothing of it is in use.
    pub(crate) fn unmount(mut self) -> Result<(), String> {
        self.release()
    }

    fn release(&mut self) -> Result<(), String> {
        let Some(attached) = self.attached.take() else {
            return Ok(());
        };
        let begin = Instant::now();
        let unmounted = loop {
            match unmount(&self.point, UnmountFlags::empty()) {
                // Not mounted, or not a file system of its own: it never was.
                Ok(()) | Err(Errno::INVAL) => break Ok(()),
                // The kernel still works for a process that was killed.
                Err(Errno::BUSY) if begin.elapsed() < PATIENCE => std::thread::sleep(LOOK),
                Err(error) => {
                    let _ = unmount(&self.point, UnmountFlags::DETACH);
                    break Err(format!("{}: {error}", self.point.display()));
                }
            }
        };
        unmounted.and(attached.detach())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = self.release();
    }
}

/// Whether a program of this name can be run.
pub(crate) fn has_program(name: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
    })
}

fn run(program: &str, words: &[&Path]) -> Result<(), String> {
    let output = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program}: {}: {}", output.status, said.trim()))
}

const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(2);
