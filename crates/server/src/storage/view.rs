//! A data directory looked at without owning it: nothing is changed, and a server may be using it.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use trunkline_log::{Files, SegmentFile, segment_index, segment_name};

use super::created::{CREATED, cursors_noted};
use super::removal::REMOVED;
use super::stream_dir::{QUARANTINE, REPAIRS, Space, StreamDir};
use super::{
    ADDED, CURSORS, FORMAT, STREAMS, StorageError, failed, has_segments, is_begun, lock, names,
    read_format, segment_file, stream_path,
};

/// A data directory that somebody else may be using, or one stream's directory alone, such as a copy of one.
#[derive(Debug)]
pub struct View {
    path: PathBuf,
    /// The name of the stream whose directory it is.
    alone: Option<String>,
}

/// The segments of one stream, for reading only: whatever would change them fails.
#[derive(Debug)]
pub struct Segments {
    path: PathBuf,
    /// The file that was read last: a segment is read from end to end.
    reading: Option<(u64, File)>,
}

impl View {
    /// Looks at a data directory that is there, or at a directory of segments.
    ///
    /// # Errors
    /// See [`StorageError`].
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let file = path.join(FORMAT);
        let alone = match fs::read_to_string(&file) {
            Ok(text) => {
                read_format(path, &text)?;
                None
            }
            Err(error) => match stream_alone(path) {
                Some(name) => Some(name),
                None => return Err(not_ours(path, &file, error)),
            },
        };
        Ok(Self {
            path: path.to_owned(),
            alone,
        })
    }

    /// Whether it is one stream's directory, and no data directory.
    #[must_use]
    pub fn is_one_stream(&self) -> bool {
        self.alone.is_some()
    }

    /// Nobody may be using the directory, or what is being written would be taken for what is damaged.
    ///
    /// # Errors
    /// [`StorageError::Held`] when somebody does.
    pub fn refuse_served(&self) -> Result<(), StorageError> {
        match self.holder() {
            None => Ok(()),
            Some(pid) => Err(StorageError::Held {
                path: self.path.clone(),
                holder: (pid != 0).then_some(pid),
                ended: false,
            }),
        }
    }

    /// The process that uses the directory now, if one does: 0 when it does not say which.
    #[must_use]
    pub fn holder(&self) -> Option<u32> {
        match self.alone {
            None => lock::holder(&self.path),
            // A stream's directory where it belongs; a copy of one may be anywhere.
            Some(_) => {
                let path = self.path.canonicalize().ok()?;
                let data = path.ancestors().nth(2)?;
                data.join(FORMAT).exists().then(|| lock::holder(data))?
            }
        }
    }

    /// Names of the durable streams that have a directory, sorted, and of those that had one, in whose place there is something else now.
    ///
    /// # Errors
    /// The system's.
    pub fn streams(&self) -> Result<Vec<String>, StorageError> {
        if let Some(name) = &self.alone {
            return Ok(vec![name.clone()]);
        }
        let mut streams = self.folders(STREAMS)?;
        for name in self.noted()? {
            if is_begun(&self.path_of(&name)).is_err() {
                streams.push(name);
            }
        }
        streams.sort();
        streams.dedup();
        Ok(streams)
    }

    /// The streams that had segments and have none, or one of zeros, sorted by name: their directories cannot tell, and may have gone, too.
    ///
    /// # Errors
    /// The system's.
    pub fn missing(&self) -> Result<Vec<String>, StorageError> {
        let mut missing = self.noted()?;
        // What cannot be looked at is not known to be missing.
        missing.retain(|name| !is_begun(&self.path_of(name)).unwrap_or(true));
        Ok(missing)
    }

    /// The streams that have had segments, and are not being removed, sorted by name.
    fn noted(&self) -> Result<Vec<String>, StorageError> {
        let folder = self.path.join(CREATED);
        let noted = names(&folder, |entry| Some(entry.file_name()));
        let mut noted = match noted {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            noted => noted.map_err(failed("read", &folder))?,
        };
        let added = self.path.join(ADDED);
        // No name of a stream has a dot: those that have one are on their way, or are not of streams.
        noted.retain(|name| {
            !name.contains('.') && !added.join(format!("{name}.{REMOVED}")).exists()
        });
        Ok(noted)
    }

    /// The logs of durable cursors of which nothing is left, as `cursors/0`. A server begins new ones in their place.
    ///
    /// # Errors
    /// [`StorageError::Note`], and the system's.
    pub fn lost_cursors(&self) -> Result<Vec<String>, StorageError> {
        if self.alone.is_some() {
            return Ok(Vec::new());
        }
        let workers = cursors_noted(&self.path)?.unwrap_or(0);
        let logs = (0..workers).map(|worker| format!("{CURSORS}{worker}"));
        Ok(logs
            .filter(|log| !is_begun(&self.path_of(log)).unwrap_or(true))
            .collect())
    }

    /// What there is to say of one of [`missing`](Self::missing).
    #[must_use]
    pub fn gone(&self, name: &str) -> StorageError {
        StorageError::Gone {
            name: name.to_owned(),
            path: self.path_of(name),
            note: self.path.join(CREATED).join(name),
        }
    }

    /// The files of a stream, or of a log of cursors, for whoever owns the directory or only reads.
    #[must_use]
    pub fn files(&self, name: &str) -> StreamDir {
        StreamDir::as_it_is(&self.path_of(name), Space::Reserved)
    }

    /// The logs that durable cursors are kept in, as `cursors/0`.
    ///
    /// # Errors
    /// The system's.
    pub fn cursors(&self) -> Result<Vec<String>, StorageError> {
        if self.alone.is_some() {
            return Ok(Vec::new());
        }
        let path = self.path.join(CURSORS);
        let found = names(&path, |entry| {
            // A server minds whatever has the number of a worker.
            let numbered = |name: &OsStr| {
                name.to_str()
                    .is_some_and(|name| name.parse::<u32>().is_ok())
            };
            let name = entry.file_name();
            (entry.path().is_dir() || numbered(&name)).then_some(name)
        });
        let found = match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            found => found.map_err(failed("read", &path))?,
        };
        let logs = found.into_iter().map(|name| format!("{CURSORS}{name}"));
        Ok(logs.collect())
    }

    fn folders(&self, of: &str) -> Result<Vec<String>, StorageError> {
        let path = self.path.join(of);
        let found = names(&path, |entry| {
            entry.path().is_dir().then(|| entry.file_name())
        });
        match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            found => found.map_err(failed("read", &path)),
        }
    }

    /// The segments of a stream, or of a log of cursors.
    #[must_use]
    pub fn stream(&self, name: &str) -> Segments {
        Segments::new(&self.path_of(name))
    }

    /// Where the files of a stream are, or of a log of cursors.
    #[must_use]
    pub fn path_of(&self, name: &str) -> PathBuf {
        match self.alone {
            Some(_) => self.path.clone(),
            None => stream_path(&self.path, name),
        }
    }

    /// Files with bytes that were copied aside from a stream, and how many bytes they are.
    ///
    /// # Errors
    /// The system's.
    pub fn quarantine(&self, name: &str) -> Result<(u64, u64), StorageError> {
        let path = self.path_of(name).join(QUARANTINE);
        let sum = || -> io::Result<(u64, u64)> {
            let (mut files, mut bytes) = (0, 0);
            for entry in fs::read_dir(&path)? {
                let entry = entry?;
                if entry.file_name() != REPAIRS {
                    files += 1;
                    bytes += entry.metadata()?.len();
                }
            }
            Ok((files, bytes))
        };
        match sum() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((0, 0)),
            sum => sum.map_err(failed("read", &path)),
        }
    }
}

/// Why a path without a readable `FORMAT` is not looked at.
fn not_ours(path: &Path, file: &Path, error: io::Error) -> StorageError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => StorageError::NotOurs {
            path: path.to_owned(),
        },
        _ => failed("read", file)(error),
    }
}

/// The name of a directory that holds segments.
fn stream_alone(path: &Path) -> Option<String> {
    has_segments(path).ok()?.then(|| {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    })
}

impl Segments {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
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
                match entry.metadata() {
                    Ok(file) => segments.push(SegmentFile {
                        index,
                        bytes: file.len(),
                    }),
                    // A server that runs has removed it since.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(segments)
    }

    fn read_at(&mut self, segment: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let file = match self.reading.take() {
            Some((open, file)) if open == segment => file,
            _ => {
                let path = self.path.join(segment_name(segment));
                // Who only looks waits for nothing, whatever has taken the place of the file.
                segment_file::open(&path, OpenOptions::new().read(true), OFlags::NONBLOCK)?
            }
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
