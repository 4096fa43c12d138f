//! redb: a B-tree with transactions; records under a counter, each in a transaction of its own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bench_harness::Failure;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::appender::{Appender, On, Syncs};

const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");

struct Redb {
    database: Database,
    next: AtomicU64,
    sync: Syncs,
    file: PathBuf,
}

pub fn open(folder: &Path, sync: Syncs) -> Result<Box<dyn Appender>, Failure> {
    let file = folder.join("records.redb");
    let database = Database::create(&file).map_err(text)?;
    Ok(Box::new(Redb {
        database,
        next: AtomicU64::new(0),
        sync,
        file,
    }))
}

impl Appender for Redb {
    fn append(&self, record: &[u8]) -> Result<(), Failure> {
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        let mut transaction = self.database.begin_write().map_err(text)?;
        if self.sync == Syncs::Never {
            transaction.set_durability(Durability::None).map_err(text)?;
        }
        let mut table = transaction.open_table(RECORDS).map_err(text)?;
        table.insert(key, record).map_err(text)?;
        drop(table);
        transaction.commit().map_err(text)
    }

    fn read_again(self: Box<Self>, on: On<'_>) -> Result<u64, Failure> {
        // What was committed without durability is kept by the next durable commit.
        let last = self.database.begin_write().map_err(text)?;
        last.commit().map_err(text)?;
        let file = self.file.clone();
        drop(self);
        let database = Database::open(file).map_err(text)?;
        let read = database.begin_read().map_err(text)?;
        let table = read.open_table(RECORDS).map_err(text)?;
        // The counter grew with each record, so those of a writer follow one another.
        for record in table.iter().map_err(text)? {
            let (_, record) = record.map_err(text)?;
            on(record.value())?;
        }
        Ok(0)
    }
}

fn text(error: impl std::error::Error) -> Failure {
    error.to_string()
}
