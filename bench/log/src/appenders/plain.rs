//! The plain calls: `pwrite` to a file that is written already, `fdatasync`.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use bench_harness::Failure;

use super::group::Group;
use crate::appender::{Appender, On, Syncs};
use crate::lapped::Lapped;

struct Plain {
    group: Group<Store>,
    sync: bool,
    record_bytes: AtomicUsize,
}

struct Store {
    file: Lapped,
    batch: Vec<u8>,
}

pub fn open(folder: &Path, sync: Syncs) -> Result<Box<dyn Appender>, Failure> {
    let file = Lapped::create(&folder.join("file"), FILE_BYTES).map_err(text)?;
    let store = Store {
        file,
        batch: Vec::new(),
    };
    Ok(Box::new(Plain {
        group: Group::new(store),
        sync: sync == Syncs::Each,
        record_bytes: AtomicUsize::new(0),
    }))
}

impl Appender for Plain {
    fn append(&self, record: &[u8]) -> Result<(), Failure> {
        let commit = |store: &mut Store, batch: &[Vec<u8>]| {
            store.batch.clear();
            batch
                .iter()
                .for_each(|record| store.batch.extend_from_slice(record));
            self.record_bytes.store(record.len(), Ordering::Relaxed);
            store.file.append(&store.batch).map_err(text)?;
            if self.sync {
                store.file.file().sync_data().map_err(text)?;
            }
            Ok(())
        };
        self.group.append(record, commit)
    }

    fn read_again(self: Box<Self>, on: On<'_>) -> Result<u64, Failure> {
        // It keeps no account of its own on the disk: where records are is known here only.
        let record_bytes = self.record_bytes.into_inner();
        self.group.into_store().file.each(record_bytes.max(1), on)
    }
}

fn text(error: std::io::Error) -> Failure {
    error.to_string()
}

const FILE_BYTES: u64 = 64 << 20;
