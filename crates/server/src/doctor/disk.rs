//! Ways to make bytes durable, timed on one disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::ReadWriteFlags;
use serde::Serialize;

use super::{micros, percentiles};
use crate::config::SyncedWrites;

/// One disk.
#[derive(Debug, Clone, Serialize)]
pub struct DiskReport {
    /// The directory that was asked about.
    pub directory: PathBuf,
    /// The file system's name.
    pub file_system: String,
    /// The device, where the system names one.
    pub device: Option<String>,
    /// Bytes that may still be written.
    pub free_bytes: u64,
    /// Whether the device may keep written bytes in memory until it is told to flush.
    pub volatile_cache: Option<bool>,
    /// Whether the file system has no device behind it.
    pub memory_backed: bool,
    /// A write of 4 KiB into the page cache.
    pub write_ns_p50: u64,
    /// The ways to make 4 KiB durable, best first.
    pub methods: Vec<SyncMethod>,
    /// The fastest one here.
    pub fastest: Option<&'static str>,
    /// What to write as `synced_writes` in the configuration here.
    pub pick: SyncedWrites,
    /// Which of the methods that is.
    pub picked: &'static str,
    /// What it and the other one take.
    pub why: String,
}

/// One way to make bytes durable.
#[derive(Debug, Clone, Serialize)]
pub struct SyncMethod {
    /// What is done.
    pub name: &'static str,
    /// Median time for 4 KiB; absent when it does not work here.
    pub ns_p50: Option<u64>,
    /// 99th percentile for 4 KiB.
    pub ns_p99: Option<u64>,
    /// Median time for 64 KiB.
    pub large_ns_p50: Option<u64>,
    /// Why it does not work here.
    pub refused: Option<String>,
}

/// Times everything with a file of its own, which is removed.
pub(super) fn measure(directory: &Path, advice: &mut Vec<String>) -> io::Result<DiskReport> {
    // A server that was never started has no directory yet; its parent is on the same disk.
    let existing = directory
        .ancestors()
        .find(|path| path.is_dir())
        .unwrap_or(Path::new("."));
    let scratch = Scratch::create(existing)?;
    let stats = rustix::fs::statvfs(existing)?;
    let mount = mount_of(existing);
    let device = fs::metadata(existing)?.dev();
    let file_system = mount.unwrap_or_else(|| "unknown".to_owned());
    let memory_backed = matches!(file_system.as_str(), "tmpfs" | "ramfs" | "devtmpfs");

    let mut write_samples = sample(
        &scratch.open(OFlags::empty())?,
        SMALL,
        |file, block, offset| file.write_all_at(block, offset),
    )?;
    let (write_ns_p50, _) = percentiles(&mut write_samples).unwrap_or_default();
    let mut methods: Vec<SyncMethod> = METHODS
        .iter()
        .map(|method| time(&scratch, method))
        .collect();
    methods.sort_by_key(|method| method.ns_p50.unwrap_or(u64::MAX));
    let (pick, why) = pick(&methods);
    let fastest = methods.first().filter(|method| method.ns_p50.is_some());

    let report = DiskReport {
        directory: directory.to_owned(),
        free_bytes: stats.f_bavail.saturating_mul(stats.f_frsize),
        volatile_cache: volatile_cache(device),
        device: device_name(device),
        file_system,
        memory_backed,
        write_ns_p50,
        fastest: fastest.map(|method| method.name),
        pick,
        picked: method_of(pick),
        methods,
        why,
    };
    if memory_backed {
        advice.push(format!(
            "{} is on {}: nothing there survives a restart of the machine; name another directory with --data",
            existing.display(),
            report.file_system
        ));
    }
    if NETWORK.contains(&report.file_system.as_str()) {
        advice.push(format!(
            "{} is on a network file system ({}), whose locks and syncs may promise more than they keep",
            existing.display(),
            report.file_system
        ));
    }
    Ok(report)
}

/// All of them promise the same, and the server has two of them. The default is left only for one that is clearly faster for small commits,
/// and not slower for large ones.
fn pick(methods: &[SyncMethod]) -> (SyncedWrites, String) {
    let times = |name: &str| {
        let method = methods.iter().find(|method| method.name == name)?;
        method.ns_p50.zip(method.large_ns_p50)
    };
    let said = |(small, large): (u64, u64)| {
        format!(
            "{} for 4 KiB and {} for 64 KiB",
            micros(small),
            micros(large)
        )
    };
    match (times(BUFFERED), times(DIRECT)) {
        (Some(buffered), Some(direct)) => {
            let ratio = buffered.0 as f64 / direct.0.max(1) as f64;
            if ratio >= ABOUT_THE_SAME && direct.1 <= buffered.1 {
                let why = format!(
                    "{}; `buffered`, the default, takes {}, {ratio:.1} times as long for 4 KiB",
                    said(direct),
                    said(buffered)
                );
                (SyncedWrites::Direct, why)
            } else {
                let why = format!(
                    "the default: {}; `direct` takes {}",
                    said(buffered),
                    said(direct)
                );
                (SyncedWrites::Buffered, why)
            }
        }
        (Some(buffered), None) => {
            let why = format!(
                "the default: {}; `direct` does not work here",
                said(buffered)
            );
            (SyncedWrites::Buffered, why)
        }
        (None, _) => {
            let why = "the default; it does not work here, and no stream with `ack: synced` will"
                .to_owned();
            (SyncedWrites::Buffered, why)
        }
    }
}

/// What `serve/volumes.rs` does for a commit.
fn method_of(writes: SyncedWrites) -> &'static str {
    match writes {
        SyncedWrites::Buffered => BUFFERED,
        SyncedWrites::Direct => DIRECT,
    }
}

