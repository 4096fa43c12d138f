//! One file: what programs read, what the device holds, and everything that may have come to the device in between.

use std::collections::BTreeMap;

use trunkline_log::testing::Rng;

use crate::faults::{Fault, Faults};

/// What a device writes as a whole.
pub(super) const SECTOR_BYTES: usize = 512;
/// What a page cache keeps and writes back as a whole.
pub(super) const PAGE_BYTES: usize = 4096;

/// A file of an ordinary file system with a page cache.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// What a read through the page cache gives.
    cache: Vec<u8>,
    /// What is there after a power loss for certain.
    device: Vec<u8>,
    /// By page: its contents after each write since it was last synced. Any of them may be on the device.
    versions: BTreeMap<usize, Vec<Vec<u8>>>,
    /// It was never synced: not even its size is certain.
    fresh: bool,
}

/// How many versions of each dirty page there were when a sync began: those it makes durable.
pub(super) type SyncPoint = Vec<(usize, usize)>;

/// What a power loss does to all files of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PowerLoss {
    /// Nothing that was not synced came to the device.
    LoseAll,
    /// All of it did.
    KeepAll,
    /// What was written to the newest file did, what was written to the others did not.
    NewestFile,
    /// Each page for itself.
    Pages,
}

impl File {
    /// A file of `len` zeros that was never synced.
    pub(crate) fn zeros(len: usize) -> Self {
        let mut file = Self {
            cache: vec![0; len],
            device: vec![0; len],
            versions: BTreeMap::new(),
            fresh: true,
        };
        file.touch(0..len);
        file
    }

    /// What a program sees.
    pub(crate) fn cached(&self) -> &[u8] {
        &self.cache
    }

    /// Bytes of the file.
    pub(crate) fn len(&self) -> usize {
        self.cache.len()
    }

    fn page(&self, page: usize) -> std::ops::Range<usize> {
        page * PAGE_BYTES..((page + 1) * PAGE_BYTES).min(self.cache.len())
    }

    /// Notes the pages of a stretch as written.
    fn touch(&mut self, range: std::ops::Range<usize>) {
        for page in range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES) {
            let bytes = self.cache[self.page(page)].to_vec();
            self.versions.entry(page).or_default().push(bytes);
        }
    }

    /// Writes into the page cache. False when it is not within the file.
    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) -> bool {
        let range = offset..offset + bytes.len();
        let Some(target) = self.cache.get_mut(range.clone()) else {
            return false;
        };
        target.copy_from_slice(bytes);
        self.touch(range);
        true
    }

    /// Reads past the page cache: dirty pages are written back first, clean ones come from the device.
    pub(crate) fn read_direct(&self, offset: usize, out: &mut [u8]) -> bool {
        let end = offset + out.len();
        if end > self.cache.len() {
            return false;
        }
        for page in offset / PAGE_BYTES..end.div_ceil(PAGE_BYTES) {
            let range = self.page(page);
            let (from, to) = (range.start.max(offset), range.end.min(end));
            let image = if self.versions.contains_key(&page) {
                &self.cache
            } else {
                &self.device
            };
            out[from - offset..to - offset].copy_from_slice(&image[from..to]);
        }
        true
    }

    /// A sync begins: it covers what is written now.
    pub(crate) fn sync_point(&self) -> SyncPoint {
        self.versions
            .iter()
            .map(|(page, versions)| (*page, versions.len()))
            .collect()
    }

    /// A sync of `pages` is done: what was written before it began is on the device.
    pub(crate) fn sync(&mut self, point: &SyncPoint, pages: std::ops::Range<usize>) {
        self.fresh = false;
        for &(page, count) in point {
            let range = self.page(page);
            let Some(versions) = self.versions.get_mut(&page) else {
                continue;
            };
            if !pages.contains(&page) {
                continue;
            }
            let count = count.min(versions.len());
            if let Some(last) = versions.drain(..count).next_back() {
                self.device[range].copy_from_slice(&last);
            }
            if versions.is_empty() {
                self.versions.remove(&page);
            }
        }
    }

    /// Everything that was written is on the device.
    pub(crate) fn sync_all(&mut self) {
        self.sync(&self.sync_point(), 0..usize::MAX);
    }

    /// A sync fails: some pages came to the device, and all count as clean. The page cache keeps what was written, or
    /// goes back to what the device holds.
    pub(crate) fn fail_sync(&mut self, cache_keeps: bool, rng: &mut Rng) {
        for (page, versions) in std::mem::take(&mut self.versions) {
            let range = self.page(page);
            if let Some(kept) = (rng.below(versions.len() as u64 + 1) as usize).checked_sub(1) {
                self.device[range.clone()].copy_from_slice(&versions[kept]);
            }
            if !cache_keeps {
                let (cache, device) = (&mut self.cache[range.clone()], &self.device[range]);
                cache.copy_from_slice(device);
            }
        }
    }

    /// Power fails.
    pub(crate) fn lose_power(
        &mut self,
        loss: PowerLoss,
        is_newest: bool,
        faults: &mut Faults,
        rng: &mut Rng,
    ) {
        let keep_all = match loss {
            PowerLoss::LoseAll => Some(false),
            PowerLoss::KeepAll => Some(true),
            PowerLoss::NewestFile => Some(is_newest),
            PowerLoss::Pages => None,
        };
        for (page, versions) in std::mem::take(&mut self.versions) {
            let range = self.page(page);
            let Some(newest) = versions.last() else {
                continue;
            };
            let old = &self.device[range.clone()];
            let outcome = match keep_all {
                Some(true) => newest.clone(),
                Some(false) => continue,
                None => one_page(old, &versions, faults, rng),
            };
            self.device[range].copy_from_slice(&outcome);
        }
        if self.fresh && keep_all != Some(true) && faults.strikes(Fault::CrashShortFile) {
            let len = rng.below(self.device.len() as u64 + 1) as usize;
            self.device.truncate(len);
            rng_fill(&mut self.device, rng);
        }
        self.fresh = false;
        self.cache.clone_from(&self.device);
    }
}

