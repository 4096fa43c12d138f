//! A stream's directory on a real file system.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, FlockOperation};
use trunkline_log::{Files, SegmentFile, segment_index, segment_name};

/// Blocking access to one stream's directory, which it keeps locked.
#[derive(Debug)]
pub(crate) struct DirFiles {
    path: PathBuf,
    /// Directory entries are made durable through this.
    dir: File,
    /// Held for its lock.
    _lock: File,
    open: BTreeMap<u64, File>,
    /// Bytes kept in `quarantine/` at most; the oldest copies are not removed, later ones are not made.
    quarantine_bytes_left: u64,
}

/// What is copied aside for one stream at most.
const QUARANTINE_BYTES: u64 = 256 << 20;
/// Zeros are written in pieces of this size.
static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

impl DirFiles {
    /// Opens or creates the directory and takes its lock.
    ///
    /// # Errors
    /// The system's; `WouldBlock` when another process has the directory.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("LOCK"))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        let dir = File::open(path)?;
        if let Some(parent) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self {
            path: path.into(),
            dir,
            _lock: lock,
            open: BTreeMap::new(),
            quarantine_bytes_left: QUARANTINE_BYTES,
        })
    }

    /// The segment's file, opened once.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn file(&mut self, segment: u64) -> io::Result<&File> {
        use std::collections::btree_map::Entry;
        Ok(match self.open.entry(segment) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let path = self.path.join(segment_name(segment));
                entry.insert(OpenOptions::new().read(true).write(true).open(path)?)
            }
        })
    }
}

impl Files for DirFiles {
    fn list(&mut self) -> io::Result<Vec<SegmentFile>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some(index) = segment_index(name) {
                segments.push(SegmentFile {
                    index,
                    bytes: entry.metadata()?.len(),
                });
            } else if name
                .strip_suffix(".new")
                .is_some_and(|name| segment_index(name).is_some())
            {
                fs::remove_file(entry.path())?;
            }
        }
        self.dir.sync_all()?;
        Ok(segments)
    }

    fn create(&mut self, segment: u64, bytes: u64) -> io::Result<()> {
        let name = segment_name(segment);
        let new = self.path.join(format!("{name}.new"));
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&new)?;
        let filled = fill_with_zeros(&file, bytes).and_then(|()| file.sync_all());
        if let Err(error) = filled {
            // What could be allocated is given back: others may need it.
            let _ = fs::remove_file(&new);
            return Err(error);
        }
        fs::rename(&new, self.path.join(name))?;
        self.dir.sync_all()?;
        self.open.insert(segment, file);
        Ok(())
    }

    fn read_at(&mut self, segment: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file(segment)?.read_exact_at(out, offset)
    }

    fn write_at(&mut self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(segment)?.write_all_at(bytes, offset)
    }

    fn sync(&mut self, segment: u64) -> io::Result<()> {
        self.file(segment)?.sync_data()
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.open.remove(&segment);
        fs::remove_file(self.path.join(segment_name(segment)))?;
        self.dir.sync_all()
    }

    fn keep_aside(&mut self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let Some(left) = self.quarantine_bytes_left.checked_sub(bytes.len() as u64) else {
            return Ok(());
        };
        self.quarantine_bytes_left = left;
        let dir = self.path.join("quarantine");
        fs::create_dir_all(&dir)?;
        let copy = File::create(dir.join(format!("{segment:016x}-{offset:08x}")))?;
        copy.write_all_at(bytes, 0)?;
        copy.sync_all()
    }
}

/// Allocates, then writes every byte: extents that were never written would cost a journal commit with each sync.
fn fill_with_zeros(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
        Err(error) => return Err(error.into()),
    }
    let mut at = 0;
    while at < bytes {
        let len = (bytes - at).min(ZEROS.len() as u64);
        file.write_all_at(&ZEROS[..len as usize], at)?;
        at += len;
    }
    Ok(())
}
