//! Which streams have files: one whose files have all gone, or read as zeros, is then not taken for one that is new.
//!
//! `created/NAME` is an empty file that comes into being after the stream's first segment, and goes with the stream. A crash between the two
//! leaves a stream without its note, and the next start writes it; so it does in directories of versions that wrote none.
//! `created/cursors.workers` likewise says how many logs of durable cursors there are.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::{DataDir, StorageError, StreamDir, failed, is_begun, make_dir, replace, sync_dir};

impl DataDir {
    /// Refuses a stream that had segments and has none, or one of zeros.
    pub(super) fn check_created(&self, name: &str, dir: &StreamDir) -> Result<(), StorageError> {
        let note = self.note(name);
        let noted = note.try_exists().map_err(failed("read", &note))?;
        if noted && !is_begun(dir.path()).map_err(failed("read", dir.path()))? {
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

    /// For how many workers there are durable cursors, as far as a start has noted it.
    ///
    /// # Errors
    /// The system's.
    pub fn cursors_noted(&self) -> Result<Option<usize>, StorageError> {
        let note = self.note(CURSORS_NOTE);
        match fs::read_to_string(&note) {
            Ok(text) => Ok(text.trim().parse().ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &note)(error)),
        }
    }

    /// Notes it; nothing is noted any more with `None`, while that changes. When this returns, it survives a crash.
    ///
    /// # Errors
    /// The system's.
    pub fn note_cursors(&self, workers: Option<usize>) -> Result<(), StorageError> {
        if self.cursors_noted()? == workers {
            return Ok(());
        }
        let Some(workers) = workers else {
            return self.forget_created(CURSORS_NOTE);
        };
        let (folder, note) = (self.path.join(CREATED), self.note(CURSORS_NOTE));
        make_dir(&folder).map_err(failed("create", &folder))?;
        replace(&note, format!("{workers}\n").as_bytes()).map_err(failed("write", &note))
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
/// No stream is called so: their names have no dot.
const CURSORS_NOTE: &str = "cursors.workers";
