//! Keeps a second server out of a data directory.
//!
//! Two locks of the kernel's (`flock`), which go with the process that holds them, however that ends: one on the directory itself, which
//! stays when somebody tidies the file `LOCK` away, and one on `LOCK`, which older versions know and which also keeps where
//! a file system locks no directories. The file's contents only tell people who has it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::{LOCK, StorageError, failed};

/// A held lock.
#[derive(Debug)]
pub(super) struct Lock {
    _directory: Option<File>,
    _file: File,
}

impl Lock {
    /// Takes the lock of a directory. After a kill, operations that the kernel still works on keep the files of the dead
    /// process, and with them its locks: for a moment, or as long as a slow disk takes. So a lock whose holder has ended is waited for.
    pub(super) fn take(directory: &Path) -> Result<Self, StorageError> {
        for attempt in 0.. {
            if let Some(lock) = Self::attempt(directory)? {
                return Ok(lock);
            }
            let holder = read_holder(directory);
            let ended = holder.is_some_and(has_ended);
            if attempt >= if ended { ATTEMPTS_ENDED } else { ATTEMPTS } {
                return Err(StorageError::Held {
                    path: directory.to_owned(),
                    holder,
                    ended,
                });
            }
            std::thread::sleep(PAUSE);
        }
        unreachable!("the attempts end")
    }

    /// None: somebody has it, or the file that was locked is not the one that is there.
    fn attempt(directory: &Path) -> Result<Option<Self>, StorageError> {
        // First, so that who is refused leaves no new file where one was removed.
        let of_directory = File::open(directory).and_then(|file| Ok((try_lock(&file)?, file)));
        let path = directory.join(LOCK);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let locked = match of_directory {
            Ok((false, _)) => return Ok(None),
            Ok((true, file)) if !is_at(&file, directory) => return Ok(None),
            Ok((true, file)) => Ok(file),
            Err(error) => Err(error),
        };
        let mut file = options.open(&path).map_err(failed("open", &path))?;
        if !try_lock(&file).map_err(failed("lock", &path))? || !is_at(&file, &path) {
            return Ok(None);
        }
        write_holder(&mut file).map_err(failed("write", &path))?;
        if let Err(error) = &locked {
            tracing::warn!(
                %error,
                path = %directory.display(),
                "the file system does not lock directories: only the file LOCK keeps a second server out; leave it where it is"
            );
        }
        Ok(Some(Self {
            _directory: locked.ok(),
            _file: file,
        }))
    }
}

/// The process that has the lock of a directory now, if one has: 0 when it does not say which.
pub(super) fn holder(directory: &Path) -> Option<u32> {
    let is_held = |path: &Path| {
        File::open(path).is_ok_and(|file| {
            // Shared, so that two who look do not see each other; given back with the file.
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared)
                == Err(Errno::WOULDBLOCK)
        })
    };
    (is_held(directory) || is_held(&directory.join(LOCK)))
        .then(|| read_holder(directory).unwrap_or(0))
}

/// False: another process has it.
fn try_lock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether nobody has put another file there between opening and locking: this lock keeps nobody out then.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

fn write_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn read_holder(directory: &Path) -> Option<u32> {
    let mut text = String::new();
    let file = File::open(directory.join(LOCK)).ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Whether there is no such process, or nothing but its number is left. (One that is hidden from us only has us wait longer.)
fn has_ended(process: u32) -> bool {
    match fs::read_to_string(format!("/proc/{process}/stat")) {
        Err(_) => true,
        // The state follows the name, which may hold anything.
        Ok(stat) => stat
            .rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with(['Z', 'X'])),
    }
}

const ATTEMPTS: u32 = 5;
/// Five seconds.
const ATTEMPTS_ENDED: u32 = 100;
const PAUSE: Duration = Duration::from_millis(50);
