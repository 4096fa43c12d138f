//! RocksDB: its write-ahead log; records under a counter. Writers that come at the same time are one group, which is written
//! and synced once: that is RocksDB's own group commit.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bench_foreign::rocksdb::{self, Database, Settings};
use bench_harness::Failure;

use crate::appender::{Appender, On, Syncs};

struct RocksDb {
    database: Database,
    settings: Settings,
    next: AtomicU64,
    folder: PathBuf,
}

pub fn open(folder: &Path, sync: Syncs) -> Result<Box<dyn Appender>, Failure> {
    with(folder, sync, false)
}

/// The log of a group is written while the group before it goes to the table in memory.
pub fn open_pipelined(folder: &Path, sync: Syncs) -> Result<Box<dyn Appender>, Failure> {
    with(folder, sync, true)
}

fn with(folder: &Path, sync: Syncs, pipelined: bool) -> Result<Box<dyn Appender>, Failure> {
    let settings = Settings {
        sync: sync == Syncs::Each,
        pipelined,
    };
    let database = rocksdb::library()?.open(folder, settings)?;
    Ok(Box::new(RocksDb {
        database,
        settings,
        next: AtomicU64::new(0),
        folder: folder.to_owned(),
    }))
}

impl Appender for RocksDb {
    fn append(&self, record: &[u8]) -> Result<(), Failure> {
        let key = self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        self.database.put(&key, record)
    }

    fn read_again(self: Box<Self>, on: On<'_>) -> Result<u64, Failure> {
        let (folder, settings) = (self.folder.clone(), self.settings);
        drop(self);
        // What the log has is read again when it is opened. The counter grew with each record, so those of a writer follow
        // one another.
        let database = rocksdb::library()?.open(&folder, settings)?;
        database.each(on)?;
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::appender::Open;
    use crate::writers::Writers;

    #[test]
    fn everything_that_was_appended_is_there_again_and_checked() {
        if rocksdb::library().is_err() {
            return;
        }
        let ways: [(Open, Syncs); 3] = [
            (open, Syncs::Each),
            (open_pipelined, Syncs::Each),
            (open, Syncs::Never),
        ];
        for (open, sync) in ways {
            let work = Writers {
                count: 4,
                bytes: 100,
                sync,
                time: Duration::from_millis(50),
            };
            let sample = work.run(open, &std::env::temp_dir()).unwrap();
            assert!(sample.latency.unwrap().count() > 0);
        }
    }
}
