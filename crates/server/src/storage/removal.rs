//! Removing a stream for good, so that nothing of it comes back whenever the process or the machine stops.
//!
//! 1. `added/NAME.json` becomes `added/NAME.removed`, and the folder is synced: from here on the stream is gone.
//! 2. `streams/NAME` is deleted, and the folder that it was in is synced; then `created/NAME`, likewise.
//! 3. `added/NAME.removed` is deleted.
//!
//! What stops before the first step is done has removed nothing; the next start does the rest of what stops behind it. Until the last
//! step is done, the name is not to be used again.

use std::fs;
use std::io;

use super::{ADDED, DataDir, STREAMS, StorageError, failed, names, replace, sync_dir};

impl DataDir {
    /// Removes a stream's files and forgets it, for good. When this fails, it is to be called again, or
    /// [`finish_removals`](Self::finish_removals) at the next start.
    ///
    /// # Errors
    /// The system's.
    pub fn remove_stream(&self, name: &str) -> Result<(), StorageError> {
        self.mark_removed(name)?;
        self.finish_removal(name)
    }

    /// Goes on with removals that were interrupted. Returns the streams' names. Nothing may be opened before.
    ///
    /// # Errors
    /// The system's.
    pub fn finish_removals(&self) -> Result<Vec<String>, StorageError> {
        let folder = self.path.join(ADDED);
        let marked = names(&folder, |entry| {
            let path = entry.path();
            path.extension()
                .is_some_and(|end| end == REMOVED)
                .then(|| path.file_stem().map(Into::into))?
        })
        .map_err(failed("read", &folder))?;
        for name in &marked {
            self.finish_removal(name)?;
        }
        Ok(marked)
    }

    fn mark_removed(&self, name: &str) -> Result<(), StorageError> {
        let (folder, mark) = (self.path.join(ADDED), self.mark(name));
        match fs::rename(self.description(name), &mark) {
            Ok(()) => sync_dir(&folder).map_err(failed("sync", &folder)),
            // It is marked already, or was never added.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                replace(&mark, b"").map_err(failed("write", &mark))
            }
            Err(error) => Err(failed("rename", &mark)(error)),
        }
    }

    fn finish_removal(&self, name: &str) -> Result<(), StorageError> {
        let path = self.path.join(STREAMS).join(name);
        for attempt in 1.. {
            match fs::remove_dir_all(&path) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                // A segment that was being prepared has come into it meanwhile; there is never more than one.
                Err(error)
                    if error.kind() == io::ErrorKind::DirectoryNotEmpty && attempt < ATTEMPTS => {}
                Err(error) => return Err(failed("remove", &path)(error)),
            }
        }
        let folder = self.path.join(STREAMS);
        sync_dir(&folder).map_err(failed("sync", &folder))?;
        self.forget_created(name)?;
        let (folder, mark) = (self.path.join(ADDED), self.mark(name));
        fs::remove_file(&mark).map_err(failed("remove", &mark))?;
        sync_dir(&folder).map_err(failed("sync", &folder))
    }

    /// The file that says that a stream is removed.
    fn mark(&self, name: &str) -> std::path::PathBuf {
        self.path.join(ADDED).join(format!("{name}.{REMOVED}"))
    }
}

/// How the name of that file ends.
pub(super) const REMOVED: &str = "removed";
const ATTEMPTS: u32 = 4;
