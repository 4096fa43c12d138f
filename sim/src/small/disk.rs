//! A directory in memory of which every state that a crash can leave may be asked for.
//!
//! Pages are shared between copies and know their hash: a copy and a comparison cost some counters.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use trunkline_log::{Files, SegmentFile};

use crate::trace::Hash;

/// What a device writes as a whole, and a page cache keeps.
const PAGE_BYTES: usize = 4096;
/// How much of a torn page is new.
const TORN_BYTES: usize = 1536;

#[derive(Clone, Debug)]
struct Page {
    bytes: Arc<[u8; PAGE_BYTES]>,
    hash: u64,
}

impl Page {
    fn new(bytes: [u8; PAGE_BYTES]) -> Self {
        let mut hash = Hash::default();
        hash.bytes(&bytes);
        Self {
            bytes: Arc::new(bytes),
            hash: hash.finish(),
        }
    }

    /// Some sectors of this one, the rest of another.
    fn torn(&self, old: &Self) -> Self {
        let mut bytes = *old.bytes;
        bytes[..TORN_BYTES].copy_from_slice(&self.bytes[..TORN_BYTES]);
        Self::new(bytes)
    }
}

#[derive(Clone, Debug)]
struct File {
    cached: Vec<Page>,
    durable: Vec<Page>,
    /// By page: its contents after each write since the last sync.
    versions: BTreeMap<usize, Vec<Page>>,
}

/// One stream's segments. Names come and go as a whole: what is under way of that is a request that was done or not.
#[derive(Clone, Debug)]
pub(super) struct SmallDisk {
    files: BTreeMap<u64, File>,
    /// After so many operations, all fail: the process was killed.
    pub(super) operations_left: u64,
}

impl SmallDisk {
    pub(super) fn new() -> Self {
        Self {
            files: BTreeMap::new(),
            operations_left: u64::MAX,
        }
    }

    /// For each page that was written since it was last synced: what it may be when power comes back. 0 is what was there before; then come the versions,
    /// then a mixture of the newest with the old one.
    pub(super) fn choices(&self) -> impl Iterator<Item = usize> + '_ {
        let files = self.files.values();
        files.flat_map(|file| file.versions.values().map(|versions| versions.len() + 2))
    }

    /// Power fails, and leaves what `chosen` says of each of [`choices`](Self::choices).
    pub(super) fn lose_power(&mut self, mut chosen: impl Iterator<Item = usize>) {
        for file in self.files.values_mut() {
            for (page, versions) in std::mem::take(&mut file.versions) {
                let choice = chosen.next().unwrap_or(0);
                let kept = match choice.checked_sub(1) {
                    None => continue,
                    Some(nth) => versions.get(nth).cloned().or_else(|| {
                        let newest = versions.last()?;
                        Some(newest.torn(&file.durable[page]))
                    }),
                };
                if let Some(kept) = kept {
                    file.durable[page] = kept;
                }
            }
            file.cached.clone_from(&file.durable);
        }
        self.operations_left = u64::MAX;
    }

    /// A number for what programs read, and what a power loss may leave of it.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hash = Hash::default();
        for (segment, file) in &self.files {
            hash.number(*segment);
            for page in file.cached.iter().chain(&file.durable) {
                hash.number(page.hash);
            }
            for (page, versions) in &file.versions {
                hash.number(*page as u64);
                for version in versions {
                    hash.number(version.hash);
                }
            }
        }
        hash.finish()
    }

    /// Bytes of a segment, as many as there are.
    pub(super) fn read(&self, segment: u64, offset: u64, len: u32) -> Vec<u8> {
        let bytes = self
            .files
            .get(&segment)
            .map_or(0, |file| (file.cached.len() * PAGE_BYTES) as u64);
        let len = u64::from(len).min(bytes.saturating_sub(offset));
        let mut out = vec![0; len as usize];
        self.copy(segment, offset, &mut out);
        out
    }

    fn copy(&self, segment: u64, offset: u64, out: &mut [u8]) -> bool {
        let Some(file) = self.files.get(&segment) else {
            return false;
        };
        let mut at = offset as usize;
        let mut done = 0;
        while done < out.len() {
            let Some(page) = file.cached.get(at / PAGE_BYTES) else {
                return false;
            };
            let within = at % PAGE_BYTES;
            let len = (PAGE_BYTES - within).min(out.len() - done);
            out[done..done + len].copy_from_slice(&page.bytes[within..within + len]);
            at += len;
            done += len;
        }
        true
    }

    /// Makes the pages of a stretch durable.
    pub(super) fn sync_range(&mut self, segment: u64, offset: u64, len: u64) {
        if let Some(file) = self.files.get_mut(&segment) {
            let pages = offset as usize / PAGE_BYTES
                ..(offset.saturating_add(len) as usize).div_ceil(PAGE_BYTES);
            file.versions.retain(|page, versions| {
                if !pages.contains(page) {
                    return true;
                }
                if let Some(newest) = versions.last() {
                    file.durable[*page] = newest.clone();
                }
                false
            });
        }
    }

    fn count_operation(&mut self) -> io::Result<()> {
        match self.operations_left.checked_sub(1) {
            Some(left) => {
                self.operations_left = left;
                Ok(())
            }
            None => Err(io::Error::other("killed")),
        }
    }
}