/// What is done for one commit of a block.
struct Method {
    name: &'static str,
    flags: OFlags,
    commit: fn(&File, &[u8], u64) -> io::Result<()>,
}

const METHODS: [Method; 5] = [
    Method {
        name: BUFFERED,
        flags: OFlags::empty(),
        commit: write_then_sync,
    },
    Method {
        name: "buffered write with RWF_DSYNC",
        flags: OFlags::empty(),
        commit: write_dsync,
    },
    Method {
        name: "O_DIRECT write, fdatasync",
        flags: OFlags::DIRECT,
        commit: write_then_sync,
    },
    Method {
        name: DIRECT,
        flags: OFlags::DIRECT,
        commit: write_dsync,
    },
    Method {
        name: "buffered write, fsync",
        flags: OFlags::empty(),
        commit: write_then_sync_all,
    },
];

fn write_then_sync(file: &File, block: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(block, offset)?;
    file.sync_data()
}

fn write_then_sync_all(file: &File, block: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(block, offset)?;
    file.sync_all()
}

fn write_dsync(file: &File, block: &[u8], offset: u64) -> io::Result<()> {
    let written =
        rustix::io::pwritev2(file, &[IoSlice::new(block)], offset, ReadWriteFlags::DSYNC)?;
    if written == block.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}

fn time(scratch: &Scratch, method: &Method) -> SyncMethod {
    let run = || -> io::Result<[Vec<u64>; 2]> {
        let file = scratch.open(method.flags)?;
        Ok([
            sample(&file, SMALL, method.commit)?,
            sample(&file, LARGE, method.commit)?,
        ])
    };
    let mut report = SyncMethod {
        name: method.name,
        ns_p50: None,
        ns_p99: None,
        large_ns_p50: None,
        refused: None,
    };
    match run() {
        Err(error) => report.refused = Some(error.to_string()),
        Ok([mut small, mut large]) => {
            let small = percentiles(&mut small);
            report.ns_p50 = small.map(|times| times.0);
            report.ns_p99 = small.map(|times| times.1);
            report.large_ns_p50 = percentiles(&mut large).map(|times| times.0);
        }
    }
    report
}

/// Times of commits of one block after the other, as many as fit in [`BUDGET`].
fn sample(
    file: &File,
    bytes: usize,
    commit: impl Fn(&File, &[u8], u64) -> io::Result<()>,
) -> io::Result<Vec<u64>> {
    let memory = vec![0x5a_u8; bytes + ALIGN];
    let start = memory.as_ptr().align_offset(ALIGN);
    let block = &memory[start..start + bytes];
    let mut samples = Vec::with_capacity(SAMPLES);
    let begin = Instant::now();
    for index in 0..SAMPLES {
        if begin.elapsed() > BUDGET && index > 10 {
            break;
        }
        let offset = (index * bytes) as u64 % FILE_BYTES;
        let before = Instant::now();
        commit(file, block, offset)?;
        samples.push(u64::try_from(before.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    // The first ones pay for what the file system looks up once.
    Ok(samples.split_off(samples.len().min(3)))
}

/// A file of zeros, written and synced, as a segment is.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn create(directory: &Path) -> io::Result<Self> {
        let path = directory.join(format!(".trunkline-doctor-{}", std::process::id()));
        let scratch = Self { path };
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&scratch.path)?;
        file.write_all_at(&vec![0; FILE_BYTES as usize], 0)?;
        file.sync_all()?;
        Ok(scratch)
    }

    fn open(&self, flags: OFlags) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .custom_flags(flags.bits() as i32)
            .open(&self.path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The file system's name of the longest mount point above a directory.
fn mount_of(directory: &Path) -> Option<String> {
    let directory = directory.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut best: Option<(usize, String)> = None;
    for line in mounts.lines() {
        let mut words = line.split(' ').skip(1);
        let (Some(point), Some(kind)) = (words.next(), words.next()) else {
            continue;
        };
        let length = point.len();
        if directory.starts_with(point) && best.as_ref().is_none_or(|best| length >= best.0) {
            best = Some((length, kind.to_owned()));
        }
    }
    best.map(|best| best.1)
}

fn device_folder(device: u64) -> Option<PathBuf> {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let folder = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"))
        .canonicalize()
        .ok()?;
    // A partition's settings are its disk's.
    if folder.join("queue").is_dir() {
        Some(folder)
    } else {
        folder.parent().map(Path::to_owned)
    }
}

fn device_name(device: u64) -> Option<String> {
    Some(
        device_folder(device)?
            .file_name()?
            .to_string_lossy()
            .into_owned(),
    )
}

fn volatile_cache(device: u64) -> Option<bool> {
    let text = fs::read_to_string(device_folder(device)?.join("queue/write_cache")).ok()?;
    Some(text.trim() == "write back")
}

pub(super) const BUFFERED: &str = "buffered write, fdatasync";
pub(super) const DIRECT: &str = "O_DIRECT write with RWF_DSYNC";
const NETWORK: [&str; 7] = ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs"];
const SMALL: usize = 4 << 10;
const LARGE: usize = 64 << 10;
const ALIGN: usize = 4096;
const FILE_BYTES: u64 = 8 << 20;
const SAMPLES: usize = 300;
/// Medians that differ by less are the same, from one run to the next.
const ABOUT_THE_SAME: f64 = 1.15;
/// A slow disk still gets an answer in seconds: two sizes, six ways.
const BUDGET: Duration = Duration::from_millis(400);
