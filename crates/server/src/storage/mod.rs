//! The data directory: who may use it, which format it has, and what lies where.
//!
//! ```text
//! DIR/
//!   LOCK              held, as the directory itself is, by the server that uses it; holds its process id
//!   FORMAT            the version of this layout; a newer one is refused
//!   added/NAME.json   a stream that was added while the server ran, as `streams` in a configuration would say it
//!   added/NAME.removed  such a stream, while its files are being removed
//!   created/NAME      says that the stream has segments
//!   created/cursors.workers  says how many logs of durable cursors there are
//!   streams/NAME/     one durable stream: its segments (docs/format/log.md)
//!   cursors/N/        where worker N keeps durable cursors: a stream's segments, too (docs/format/cursors.md)
//!   …/quarantine/     in each of them: bytes that were copied aside before recovery or repair overwrote them
//! ```
//!
//! Everything here blocks. It runs before anything is served, or on threads that serve nothing.

mod created;
mod lock;
mod removal;
mod segment_file;
mod stream_dir;
mod view;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::config::WORKERS_MAX;
use lock::Lock;
pub use stream_dir::{ALIGN_BYTES, Space, StreamDir};
use trunkline_log::segment_index;
pub use view::{Segments, View};

/// A data directory that this process owns until it drops this.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: Lock,
}

