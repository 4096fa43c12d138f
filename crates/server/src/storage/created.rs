//! Which streams have files: one whose files have all gone is then not taken for one that is new.
//!
//! `created/NAME` is an empty file that comes into being after the stream's first segment, and goes with the stream. A crash between the two
//! leaves a stream without its note, and the next start writes it; so it does in directories of versions that wrote none.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::{DataDir, StorageError, StreamDir, failed, has_segments, make_dir, replace, sync_dir};

impl DataDir {
    /// Refuses a stream that had segments and has none.
    pub(super) fn check_created(&self, name: &str, dir: &StreamDir) -> Result<(), StorageError> {
        let note = self.note(name);
        let noted = note.try_exists().map_err(failed("read", &note))?;
        if noted && !has_segments(dir.path()).map_err(failed("read", dir.path()))? {
            return Err(StorageError::Gone {
                name: name.to_owned(),
                path: dir.path().to_owned(),
                note,
            });
        }
        Ok(())
    }

    /// Notes that a stream has segments. When this returns, the note survives a crash.
    ///
    /// # Errors
    /// The system's.
    pub fn note_created(&self, name: &str) -> Result<(), StorageError> {
        let note = self.note(name);
        if note.try_exists().map_err(failed("read", &note))? {
            return Ok(());
        }
        let folder = self.path.join(CREATED);
        make_dir(&folder).map_err(failed("create", &folder))?;
        replace(&note, b"").map_err(failed("write", &note))
    }

    /// Removes the note, if there is one.
    pub(super) fn forget_created(&self, name: &str) -> Result<(), StorageError> {
        let (folder, note) = (self.path.join(CREATED), self.note(name));
        match fs::remove_file(&note) {
            Ok(()) => sync_dir(&folder).map_err(failed("sync", &folder)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("remove", &note)(error)),
        }
    }

    fn note(&self, name: &str) -> PathBuf {
        self.path.join(CREATED).join(name)
    }
}

pub(super) const CREATED: &str = "created";
