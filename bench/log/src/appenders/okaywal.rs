//! okaywal: a write-ahead log with group commit. It always syncs.

use std::path::Path;

use bench_harness::Failure;
use okaywal::{Configuration, Entry, EntryId, LogManager, SegmentReader, WriteAheadLog};

use crate::appender::{Appender, Syncs};

struct OkayWal(WriteAheadLog);

/// Files of a megabyte, each used again when its records have been handed over.
pub fn open(folder: &Path, sync: Syncs) -> Result<Box<dyn Appender>, Failure> {
    start(Configuration::default_for(folder), sync)
}

/// Files as large as our segments.
pub fn open_large(folder: &Path, sync: Syncs) -> Result<Box<dyn Appender>, Failure> {
    let configuration = Configuration::default_for(folder)
        .preallocate_bytes(SEGMENT_BYTES)
        .checkpoint_after_bytes(u64::from(SEGMENT_BYTES));
    start(configuration, sync)
}

fn start(configuration: Configuration, sync: Syncs) -> Result<Box<dyn Appender>, Failure> {
    assert_eq!(sync, Syncs::Each, "it always syncs");
    let log = configuration
        .open(NoManager)
        .map_err(|error| error.to_string())?;
    Ok(Box::new(OkayWal(log)))
}

const SEGMENT_BYTES: u32 = 64 << 20;

impl Appender for OkayWal {
    fn append(&self, record: &[u8]) -> Result<(), Failure> {
        let append = || {
            let mut entry = self.0.begin_entry()?;
            entry.write_chunk(record)?;
            entry.commit()
        };
        append()
            .map(drop)
            .map_err(|error: std::io::Error| error.to_string())
    }

    fn count_again(self: Box<Self>) -> Result<Option<u64>, Failure> {
        // Segments that were handed over to their owner, who takes nothing here, are reused.
        self.0.shutdown().map_err(|error| error.to_string())?;
        Ok(None)
    }
}

/// Takes nothing over.
#[derive(Debug)]
struct NoManager;

impl LogManager for NoManager {
    fn recover(&mut self, _entry: &mut Entry<'_>) -> std::io::Result<()> {
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        _last: EntryId,
        _entries: &mut SegmentReader,
        _log: &WriteAheadLog,
    ) -> std::io::Result<()> {
        Ok(())
    }
}
