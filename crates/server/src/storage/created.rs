//! Which streams have files: one whose files have all gone, or read as zeros, is then not taken for one that is new.
//!
//! `created/NAME` is an empty file that comes into being after the stream's first segment, and goes with the stream. A crash between the two
//! leaves a stream without its note, and the next start writes it; so it does in directories of versions that wrote none.
//! `created/cursors.workers` likewise says how many logs of durable cursors there are.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::WORKERS_MAX;

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
    /// [`StorageError::Note`], and the system's.
    pub fn cursors_noted(&self) -> Result<Option<usize>, StorageError> {
        cursors_noted(&self.path)
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

/// For how many workers there are durable cursors in a data directory, as far as a start has noted it.
pub(super) fn cursors_noted(data: &Path) -> Result<Option<usize>, StorageError> {
    let note = data.join(CREATED).join(CURSORS_NOTE);
    let text = match fs::read(&note) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", &note)(error)),
    };
    // As many logs are looked for as it says, so it is not believed whatever it says.
    let said = String::from_utf8(text).ok();
    match said.and_then(|text| text.trim().parse::<u32>().ok()) {
        Some(workers @ 1..=WORKERS_MAX) => Ok(Some(workers as usize)),
        _ => Err(StorageError::Note { path: note }),
    }
}

pub(super) const CREATED: &str = "created";
/// No stream is called so: their names have no dot.
const CURSORS_NOTE: &str = "cursors.workers";
