//! Keeps a second server out of a data directory.
//!
//! The lock is the kernel's (`flock`), so it goes with the process that holds it, however that ends. The file's
//! contents only tell people who has it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::FlockOperation;

use super::{LOCK, StorageError, failed};

/// A held lock.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a directory. After a kill, operations that the kernel still works on keep the files of the dead
    /// process, and with them its lock: for a moment, or as long as a slow disk takes. So a lock whose holder has ended is waited for.
    pub(super) fn take(directory: &Path) -> Result<Self, StorageError> {
        let path = directory.join(LOCK);
        let mut attempt = 0;
        loop {
            let mut options = OpenOptions::new();
            let opened = options
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path);
            let mut file = opened.map_err(failed("open", &path))?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // Somebody removed the file between opening and locking: that lock keeps nobody out.
                Ok(()) if !is_at(&file, &path) => {}
                Ok(()) => {
                    write_holder(&mut file).map_err(failed("write", &path))?;
                    return Ok(Self { _file: file });
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let holder = read_holder(&mut file);
                    let ended = holder.is_some_and(has_ended);
                    if attempt >= if ended { ATTEMPTS_ENDED } else { ATTEMPTS } {
                        return Err(StorageError::Held {
                            path: directory.to_owned(),
                            holder,
                            ended,
                        });
                    }
                }
                Err(error) => return Err(failed("lock", &path)(error.into())),
            }
            attempt += 1;
            std::thread::sleep(PAUSE);
        }
    }
}

/// The process that has the lock of a directory now, if one has: 0 when it does not say which.
pub(super) fn holder(directory: &Path) -> Option<u32> {
    let mut file = File::open(directory.join(LOCK)).ok()?;
    // Shared, so that two who look do not see each other; given back with the file.
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => Some(read_holder(&mut file).unwrap_or(0)),
        _ => None,
    }
}

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

fn read_holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
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
