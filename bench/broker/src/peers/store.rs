//! What a plain loop keeps.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::peer::Keeps;

/// A file that is written from its start again when it is full.
pub struct Store {
    /// `None`: nothing is kept.
    file: Option<File>,
    synced: bool,
    position: u64,
}

impl Store {
    /// Makes the file, unless nothing is to be kept.
    pub fn new(path: &Path, keeps: Keeps) -> std::io::Result<Self> {
        let synced = keeps == Keeps::Synced;
        if keeps == Keeps::Nothing {
            return Ok(Self {
                file: None,
                synced,
                position: 0,
            });
        }
        let file = File::create(path)?;
        // Written once, so that no sync has to say that the file has grown.
        for at in 0..FILE_BYTES >> 20 {
            file.write_all_at(&[0; 1 << 20], at << 20)?;
        }
        file.sync_all()?;
        Ok(Self {
            file: Some(file),
            synced,
            position: 0,
        })
    }

    /// Appends, and syncs if that is wanted.
    pub fn keep(&mut self, batch: &[u8]) -> std::io::Result<()> {
        let Some(file) = self.file.as_ref().filter(|_| !batch.is_empty()) else {
            return Ok(());
        };
        if self.position + batch.len() as u64 > FILE_BYTES {
            self.position = 0;
        }
        file.write_all_at(batch, self.position)?;
        self.position += batch.len() as u64;
        if self.synced {
            file.sync_data()
        } else {
            Ok(())
        }
    }
}

const FILE_BYTES: u64 = 64 << 20;
