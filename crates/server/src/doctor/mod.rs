//! What this machine can do for a server: its disk, its kernel, its cores and its clock.
//!
//! Everything is measured here and now, on the data directory's own disk, and takes a few seconds. It changes no setting.

mod disk;
mod kernel;

use std::path::Path;

use serde::Serialize;

pub use disk::{DiskReport, SyncMethod};
pub use kernel::{ClockReport, CpuReport, IoReport, MemoryReport, WakeReport};

/// Everything that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Cores, topology, frequency.
    pub cpu: CpuReport,
    /// The clock and what reading it costs.
    pub clock: ClockReport,
    /// What it costs to wake a sleeping thread, which is what idle strategies trade.
    pub wake: WakeReport,
    /// Whether io_uring can be used, and what `auto` takes.
    pub io: IoReport,
    /// Limits of this process.
    pub memory: MemoryReport,
    /// The disk, and what it makes of acknowledgements.
    #[serde(flatten)]
    pub storage: StorageReport,
    /// What could be better, in sentences.
    pub advice: Vec<String>,
}

/// What was found out about a data directory's disk.
#[derive(Debug, Clone, Serialize)]
pub struct StorageReport {
    /// The disk; absent when the directory cannot be written, with the reason in the advice.
    pub disk: Option<DiskReport>,
    /// What each acknowledgement level means here.
    pub levels: Vec<Level>,
}

/// What an acknowledgement says.
#[derive(Debug, Clone, Serialize)]
pub struct Level {
    /// `received`, `stored` or `synced`.
    pub level: &'static str,
    /// What the record survives.
    pub survives: &'static str,
    /// What one acknowledgement costs here beyond the network.
    pub costs: String,
}

/// Looks at everything; `data_dir` need not exist.
#[must_use]
pub fn examine(data_dir: &Path) -> Report {
    let mut advice = Vec::new();
    let cpu = kernel::cpu(&mut advice);
    let clock = kernel::clock(&mut advice);
    let wake = kernel::wake();
    let io = kernel::io(&mut advice);
    let memory = kernel::memory(&mut advice);
    let storage = examine_storage(data_dir, &mut advice);
    Report {
        cpu,
        clock,
        wake,
        io,
        memory,
        storage,
        advice,
    }
}

/// Looks at the disk alone; `data_dir` need not exist.
#[must_use]
pub fn examine_storage(data_dir: &Path, advice: &mut Vec<String>) -> StorageReport {
    let disk = match disk::measure(data_dir, advice) {
        Ok(report) => Some(report),
        Err(error) => {
            advice.push(format!(
                "the disk was not measured: {}: {error}",
                data_dir.display()
            ));
            None
        }
    };
    let levels = levels(disk.as_ref());
    StorageReport { disk, levels }
}

fn levels(disk: Option<&DiskReport>) -> Vec<Level> {
    let unknown = || "unknown: the disk was not measured".to_owned();
    let stored = disk.map_or_else(unknown, |disk| {
        format!(
            "one write into the page cache, {} for 4 KiB",
            micros(disk.write_ns_p50)
        )
    });
    let synced = disk.map_or_else(unknown, |disk| {
        let took = |name: &str| {
            let mut methods = disk.methods.iter();
            let ns = methods.find(|method| method.name == name)?.ns_p50?;
            Some(micros(ns))
        };
        let took = match (took(disk::BUFFERED), took(disk::DIRECT)) {
            (Some(buffered), Some(direct)) => {
                format!("{buffered} by default, {direct} with `synced_writes: direct`")
            }
            (Some(buffered), None) => buffered,
            (None, _) => return "it does not work here".to_owned(),
        };
        format!("one commit, {took}, shared by all records that arrived meanwhile")
    });
    let volatile = disk.is_some_and(|disk| disk.memory_backed);
    vec![
        Level {
            level: "received",
            survives: "nothing: the record is in the server's memory",
            costs: "nothing".to_owned(),
        },
        Level {
            level: "stored",
            survives: if volatile {
                "a kill of the server, but not a restart of the machine"
            } else {
                "a kill of the server; a power cut may take what the last `sync_interval` of its stream brought (1s unless set)"
            },
            costs: stored,
        },
        Level {
            level: "synced",
            survives: if volatile {
                "no more than `stored`: this file system lives in memory"
            } else {
                "a power cut, as far as the device keeps its word"
            },
            costs: synced,
        },
    ]
}

/// Nanoseconds as people read them.
#[must_use]
pub fn micros(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", ns as f64 / 1e6),
        _ => format!("{:.2} s", ns as f64 / 1e9),
    }
}

/// Median and 99th percentile.
fn percentiles(samples: &mut [u64]) -> Option<(u64, u64)> {
    samples.sort_unstable();
    let at = |part: usize| {
        samples
            .get(samples.len().saturating_sub(1) * part / 100)
            .copied()
    };
    Some((at(50)?, at(99)?))
}
