//! One stream's directory on a file system: [`trunkline_log::Files`] over `std::fs`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, FallocateFlags, OFlags};
use trunkline_log::{Files, SegmentFile, segment_index, segment_name};

use super::{make_dir, segment_file, sync_dir};

/// The segments of one stream. Cheap to clone: clones name the same directory and share nothing else, so that
/// preparing and removing segments can go on elsewhere while the log is open.
#[derive(Debug)]
pub struct StreamDir {
    path: PathBuf,
    space: Space,
    /// Nothing but what is asked for is changed: looking leaves everything as it is.
    as_it_is: bool,
    /// The file that was read last: recovery reads one segment from end to end.
    reading: Option<(u64, Reader)>,
}

/// How the space of a new segment is made sure of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Zeros are written to the device. A write changes nothing but data then, so that a sync waits for nothing else: for streams that sync
    /// each commit.
    Written,
    /// As [`Written`](Self::Written), and nothing goes through the page cache, neither zeros nor records, where the file system can do that.
    PastCache,
    /// The file system reserves it, which costs nothing; a sync also waits for its tables. Without such a file system, as
    /// [`Written`](Self::Written).
    Reserved,
}

impl Clone for StreamDir {
    fn clone(&self) -> Self {
        Self {
            path: self.path.clone(),
            space: self.space,
            as_it_is: self.as_it_is,
            reading: None,
        }
    }
}

