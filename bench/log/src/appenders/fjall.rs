//! fjall: a log-structured store; records under a counter.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bench_harness::Failure;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::appender::{Appender, On, Syncs};

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

    fn read_again(self: Box<Self>, on: On<'_>) -> Result<u64, Failure> {
        let folder = self.folder.clone();
        self.database.persist(PersistMode::SyncAll).map_err(text)?;
        drop(self);
        let database = Database::builder(folder).open().map_err(text)?;
        let records = database
            .keyspace("records", KeyspaceCreateOptions::default)
            .map_err(text)?;
        // The counter grew with each record, so those of a writer follow one another.
        for record in records.iter() {
            on(&record.value().map_err(text)?)?;
        }
        Ok(0)
    }
}

fn text(error: fjall::Error) -> Failure {
    error.to_string()
}
