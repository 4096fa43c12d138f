//! All directories of a machine on one device.

use std::collections::BTreeMap;

use trunkline_log::testing::Rng;

use super::directory::{Directory, Name};
use super::file::{File, PAGE_BYTES, PowerLoss};
use crate::faults::{Fault, Faults};

/// The number of a stream's directory: its log's id.
pub(super) type LogDirectory = u32;

/// The device of one machine and what the kernel keeps of it.
#[derive(Clone, Debug)]
pub(crate) struct Drive {
    files: BTreeMap<u64, File>,
    directories: BTreeMap<LogDirectory, Directory>,
    next_file: u64,
    /// Reads of recovery go past the page cache.
    pub direct_reads: bool,
    /// Bytes that all files together may have.
    space: u64,
    /// After so many operations of a process, it is killed.
    pub operations_left: u64,
    /// Copies that recovery kept of what it overwrites: directory, segment, offset, bytes.
    kept_aside: Vec<(LogDirectory, u64, u64, Vec<u8>)>,
    /// By directory, segment and page: what recovery could read before it wrote there.
    seen: BTreeMap<(LogDirectory, u64, usize), Vec<u8>>,
    /// What recovery overwrote without a copy.
    pub destroyed: Option<String>,
    /// The process that holds the lock of the directories.
    holder: Option<Holder>,
}

/// A process, as the lock knows it.
pub(crate) type Holder = u32;

impl Drive {
    /// An empty one.
    pub(crate) fn new(direct_reads: bool) -> Self {
        Self {
            files: BTreeMap::new(),
            directories: BTreeMap::new(),
            next_file: 0,
            direct_reads,
            space: u64::MAX,
            operations_left: u64::MAX,
            kept_aside: Vec::new(),
            seen: BTreeMap::new(),
            destroyed: None,
            holder: None,
        }
    }

    /// A stream's directory.
    pub(crate) fn directory(&mut self, directory: LogDirectory) -> &mut Directory {
        self.directories.entry(directory).or_default()
    }

    /// A segment's file.
    pub(crate) fn segment(&mut self, directory: LogDirectory, segment: u64) -> Option<&mut File> {
        self.file(directory, Name::Segment(segment))
    }

    /// Somebody else takes all the space that is left, and keeps it: there is room for what is removed from now on.
    pub(crate) fn fill_up(&mut self) {
        self.space = self.used();
    }

    /// Somebody makes room.
    pub(crate) fn make_room(&mut self) {
        self.space = u64::MAX;
    }

    /// Whether there is room for what is removed only.
    pub(crate) fn is_full(&self) -> bool {
        self.space < u64::MAX
    }