impl StreamDir {
    /// Opens a stream's directory, which is created if it is not there.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path, space: Space) -> io::Result<Self> {
        make_dir(path)?;
        Ok(Self {
            as_it_is: false,
            ..Self::as_it_is(path, space)
        })
    }

    /// A directory that is there, of which nothing is tidied up: as long as only reading is asked for, nothing in it changes.
    #[must_use]
    pub fn as_it_is(path: &Path, space: Space) -> Self {
        Self {
            path: path.to_owned(),
            space,
            as_it_is: true,
            reading: None,
        }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A segment's file for reading and writing by a reactor.
    ///
    /// # Errors
    /// [`NotRegular`](trunkline_log::NotRegular), and the system's.
    pub fn segment(&self, segment: u64) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true);
        segment_file::open(&self.segment_path(segment), options, OFlags::empty())
    }

    /// How the space of new segments is made sure of.
    #[must_use]
    pub fn space(&self) -> Space {
        self.space
    }

    /// A segment's file for writes past the page cache: whole blocks of [`ALIGN_BYTES`], from memory that lies as they do.
    ///
    /// # Errors
    /// [`NotRegular`](trunkline_log::NotRegular), and the system's; [`io::ErrorKind::InvalidInput`] where the file system has no such writes.
    pub fn segment_past_cache(&self, segment: u64) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let options = options.write(true);
        segment_file::open(&self.segment_path(segment), options, OFlags::DIRECT)
    }

    /// Where bytes are copied to.
    #[must_use]
    pub fn quarantine(&self) -> PathBuf {
        self.path.join(QUARANTINE)
    }

    /// Adds a line to those that say which repairs were done. When this returns, it survives a crash.
    ///
    /// # Errors
    /// The system's.
    pub fn remember_repair(&self, line: &str) -> io::Result<()> {
        let folder = self.make_quarantine()?;
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(folder.join(REPAIRS))?;
        // In one write, newline and all.
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_all()?;
        sync_dir(&folder)
    }

    /// The folder for copies, created if it is not there.
    fn make_quarantine(&self) -> io::Result<PathBuf> {
        let folder = self.quarantine();
        match make_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let folder = folder.display();
                Err(io::Error::new(
                    error.kind(),
                    format!("{folder} is no directory, and copies go there; move it away"),
                ))
            }
            made => made.map(|()| folder),
        }
    }

    /// A file for a copy, named by the segment and the first byte that is in it. One that is there is never overwritten: the same place
    /// may be copied more than once. None: one of these bytes is there already, so that what is tried again and again fills no disk.
    fn new_copy(
        &self,
        segment: u64,
        offset: u64,
        bytes: &[u8],
    ) -> io::Result<Option<(PathBuf, File)>> {
        let folder = self.make_quarantine()?;
        for nth in 0_u32.. {
            let again = if nth == 0 {
                String::new()
            } else {
                format!("-{nth}")
            };
            let name = format!("{segment:016x}-{offset:08x}{again}");
            let path = folder.join(name);
            let mut options = OpenOptions::new();
            match options.append(true).create_new(true).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if fs::metadata(&path)?.len() == bytes.len() as u64 && fs::read(&path)? == bytes
                    {
                        File::open(&path)?.sync_data()?;
                        sync_dir(&folder)?;
                        return Ok(None);
                    }
                }
                Ok(file) => return Ok(Some((path, file))),
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn segment_path(&self, segment: u64) -> PathBuf {
        self.path.join(segment_name(segment))
    }

    fn reader(&mut self, segment: u64) -> io::Result<&mut Reader> {
        if self
            .reading
            .as_ref()
            .is_none_or(|reading| reading.0 != segment)
        {
            let reader = Reader::open(&self.segment_path(segment))?;
            self.reading = Some((segment, reader));
        }
        match &mut self.reading {
            Some((_, reader)) => Ok(reader),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Files for StreamDir {
    fn list(&mut self) -> io::Result<Vec<SegmentFile>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if let Some(index) = segment_index(&name) {
                // Whatever else has the name of a segment, nothing is read from it or written to it.
                let file = segment_file::regular(&entry.path())?;
                segments.push(SegmentFile {
                    index,
                    bytes: file.len(),
                });
            } else if !self.as_it_is && name.strip_suffix(".new").and_then(segment_index).is_some()
            {
                remove_prepared(&entry.path())?;
            }
        }
        if !self.as_it_is {
            sync_dir(&self.path)?;
        }
        Ok(segments)
    }

    fn create(&mut self, segment: u64, bytes: u64) -> io::Result<()> {
        let path = self.segment_path(segment);
        let fresh = self.path.join(format!("{}.new", segment_name(segment)));
        if fresh.symlink_metadata().is_ok_and(|found| !found.is_file()) {
            remove_prepared(&fresh)?;
        }
        let written =
            make_space(&fresh, bytes, self.space).and_then(|()| fs::rename(&fresh, &path));
        if let Err(error) = written {
            // What is left of it would only take the space that is missing.
            let _ = fs::remove_file(&fresh);
            return Err(error);
        }
        sync_dir(&self.path)
    }

    fn read_at(&mut self, segment: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.reader(segment)?.read_exact_at(offset, out)
    }

    fn write_at(&mut self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.reading = None;
        self.segment(segment)?.write_all_at(bytes, offset)
    }

    fn sync(&mut self, segment: u64) -> io::Result<()> {
        self.segment(segment)?.sync_data()
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.reading = None;
        fs::remove_file(self.segment_path(segment))?;
        sync_dir(&self.path)
    }

    fn resize(&mut self, segment: u64, bytes: u64) -> io::Result<()> {
        self.reading = None;
        let file = self.segment(segment)?;
        let before = file.metadata()?.len();
        file.set_len(bytes)?;
        if let Some(added) = bytes.checked_sub(before).filter(|added| *added > 0) {
            // Where the file system can, so that a write into it finds its space.
            let _ = rustix::fs::fallocate(&file, FallocateFlags::empty(), before, added);
        }
        file.sync_all()
    }

    fn keep_aside(&mut self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let Some((path, mut file)) = self.new_copy(segment, offset, bytes)? else {
            return Ok(());
        };
        let written = file.write_all(bytes).and_then(|()| file.sync_data());
        if written.is_err() {
            // What is left of it would only take the space that is missing.
            let _ = fs::remove_file(&path);
        }
        written.and_then(|()| sync_dir(&self.quarantine()))
    }
}

/// Removes what is left of a segment in preparation.
fn remove_prepared(path: &Path) -> io::Result<()> {
    fs::remove_file(path).map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::IsADirectory => "; move it out of the stream's directory",
            _ => "",
        };
        let path = path.display();
        let what = "a segment in preparation has this name and is to be removed";
        io::Error::new(error.kind(), format!("{path}: {what}: {error}{remedy}"))
    })
}

