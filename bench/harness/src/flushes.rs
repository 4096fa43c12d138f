//! How often a device was told to keep what it has.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The flushes that the device of a directory has been asked for by anybody, where the system counts them.
#[derive(Debug)]
pub struct Flushes {
    stat: Option<PathBuf>,
    before: u64,
}

impl Flushes {
    /// Counts from now on.
    pub fn of(directory: &Path) -> Self {
        let stat = stat_of(directory);
        let before = stat.as_deref().and_then(count).unwrap_or(0);
        Self { stat, before }
    }

    /// How many there were.
    pub fn since(&self) -> Option<u64> {
        count(self.stat.as_deref()?)?.checked_sub(self.before)
    }
}

/// The disk's, for flushes are not counted for its parts.
fn stat_of(directory: &Path) -> Option<PathBuf> {
    let device = fs::metadata(directory).ok()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let folder = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    let disk = match folder.join("partition").exists() {
        true => folder.parent()?.to_owned(),
        false => folder,
    };
    Some(disk.join("stat"))
}

fn count(stat: &Path) -> Option<u64> {
    let text = fs::read_to_string(stat).ok()?;
    text.split_whitespace().nth(FLUSHES)?.parse().ok()
}

/// Which number it is, from 0: `Documentation/block/stat.rst` of Linux.
const FLUSHES: usize = 15;