/// Why a data directory cannot be used; each says what to do.
#[derive(Debug)]
pub enum StorageError {
    /// Another process has it.
    Held {
        /// The directory.
        path: PathBuf,
        /// Its process id, when the lock file says so.
        holder: Option<u32>,
        /// That process has ended, and the system has not let go of its files yet.
        ended: bool,
    },
    /// A newer version wrote it.
    Newer {
        /// The directory.
        path: PathBuf,
        /// What its `FORMAT` says.
        found: u32,
    },
    /// It holds files that are not ours.
    Foreign {
        /// The directory.
        path: PathBuf,
        /// One of the files.
        example: String,
    },
    /// No server was ever given it.
    NotOurs {
        /// Where a directory was looked for.
        path: PathBuf,
    },
    /// It is the directory of one stream.
    OneStream {
        /// The directory.
        path: PathBuf,
    },
    /// `FORMAT` is not one of ours.
    Unreadable {
        /// The file.
        path: PathBuf,
    },
    /// A stream had segments, and none of them is there.
    Gone {
        /// Its name.
        name: String,
        /// Where they were.
        path: PathBuf,
        /// The file that says so.
        note: PathBuf,
    },
    /// The file that says how many logs of durable cursors there are does not.
    Note {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    Io {
        /// What was done, as a verb: `create`, `read`, `write`.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// The refusal.
        error: io::Error,
    },
}

impl DataDir {
    /// Creates the directory if it is not there, takes it for this process, and checks its format.
    ///
    /// # Errors
    /// See [`StorageError`].
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        make_dir(path).map_err(failed("create", path))?;
        refuse_foreign(path)?;
        let lock = Lock::take(path)?;
        check_format(path)?;
        for folder in [STREAMS, ADDED] {
            let folder = path.join(folder);
            make_dir(&folder).map_err(failed("create", &folder))?;
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of one durable stream, created if it is not there.
    ///
    /// # Errors
    /// [`StorageError::Gone`] when it had segments and has none, and the system's.
    pub fn stream(&self, name: &str, space: Space) -> Result<StreamDir, StorageError> {
        let path = self.path.join(STREAMS).join(name);
        let dir = StreamDir::open(&path, space).map_err(failed("open", &path))?;
        self.check_created(name, &dir)?;
        Ok(dir)
    }

    /// A directory that is there already, with its streams, for this process; nothing is created.
    ///
    /// # Errors
    /// See [`StorageError`].
    pub fn open_existing(path: &Path) -> Result<Self, StorageError> {
        if View::open(path)?.is_one_stream() {
            return Err(StorageError::OneStream {
                path: path.to_owned(),
            });
        }
        let lock = Lock::take(path)?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Names of the streams that have a directory, sorted; those of a configuration and others.
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

    /// The streams that were added while a server ran, sorted by name: name and description, or why that cannot be read.
    ///
    /// # Errors
    /// The system's.
    pub fn added(&self) -> Result<Vec<(String, io::Result<String>)>, StorageError> {
        let folder = self.path.join(ADDED);
        let names = names(&folder, |entry| {
            let path = entry.path();
            path.extension()
                .is_some_and(|end| end == "json")
                .then(|| path.file_stem().map(Into::into))?
        })
        .map_err(failed("read", &folder))?;
        let described = names.into_iter().map(|name| {
            let text = fs::read_to_string(self.description(&name));
            (name, text)
        });
        Ok(described.collect())
    }

    /// Where a stream that was added is remembered.
    #[must_use]
    pub fn description(&self, name: &str) -> PathBuf {
        self.path.join(ADDED).join(format!("{name}.json"))
    }

    /// Remembers a stream that was added while the server runs.
    ///
    /// # Errors
    /// The system's; nothing is remembered then.
    pub fn add(&self, name: &str, description: &str) -> Result<(), StorageError> {
        let path = self.description(name);
        replace(&path, description.as_bytes()).map_err(failed("write", &path))
    }

    /// Forgets a stream that was added.
    ///
    /// # Errors
    /// The system's. A stream that was not added is no error.
    pub fn forget(&self, name: &str) -> Result<(), StorageError> {
        let folder = self.path.join(ADDED);
        let path = folder.join(format!("{name}.json"));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &path)(error));
            }
            _ => {}
        }
        sync_dir(&folder).map_err(failed("sync", &folder))
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held {
                path,
                holder: Some(pid),
                ended: true,
            } => write!(
                f,
                "data directory {} was in use by process {pid}, which has ended, but the system still works on its last writes; try again",
                path.display()
            ),
            Self::Held { path, holder, .. } => {
                write!(f, "data directory {} is in use by ", path.display())?;
                match holder {
                    Some(pid) => write!(f, "process {pid}")?,
                    None => f.write_str("another process")?,
                }
                f.write_str("; stop it, or give this server another directory with --data")
            }
            Self::Newer { path, found } => write!(
                f,
                "data directory {} has format {found}, and this version knows formats up to {FORMAT_VERSION}; \
                 use the version that wrote it, or a newer one",
                path.display()
            ),
            Self::Foreign { path, example } => write!(
                f,
                "{} is not empty and not a data directory of trunkline (it holds {example}); \
                 name an empty or a new directory with --data{}",
                path.display(),
                lost_format(path)
            ),
            Self::NotOurs { path } => write!(
                f,
                "{} {}; name with --data what `trunkline serve` has there: a directory with a file {FORMAT} and a folder {STREAMS}{}",
                path.display(),
                match path.symlink_metadata() {
                    Err(_) => "is not there",
                    Ok(_) => "is no data directory of trunkline",
                },
                lost_format(path)
            ),
            Self::OneStream { path } => write!(
                f,
                "{} is the directory of one stream; name the data directory that it belongs to with --data",
                path.display()
            ),
            Self::Unreadable { path } => write!(
                f,
                "{} does not say a format; it was not written by trunkline, or is damaged: \
                 if the directory is one of this version, write the line `{FORMAT_WORDS} {FORMAT_VERSION}` to it",
                path.display()
            ),
            Self::Note { path } => write!(
                f,
                "{} does not say how many logs of durable cursors there are, a number from 1 to {WORKERS_MAX}: \
                 remove the file; the next start writes it again",
                path.display()
            ),
            Self::Gone { name, path, note } => write!(
                f,
                "stream {name} is damaged: all its segments in {} are missing or hold nothing but zeros, and with them its records; \
                 put them back, or, to give the records up and begin an empty stream, remove {}",
                path.display(),
                note.display()
            ),
            Self::Io { doing, path, error } => {
                write!(f, "cannot {doing} {}: {error}", path.display())?;
                match error.kind() {
                    io::ErrorKind::PermissionDenied => f.write_str(
                        "; run as a user who may write there, change its owner, or name another directory with --data",
                    ),
                    io::ErrorKind::ReadOnlyFilesystem => {
                        f.write_str("; the file system is read-only: name another directory with --data")
                    }
                    io::ErrorKind::StorageFull => f.write_str("; free some space"),
                    io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                        f.write_str("; it is not a directory: name another with --data")
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for StorageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// What else to do where a directory has streams and no `FORMAT`.
fn lost_format(path: &Path) -> String {
    match path.join(STREAMS).is_dir() {
        true => format!(
            "; if it is one of this version whose {FORMAT} was lost, write the line `{FORMAT_WORDS} {FORMAT_VERSION}` to {}",
            path.join(FORMAT).display()
        ),
        false => String::new(),
    }
}

/// Where a stream's files are. `cursors/N` is no stream's name, and names the log of cursors.
fn stream_path(data: &Path, name: &str) -> PathBuf {
    if name.starts_with(CURSORS) {
        data.join(name)
    } else {
        data.join(STREAMS).join(name)
    }
}

/// A directory without a `FORMAT` must be empty, but for what an interrupted first start or a file system leaves.
fn refuse_foreign(path: &Path) -> Result<(), StorageError> {
    if path.join(FORMAT).exists() {
        return Ok(());
    }
    let harmless = [LOCK, "FORMAT.new", "lost+found"];
    let found = names(path, |entry| Some(entry.file_name())).map_err(failed("read", path))?;
    match found
        .into_iter()
        .find(|name| !harmless.contains(&name.as_str()))
    {
        Some(example) => Err(StorageError::Foreign {
            path: path.to_owned(),
            example,
        }),
        None => Ok(()),
    }
}

/// Reads `FORMAT`, or writes it into a new directory.
fn check_format(path: &Path) -> Result<(), StorageError> {
    let file = path.join(FORMAT);
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = format!("{FORMAT_WORDS} {FORMAT_VERSION}\n");
            return replace(&file, text.as_bytes()).map_err(failed("write", &file));
        }
        Err(error) => return Err(failed("read", &file)(error)),
    };
    read_format(path, &text)
}

/// What `FORMAT` says must be known.
fn read_format(path: &Path, text: &str) -> Result<(), StorageError> {
    let version = text
        .trim()
        .strip_prefix(FORMAT_WORDS)
        .and_then(|rest| rest.trim().parse().ok());
    match version {
        Some(found @ 1..) if found > FORMAT_VERSION => Err(StorageError::Newer {
            path: path.to_owned(),
            found,
        }),
        Some(1..) => Ok(()),
        _ => Err(StorageError::Unreadable {
            path: path.join(FORMAT),
        }),
    }
}

/// Random bits from the system.
///
/// # Errors
/// The system's.
pub fn entropy() -> io::Result<u128> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u128::from_le_bytes(bytes))
}

