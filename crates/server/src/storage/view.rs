//! A data directory looked at without owning it: nothing is changed, and a server may be using it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use trunkline_log::{Files, SegmentFile, segment_index, segment_name};

use super::{FORMAT, STREAMS, StorageError, failed, lock, names, read_format};

/// A data directory that somebody else may be using.
#[derive(Debug)]
pub struct View {
    path: PathBuf,
}

/// The segments of one stream, for reading only: whatever would change them fails.
#[derive(Debug)]
pub struct Segments {
    path: PathBuf,
    /// The file that was read last: a segment is read from end to end.
    reading: Option<(u64, File)>,
}

impl View {
    /// Looks at a data directory that is there.
    ///
    /// # Errors
    /// See [`StorageError`].
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let file = path.join(FORMAT);
        let text = fs::read_to_string(&file).map_err(failed("read", &file))?;
        read_format(path, &text)?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// The process that uses the directory now, if one does: 0 when it does not say which.
    #[must_use]
    pub fn holder(&self) -> Option<u32> {
        lock::holder(&self.path)
    }

    /// Names of the durable streams that have a directory, sorted.
    ///
    /// # Errors
    /// The system's.
    pub fn streams(&self) -> Result<Vec<String>, StorageError> {
        let path = self.path.join(STREAMS);
        names(&path, |entry| {
            entry.path().is_dir().then(|| entry.file_name())
        })
        .map_err(failed("read", &path))
    }

    /// The segments of a stream.
    #[must_use]
    pub fn stream(&self, name: &str) -> Segments {
        Segments {
            path: self.path.join(STREAMS).join(name),
            reading: None,
        }
    }
}

impl Files for Segments {
    fn list(&mut self) -> io::Result<Vec<SegmentFile>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if let Some(index) = segment_index(&entry.file_name().to_string_lossy()) {
                let bytes = entry.metadata()?.len();
                segments.push(SegmentFile { index, bytes });
            }
        }
        Ok(segments)
    }

    fn read_at(&mut self, segment: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let file = match self.reading.take() {
            Some((open, file)) if open == segment => file,
            _ => File::open(self.path.join(segment_name(segment)))?,
        };
        let read = file.read_exact_at(out, offset);
        self.reading = Some((segment, file));
        read
    }

    fn create(&mut self, _segment: u64, _bytes: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn write_at(&mut self, _segment: u64, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&mut self, _segment: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn remove(&mut self, _segment: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}
