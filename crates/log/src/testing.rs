//! A disk in memory that crashes as real ones do. For tests and simulations; not a part of the API that versions promise.

use std::collections::BTreeMap;
use std::io;

use crate::disk::{Disk, DiskError, Request, Token};
use crate::files::{Files, SegmentFile};
use crate::log::Log;
use crate::mark::LogId;

/// Pseudo-random numbers: SplitMix64.
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.bits() % end.max(1)
    }
}

/// A file: what a program reads, what the device holds, and what may have come to the device in between.
#[derive(Clone, Debug)]
struct MemoryFile {
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// By granule: its contents after each write since it was last synced.
    versions: BTreeMap<usize, Vec<Vec<u8>>>,
}

/// One stream's directory in memory. Names are durable at once (creation and removal are atomic); contents are when synced.
#[derive(Clone, Debug)]
pub struct MemoryFiles {
    files: BTreeMap<u64, MemoryFile>,
    /// What a power loss keeps or loses as a whole: 4096, or 512 for tearing pages, too.
    pub granule: usize,
    /// Bytes that all files together may have.
    pub space: u64,
    /// After so many operations, every operation fails: the process was killed.
    pub operations_left: u64,
    /// Copies that recovery asked to keep: segment, offset, bytes.
    pub kept_aside: Vec<(u64, u64, Vec<u8>)>,
}

impl Default for MemoryFiles {
    fn default() -> Self {
        Self {
            files: BTreeMap::new(),
            granule: 4096,
            space: u64::MAX,
            operations_left: u64::MAX,
            kept_aside: Vec::new(),
        }
    }
}

impl MemoryFiles {
    /// Power fails: each granule written since its last sync holds its durable contents or any version written since.
    pub fn lose_power(&mut self, rng: &mut Rng) {
        for file in self.files.values_mut() {
            for (granule, versions) in std::mem::take(&mut file.versions) {
                let kept = rng.below(versions.len() as u64 + 1) as usize;
                if let Some(version) = kept.checked_sub(1).map(|nth| &versions[nth]) {
                    let at = granule * self.granule;
                    file.durable[at..at + version.len()].copy_from_slice(version);
                }
            }
            file.cached.clone_from(&file.durable);
        }
        self.operations_left = u64::MAX;
    }

    /// A sync fails: what was written since the last one stays readable, but no later sync will bring it to the device.
    pub fn fail_sync(&mut self, segment: u64) {
        if let Some(file) = self.files.get_mut(&segment) {
            file.versions.clear();
        }
    }

    /// The bytes of a file, to be damaged.
    pub fn contents_mut(&mut self, segment: u64) -> Option<&mut Vec<u8>> {
        self.files.get_mut(&segment).map(|file| &mut file.cached)
    }

    /// The bytes of a file.
    pub fn contents(&self, segment: u64) -> Option<&[u8]> {
        self.files.get(&segment).map(|file| &*file.cached)
    }

    /// The segments there are.
    pub fn segments(&self) -> Vec<u64> {
        self.files.keys().copied().collect()
    }

    /// Puts a file in place.
    pub fn insert(&mut self, segment: u64, contents: Vec<u8>) {
        let file = MemoryFile {
            durable: contents.clone(),
            cached: contents,
            versions: BTreeMap::new(),
        };
        self.files.insert(segment, file);
    }

    fn file(&mut self, segment: u64) -> io::Result<&mut MemoryFile> {
        self.files
            .get_mut(&segment)
            .ok_or_else(|| io::Error::from_raw_os_error(2))
    }

    fn count_operation(&mut self) -> io::Result<()> {
        self.operations_left = self
            .operations_left
            .checked_sub(1)
            .ok_or_else(|| io::Error::other("killed"))?;
        Ok(())
    }

    /// Makes a stretch durable, as `RWF_DSYNC` does.
    fn sync_range(&mut self, segment: u64, offset: usize, len: usize) -> io::Result<()> {
        let granule = self.granule;
        let file = self.file(segment)?;
        let dirty: Vec<usize> = file
            .versions
            .range(offset / granule..(offset + len).div_ceil(granule))
            .map(|(nth, _)| *nth)
            .collect();
        for nth in dirty {
            file.versions.remove(&nth);
            let range = nth * granule..((nth + 1) * granule).min(file.cached.len());
            file.durable[range.clone()].copy_from_slice(&file.cached[range]);
        }
        Ok(())
    }
}

