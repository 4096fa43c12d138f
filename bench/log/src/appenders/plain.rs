//! The plain calls: `pwrite` to a file that is written already, `fdatasync`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bench_harness::Failure;

use super::group::Group;
use crate::appender::{Appender, Syncs};

struct Plain {
    group: Group<Store>,
    sync: bool,
}

struct Store {
    file: File,
    position: u64,
    records: u64,
    batch: Vec<u8>,
}

pub fn open(folder: &Path, sync: Syncs) -> Result<Box<dyn Appender>, Failure> {
    let file = prepared(folder).map_err(|error| error.to_string())?;
    let store = Store {
        file,
        position: 0,
        records: 0,
        batch: Vec::new(),
    };
    Ok(Box::new(Plain {
        group: Group::new(store),
        sync: sync == Syncs::Each,
    }))
}

fn prepared(folder: &Path) -> std::io::Result<File> {
    let file = File::create(folder.join("file"))?;
    for at in 0..FILE_BYTES >> 20 {
        file.write_all_at(&[0; 1 << 20], at << 20)?;
    }
    file.sync_all()?;
    Ok(file)
}

impl Appender for Plain {
    fn append(&self, record: &[u8]) -> Result<(), Failure> {
        let commit = |store: &mut Store, batch: &[Vec<u8>]| {
            store.batch.clear();
            batch
                .iter()
                .for_each(|record| store.batch.extend_from_slice(record));
            store.write(self.sync).map_err(|error| error.to_string())?;
            store.records += batch.len() as u64;
            Ok(())
        };
        self.group.append(record, commit)
    }

    fn count_again(self: Box<Self>) -> Result<Option<u64>, Failure> {
        // It keeps no account of its own on the disk.
        Ok(Some(self.group.into_store().records))
    }
}

impl Store {
    fn write(&mut self, sync: bool) -> std::io::Result<()> {
        // From the start again when it is full: what is measured is the calls.
        if self.position + self.batch.len() as u64 > FILE_BYTES {
            self.position = 0;
        }
        self.file.write_all_at(&self.batch, self.position)?;
        self.position += self.batch.len() as u64;
        if sync { self.file.sync_data() } else { Ok(()) }
    }
}

const FILE_BYTES: u64 = 64 << 20;