impl Files for SmallDisk {
    fn list(&mut self) -> io::Result<Vec<SegmentFile>> {
        self.count_operation()?;
        let files = self.files.iter().map(|(&index, file)| SegmentFile {
            index,
            bytes: (file.cached.len() * PAGE_BYTES) as u64,
        });
        Ok(files.collect())
    }

    fn create(&mut self, segment: u64, bytes: u64) -> io::Result<()> {
        self.count_operation()?;
        let zeros = Page::new([0; PAGE_BYTES]);
        let pages = vec![zeros; bytes as usize / PAGE_BYTES];
        let file = File {
            cached: pages.clone(),
            durable: pages,
            versions: BTreeMap::new(),
        };
        self.files.insert(segment, file);
        Ok(())
    }

    fn read_at(&mut self, segment: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.count_operation()?;
        if self.copy(segment, offset, out) {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn write_at(&mut self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.count_operation()?;
        let missing = || io::Error::from_raw_os_error(ENOENT);
        let file = self.files.get_mut(&segment).ok_or_else(missing)?;
        let (mut at, mut rest) = (offset as usize, bytes);
        while !rest.is_empty() {
            let page = at / PAGE_BYTES;
            let within = at % PAGE_BYTES;
            let (now, later) = rest.split_at(rest.len().min(PAGE_BYTES - within));
            let old = file.cached.get(page).ok_or(io::ErrorKind::InvalidInput)?;
            let mut contents = *old.bytes;
            contents[within..within + now.len()].copy_from_slice(now);
            let new = Page::new(contents);
            file.cached[page] = new.clone();
            file.versions.entry(page).or_default().push(new);
            at += now.len();
            rest = later;
        }
        Ok(())
    }

    fn sync(&mut self, segment: u64) -> io::Result<()> {
        self.count_operation()?;
        self.sync_range(segment, 0, u64::MAX);
        Ok(())
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.count_operation()?;
        let missing = || io::Error::from_raw_os_error(ENOENT);
        self.files.remove(&segment).map(drop).ok_or_else(missing)
    }
}

const ENOENT: i32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_loss_leaves_of_each_page_what_was_chosen() {
        let mut disk = SmallDisk::new();
        disk.create(0, 3 * 4096).expect("room");
        disk.write_at(0, 4000, &[1; 200]).expect("within it");
        disk.write_at(0, 4000, &[2; 96]).expect("within it");
        assert_eq!(disk.choices().collect::<Vec<_>>(), [4, 3]);
        let left = |chosen: [usize; 2]| {
            let mut disk = disk.clone();
            disk.lose_power(chosen.into_iter());
            (disk.read(0, 4095, 1)[0], disk.read(0, 4096, 1)[0])
        };
        assert_eq!(left([0, 0]), (0, 0));
        assert_eq!(left([1, 0]), (1, 0));
        assert_eq!(left([2, 1]), (2, 1));
        assert_eq!(left([3, 2]), (0, 1), "torn: the first sectors only");
        let before = disk.fingerprint();
        disk.sync(0).expect("it is there");
        assert_eq!(disk.choices().count(), 0);
        assert_ne!(disk.fingerprint(), before);
        disk.lose_power([].into_iter());
        assert_eq!(
            disk.read(0, 4000, 200),
            [[2; 96].as_slice(), &[1; 104]].concat()
        );
    }
}
