//! fjall: a log-structured store; records under a counter.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bench_harness::Failure;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::appender::{Appender, Syncs};

struct Fjall {
    database: Database,
    records: Keyspace,
    next: AtomicU64,
    sync: Syncs,
    folder: PathBuf,
}

pub fn open(folder: &Path, sync: Syncs) -> Result<Box<dyn Appender>, Failure> {
    let database = Database::builder(folder).open().map_err(text)?;
    let records = database
        .keyspace("records", KeyspaceCreateOptions::default)
        .map_err(text)?;
    Ok(Box::new(Fjall {
        database,
        records,
        next: AtomicU64::new(0),
        sync,
        folder: folder.to_owned(),
    }))
}

impl Appender for Fjall {
    fn append(&self, record: &[u8]) -> Result<(), Failure> {
        let key = self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        self.records.insert(key, record).map_err(text)?;
        match self.sync {
            Syncs::Each => self.database.persist(PersistMode::SyncData).map_err(text),
            Syncs::Never => Ok(()),
        }
    }

    fn count_again(self: Box<Self>) -> Result<Option<u64>, Failure> {
        let folder = self.folder.clone();
        self.database.persist(PersistMode::SyncAll).map_err(text)?;
        drop(self);
        let database = Database::builder(folder).open().map_err(text)?;
        let records = database
            .keyspace("records", KeyspaceCreateOptions::default)
            .map_err(text)?;
        records.len().map(|count| Some(count as u64)).map_err(text)
    }
}

fn text(error: fjall::Error) -> Failure {
    error.to_string()
}