    /// Whether a file of so many bytes can be created.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        self.used() + bytes <= self.space
    }

    fn used(&self) -> u64 {
        let names = self.directories.values().flat_map(Directory::names);
        let files = names.filter_map(|(_, file)| self.files.get(&file));
        files.map(|file| file.len() as u64).sum()
    }

    /// How many segments before this one a stream has files of.
    pub(crate) fn segments_before(&self, directory: LogDirectory, segment: u64) -> usize {
        let names = self.directories.get(&directory).into_iter();
        let is_before = |name| matches!(name, Name::Segment(index) if index < segment);
        names
            .flat_map(Directory::names)
            .filter(|(name, _)| is_before(*name))
            .count()
    }

    /// Bytes of a segment, through the page cache, as many as there are.
    pub(crate) fn read(
        &self,
        directory: LogDirectory,
        segment: u64,
        offset: u64,
        len: u32,
    ) -> Vec<u8> {
        let names = self.directories.get(&directory);
        let file = names.and_then(|names| names.find(Name::Segment(segment)));
        let file = file.and_then(|file| self.files.get(&file));
        let image = file.map_or(&[][..], File::cached);
        let end = image.len().min((offset + u64::from(len)) as usize);
        image.get(offset as usize..end).unwrap_or(&[]).to_vec()
    }

    /// Takes the lock for a process. False: another one has it.
    pub(crate) fn lock(&mut self, process: Holder) -> bool {
        if self.holder.is_some_and(|holder| holder != process) {
            return false;
        }
        self.holder = Some(process);
        true
    }

    /// The process that had the lock is gone.
    pub(crate) fn unlock(&mut self) {
        self.holder = None;
    }

    /// Keeps a copy of what recovery is about to overwrite.
    pub(super) fn keep_aside(
        &mut self,
        directory: LogDirectory,
        segment: u64,
        offset: u64,
        bytes: &[u8],
    ) {
        self.kept_aside
            .push((directory, segment, offset, bytes.to_vec()));
    }

    /// A recovery begins: what it reads from now on is what it knows.
    pub(super) fn forget_seen(&mut self, directory: LogDirectory) {
        self.seen.retain(|(folder, ..), _| *folder != directory);
    }

    /// Recovery writes: notes it when that overwrites bytes which it could read, which mean something, and of which there is no copy.
    pub(super) fn overwrite(
        &mut self,
        directory: LogDirectory,
        segment: u64,
        offset: usize,
        bytes: &[u8],
    ) -> Option<bool> {
        let direct = self.direct_reads;
        let file = self
            .directories
            .get(&directory)?
            .find(Name::Segment(segment))?;
        let file = self.files.get_mut(&file)?;
        for page in offset / PAGE_BYTES..(offset + bytes.len()).div_ceil(PAGE_BYTES) {
            self.seen
                .entry((directory, segment, page))
                .or_insert_with(|| {
                    let range = page * PAGE_BYTES..((page + 1) * PAGE_BYTES).min(file.len());
                    let mut view = file.cached().get(range.clone()).unwrap_or(&[]).to_vec();
                    if direct {
                        file.read_direct(range.start, &mut view);
                    }
                    view
                });
        }
        let (seen, kept_aside) = (&self.seen, &self.kept_aside);
        let lost = bytes.iter().zip(offset..).find(|(new, at)| {
            let view = seen.get(&(directory, segment, at / PAGE_BYTES));
            let old = view
                .and_then(|view| view.get(at % PAGE_BYTES))
                .unwrap_or(&0);
            let is_kept = || {
                kept_aside.iter().any(|(folder, of, from, kept)| {
                    let within = (*at as u64).checked_sub(*from);
                    let byte = within.and_then(|nth| kept.get(nth as usize));
                    (*folder, *of) == (directory, segment) && byte == Some(old)
                })
            };
            *old != 0 && old != *new && !is_kept()
        });
        if let Some((_, at)) = lost {
            self.destroyed = Some(format!(
                "recovery overwrites byte {at} of segment {segment} of stream {directory}, and keeps no copy"
            ));
        }
        Some(file.write(offset, bytes))
    }

    /// The segments of a stream and their contents.
    pub(crate) fn segments(&self, directory: LogDirectory) -> Vec<(u64, Vec<u8>)> {
        let names = self.directories.get(&directory).into_iter();
        let segments = names
            .flat_map(Directory::names)
            .filter_map(|(name, file)| match name {
                Name::Segment(segment) => Some((segment, self.files.get(&file)?.cached().to_vec())),
                Name::New(_) => None,
            });
        segments.collect()
    }

    pub(super) fn file(&mut self, directory: LogDirectory, name: Name) -> Option<&mut File> {
        let file = self.directories.get(&directory)?.find(name)?;
        self.files.get_mut(&file)
    }

    /// Makes a file of zeros under a name.
    pub(super) fn create(&mut self, directory: LogDirectory, name: Name, bytes: u64) {
        self.next_file += 1;
        self.files
            .insert(self.next_file, File::zeros(bytes as usize));
        let file = self.next_file;
        self.directory(directory).link(name, file);
        self.forget_unnamed();
    }

    /// Whether a power loss now could take names away.
    pub(crate) fn has_unsynced_names(&self) -> bool {
        let mut directories = self.directories.values();
        directories.any(Directory::has_unsynced_names)
    }

    fn forget_unnamed(&mut self) {
        let directories = &self.directories;
        self.files
            .retain(|file, _| directories.values().any(|directory| directory.has(*file)));
    }

    /// Power fails. The process is gone as well.
    pub(crate) fn lose_power(&mut self, loss: PowerLoss, faults: &mut Faults, rng: &mut Rng) {
        let keep = match loss {
            PowerLoss::LoseAll => Some(false),
            PowerLoss::KeepAll => Some(true),
            PowerLoss::NewestFile | PowerLoss::Pages => None,
        };
        for directory in self.directories.values_mut() {
            directory.lose_power(keep, faults);
        }
        let newest = self.files.keys().next_back().copied();
        for (number, file) in &mut self.files {
            file.lose_power(loss, Some(*number) == newest, faults, rng);
        }
        self.forget_unnamed();
        self.operations_left = u64::MAX;
    }

    /// What a power loss does here and now.
    pub(crate) fn draw_power_loss(faults: &mut Faults) -> PowerLoss {
        if faults.strikes(Fault::CrashLoseAll) {
            PowerLoss::LoseAll
        } else if faults.strikes(Fault::CrashKeepAll) {
            PowerLoss::KeepAll
        } else if faults.strikes(Fault::CrashCrossFile) {
            PowerLoss::NewestFile
        } else {
            PowerLoss::Pages
        }
    }

    /// One operation of a process; false when it was killed before.
    pub(super) fn count_operation(&mut self) -> bool {
        match self.operations_left.checked_sub(1) {
            Some(left) => {
                self.operations_left = left;
                true
            }
            None => false,
        }
    }

    /// A number for everything that programs can see in a directory.
    pub(crate) fn fingerprint(&self, directory: LogDirectory) -> u64 {
        let names = self.directories.get(&directory).into_iter();
        let mut hash = crate::trace::Hash::default();
        for (name, file) in names.flat_map(Directory::names) {
            let (kind, segment) = match name {
                Name::Segment(segment) => (0, segment),
                Name::New(segment) => (1, segment),
            };
            hash.number(kind);
            hash.number(segment);
            if let Some(file) = self.files.get(&file) {
                hash.bytes(file.cached());
            }
        }
        hash.finish()
    }
}