/// A file of `bytes` zeros.
fn make_space(path: &Path, bytes: u64, space: Space) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    // One piece on the disk where the file system can; and a full disk says so before anything is written.
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) if space == Space::Reserved => return file.sync_all(),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS)
        | Ok(()) => {}
        Err(error) => return Err(error.into()),
    }
    if space == Space::PastCache && zeros_past_cache(path, bytes)? {
        return file.sync_all();
    }
    // A write makes folios of the page cache as large as itself, and each small write later on pays for the whole folio that it falls into, while
    // many small folios make large writes and syncs slow. Measured on ext4, folios of 4 KiB, 64 KiB and 1 MiB: 1.7, 1.6 and 4.8 µs
    // for a write of 1 KiB, 94, 53 and 43 µs for one of 256 KiB, 151, 103 and 116 µs for the sync behind that.
    let zeros = [0_u8; FILL_BYTES];
    let mut offset = 0;
    while offset < bytes {
        let count = zeros.len().min((bytes - offset) as usize);
        file.write_all_at(&zeros[..count], offset)?;
        offset += count as u64;
        // In portions, so that the syncs of records do not wait behind a whole segment of zeros.
        if offset.is_multiple_of(PORTION_BYTES) {
            file.sync_data()?;
        }
    }
    file.sync_all()
}

/// Writes `bytes` zeros that the page cache never sees, as it will not see the records that take their place; or nothing that counts, where the file
/// system has no such writes.
fn zeros_past_cache(path: &Path, bytes: u64) -> io::Result<bool> {
    let written = || -> io::Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .custom_flags(OFlags::DIRECT.bits() as i32)
            .open(path)?;
        let memory = vec![0_u8; DIRECT_FILL_BYTES + ALIGN_BYTES];
        let start = memory.as_ptr().align_offset(ALIGN_BYTES);
        let zeros = &memory[start..start + DIRECT_FILL_BYTES];
        let mut offset = 0;
        while offset < bytes {
            let count = zeros.len().min((bytes - offset) as usize);
            file.write_all_at(&zeros[..count], offset)?;
            offset += count as u64;
        }
        Ok(())
    };
    match written() {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads one file past the page cache where the file system allows it.
#[derive(Debug)]
struct Reader {
    file: File,
    /// For direct reads: [`CHUNK_BYTES`] from an aligned place. Empty when reads go through the cache.
    bounce: Vec<u8>,
}

impl Reader {
    fn open(path: &Path) -> io::Result<Self> {
        match segment_file::open(path, OpenOptions::new().read(true), OFlags::DIRECT) {
            Ok(file) => Ok(Self {
                file,
                bounce: vec![0; CHUNK_BYTES + ALIGN_BYTES],
            }),
            // The errors of file systems that keep files in memory anyway.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Self::cached(path),
            Err(error) => Err(error),
        }
    }

    fn cached(path: &Path) -> io::Result<Self> {
        let file = segment_file::open(path, OpenOptions::new().read(true), OFlags::empty())?;
        // Clean pages go, so that what is read comes from the device; it is only a request.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        Ok(Self {
            file,
            bounce: Vec::new(),
        })
    }

    fn read_exact_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.bounce.is_empty() {
            return self.file.read_exact_at(out, offset);
        }
        let start = self.bounce.as_ptr().align_offset(ALIGN_BYTES);
        let aligned = &mut self.bounce[start..start + CHUNK_BYTES];
        let mut done = 0;
        while done < out.len() {
            let from = offset + done as u64;
            let base = from & !(ALIGN_BYTES as u64 - 1);
            let skip = (from - base) as usize;
            let wanted = (skip + out.len() - done)
                .next_multiple_of(ALIGN_BYTES)
                .min(CHUNK_BYTES);
            let read = self.file.read_at(&mut aligned[..wanted], base)?;
            if read <= skip {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let count = (read - skip).min(out.len() - done);
            out[done..done + count].copy_from_slice(&aligned[skip..skip + count]);
            done += count;
        }
        Ok(())
    }
}

/// Beside the copies: a line of JSON for each repair, which says what was done.
pub(super) const REPAIRS: &str = "repairs.jsonl";
/// The folder that copies go to.
pub(super) const QUARANTINE: &str = "quarantine";
const CHUNK_BYTES: usize = 1 << 20;
/// Zeros that are on their way to the device at once: about 2 ms of a good one.
const PORTION_BYTES: u64 = 1 << 20;
/// What zeros are written in.
const FILL_BYTES: usize = 64 << 10;
/// What they are written in past the page cache: a commit waits behind one of these at most, about 0.4 ms of a good device.
const DIRECT_FILL_BYTES: usize = 256 << 10;
/// The largest block of any device that is in use.
pub const ALIGN_BYTES: usize = 4096;