/// What the device holds of one page after a power loss.
fn one_page(old: &[u8], versions: &[Vec<u8>], faults: &mut Faults, rng: &mut Rng) -> Vec<u8> {
    let newest = versions.last().map_or(old, |version| &version[..]);
    if versions.len() > 1 && faults.strikes(Fault::CrashOldVersion) {
        return versions[rng.below(versions.len() as u64 - 1) as usize].clone();
    }
    let sectors = old.len() / SECTOR_BYTES;
    let mut page = old.to_vec();
    let take = |page: &mut [u8], sector: usize| {
        let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
        page[range.clone()].copy_from_slice(&newest[range]);
    };
    if faults.strikes(Fault::CrashSectorSubset) {
        let chosen = rng.bits();
        (0..sectors)
            .filter(|sector| chosen >> sector & 1 == 1)
            .for_each(|sector| take(&mut page, sector));
        return page;
    }
    if faults.strikes(Fault::CrashPrefixTear) {
        (0..rng.below(sectors as u64 + 1) as usize).for_each(|sector| take(&mut page, sector));
        return page;
    }
    // A sector that is written with the bytes that it holds already keeps them; see docs/TESTING.md.
    let differs = |sector: &usize| {
        let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
        old[range.clone()] != newest[range]
    };
    if faults.strikes(Fault::CrashShornSector) {
        (0..sectors).for_each(|sector| take(&mut page, sector));
        let differing: Vec<usize> = (0..sectors).filter(differs).collect();
        if let Some(&sector) = differing.get(rng.below(differing.len() as u64) as usize) {
            let at = sector * SECTOR_BYTES + rng.below(SECTOR_BYTES as u64) as usize;
            page[at..(sector + 1) * SECTOR_BYTES]
                .copy_from_slice(&old[at..(sector + 1) * SECTOR_BYTES]);
        }
        return page;
    }
    let (garbage, zero) = (
        faults.strikes(Fault::CrashGarbage),
        faults.strikes(Fault::CrashZeroFill),
    );
    if garbage || zero {
        for sector in (0..sectors).filter(differs) {
            let sector = &mut page[sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES];
            if garbage {
                rng_fill(sector, rng);
            } else {
                sector.fill(0);
            }
        }
        return page;
    }
    if faults.strikes(Fault::CrashPageSubset) {
        return page;
    }
    newest.to_vec()
}

fn rng_fill(bytes: &mut [u8], rng: &mut Rng) {
    for chunk in bytes.chunks_mut(8) {
        let bits = rng.bits().to_le_bytes();
        chunk.copy_from_slice(&bits[..chunk.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_after_a_sync_began_is_not_covered_by_it() {
        let mut file = File::zeros(2 * PAGE_BYTES);
        file.sync_all();
        assert!(file.write(0, b"before"));
        let point = file.sync_point();
        assert!(file.write(0, b"during"));
        assert!(file.write(PAGE_BYTES, b"during"));
        file.sync(&point, 0..2);
        let (mut faults, mut rng) = (Faults::new(1, &[]), Rng(1));
        file.lose_power(PowerLoss::LoseAll, true, &mut faults, &mut rng);
        assert_eq!(&file.cached()[..6], b"before");
        assert_eq!(file.cached()[PAGE_BYTES], 0);
    }

    #[test]
    fn after_a_failed_sync_a_second_one_brings_nothing_to_the_device() {
        let mut file = File::zeros(PAGE_BYTES);
        file.sync_all();
        assert!(file.write(0, b"lost"));
        // This random number keeps no version.
        file.fail_sync(true, &mut Rng(3));
        assert_eq!(&file.cached()[..4], b"lost");
        file.sync_all();
        let mut out = [1; 4];
        assert!(file.read_direct(0, &mut out));
        assert!(out == [0; 4] || out == *b"lost");
        file.lose_power(
            PowerLoss::KeepAll,
            true,
            &mut Faults::new(1, &[]),
            &mut Rng(1),
        );
        assert_eq!(file.cached()[..4], out, "what was read is what is there");
    }
}