/// Whether there is a segment in a directory; in one that is not there, there is none.
pub(crate) fn has_segments(path: &Path) -> io::Result<bool> {
    let segments = names(path, |entry| {
        let name = entry.file_name();
        segment_index(&name.to_string_lossy())
            .is_some()
            .then_some(name)
    });
    match segments {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        segments => Ok(!segments?.is_empty()),
    }
}

/// Whether a log was begun in a directory. One that is known to have been is lost where this is false, be its files gone or zero.
pub(crate) fn is_begun(path: &Path) -> io::Result<bool> {
    Ok(has_segments(path)? && !trunkline_log::is_unused(&mut Segments::new(path)))
}

fn names(
    path: &Path,
    mut keep: impl FnMut(&fs::DirEntry) -> Option<std::ffi::OsString>,
) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.extend(keep(&entry?).and_then(|name| name.into_string().ok()));
    }
    names.sort();
    Ok(names)
}

/// Brings a small file into being so that it is there whole or not at all, whatever happens.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut fresh = path.to_owned().into_os_string();
    fresh.push(".new");
    let mut file = File::create(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Brings a directory into being, with those above it that are missing. When it returns, its name survives a crash, whoever made it.
fn make_dir(path: &Path) -> io::Result<()> {
    let above = match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    if !path.is_dir() {
        if !above.is_dir() {
            make_dir(above)?;
        }
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            made => made?,
        }
    }
    match sync_dir(above) {
        // Where the names may not even be read, they are not ours to keep.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

/// A new, renamed or removed name survives a crash only once its directory is synced.
fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> StorageError + 'a {
    move |error| StorageError::Io {
        doing,
        path: path.to_owned(),
        error,
    }
}

const LOCK: &str = "LOCK";
const FORMAT: &str = "FORMAT";
const STREAMS: &str = "streams";
const ADDED: &str = "added";
const CURSORS: &str = "cursors/";
const FORMAT_WORDS: &str = "trunkline data directory, format";
/// The newest layout that this version reads, and the one it writes.
pub const FORMAT_VERSION: u32 = 1;
