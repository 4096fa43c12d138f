//! Real file systems on a device that is ours.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{major, minor};
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

    /// Whether the kernel can shut it down.
    pub(crate) fn has_shutdown(self) -> bool {
        self != Self::Btrfs
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
    /// The file that its device lies on.
    device: PathBuf,
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
            device: device.clone(),
            attached: Some(attached),
        };
        run("mount", &words)?;
        Ok(mounted)
    }

    /// Shuts it down: whatever is not on the device by now will never be, and everything that is asked of it fails. With `journal`, what is in its
    /// journal still gets there.
    pub(crate) fn shut_down(&self, journal: bool) -> Result<(), String> {
        // It cannot be taken back: it must meet no other file system than this one.
        let device = self.loop_device()?;
        let ours = fs::canonicalize(&self.device);
        if ours.map_or(true, |ours| device != ours) {
            return Err(format!(
                "{} lies on {}: not ours, and not shut down",
                self.point.display(),
                device.display()
            ));
        }
        let words = if journal { "shutdown -f" } else { "shutdown" };
        let mut words = ["-x", "-c", words].map(Path::new).to_vec();
        words.push(&self.point);
        run(SHUTDOWN, &words)
    }

    /// The file that the loop device lies on that the mount point lies on.
    fn loop_device(&self) -> Result<PathBuf, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", self.point.display());
        let device = fs::metadata(&self.point).map_err(failed)?.dev();
        let (major, minor) = (major(device), minor(device));
        let path = format!("/sys/dev/block/{major}:{minor}/loop/backing_file");
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        Ok(text.trim_end().into())
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

/// Why no file system can be shut down here.
pub(crate) fn missing_for_shutdown() -> Option<String> {
    (!has_program(SHUTDOWN)).then(|| format!("{SHUTDOWN} is not installed (Debian: xfsprogs)"))
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

/// Asks any file system for it, not only xfs.
const SHUTDOWN: &str = "xfs_io";
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(2);