impl Files for MemoryFiles {
    fn list(&mut self) -> io::Result<Vec<SegmentFile>> {
        self.count_operation()?;
        Ok(self
            .files
            .iter()
            .map(|(&index, file)| SegmentFile {
                index,
                bytes: file.cached.len() as u64,
            })
            .collect())
    }

    fn create(&mut self, segment: u64, bytes: u64) -> io::Result<()> {
        self.count_operation()?;
        let used: u64 = self
            .files
            .values()
            .map(|file| file.cached.len() as u64)
            .sum();
        if used.saturating_add(bytes) > self.space {
            return Err(io::Error::from_raw_os_error(28));
        }
        self.insert(segment, vec![0; bytes as usize]);
        Ok(())
    }

    fn read_at(&mut self, segment: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.count_operation()?;
        let file = self.file(segment)?;
        let source = file
            .cached
            .get(offset as usize..)
            .and_then(|rest| rest.get(..out.len()));
        out.copy_from_slice(source.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&mut self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.count_operation()?;
        let granule = self.granule;
        let file = self.file(segment)?;
        let offset = offset as usize;
        let target = file
            .cached
            .get_mut(offset..offset + bytes.len())
            .ok_or(io::ErrorKind::InvalidInput)?;
        target.copy_from_slice(bytes);
        for nth in offset / granule..(offset + bytes.len()).div_ceil(granule) {
            let range = nth * granule..((nth + 1) * granule).min(file.cached.len());
            file.versions
                .entry(nth)
                .or_default()
                .push(file.cached[range].to_vec());
        }
        Ok(())
    }

    fn sync(&mut self, segment: u64) -> io::Result<()> {
        self.count_operation()?;
        let len = self.file(segment)?.cached.len();
        self.sync_range(segment, 0, len)
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.count_operation()?;
        self.files
            .remove(&segment)
            .map(drop)
            .ok_or_else(|| io::Error::from_raw_os_error(2))
    }

    fn resize(&mut self, segment: u64, bytes: u64) -> io::Result<()> {
        self.count_operation()?;
        let file = self.file(segment)?;
        file.cached.resize(bytes as usize, 0);
        file.durable.resize(bytes as usize, 0);
        let granule = self.granule;
        let file = self.file(segment)?;
        file.versions
            .retain(|nth, _| ((nth + 1) * granule) as u64 <= bytes);
        Ok(())
    }

    fn keep_aside(&mut self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.kept_aside.push((segment, offset, bytes.to_vec()));
        Ok(())
    }
}

/// Requests that wait to be executed, in the order in which the test likes.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    /// What was submitted and not yet taken.
    pub requests: Vec<(LogId, Token, Request)>,
}

impl Disk for Queue {
    fn submit(&mut self, log: LogId, token: Token, request: Request) {
        self.requests.push((log, token, request));
    }
}

/// Executes a request of `log` on its directory. The bytes of a read go to `buffer`.
///
/// # Errors
/// As the files answer.
pub fn execute(
    log: &Log,
    files: &mut MemoryFiles,
    request: Request,
    buffer: &mut Vec<u8>,
) -> Result<u32, DiskError> {
    let answer = match request {
        Request::Write {
            segment,
            offset,
            position,
            len,
            sync,
        } => {
            files
                .write_at(segment, offset, log.bytes(position, len))
                .and_then(|()| {
                    if sync {
                        files.sync_range(segment, offset as usize, len as usize)
                    } else {
                        Ok(())
                    }
                })?;
            return Ok(len);
        }
        Request::Sync { segment } => files.sync(segment),
        Request::Read {
            segment,
            offset,
            len,
        } => {
            buffer.clear();
            buffer.resize(len as usize, 0);
            files.read_at(segment, offset, buffer)?;
            return Ok(len);
        }
        Request::Prepare { segment, bytes } => files.create(segment, bytes),
        Request::Remove { segment } => files.remove(segment),
    };
    answer?;
    Ok(0)
}

impl From<io::Error> for DiskError {
    fn from(error: io::Error) -> Self {
        Self::from(&error)
    }
}
