//! okaywal: a write-ahead log with group commit. It always syncs.

use std::path::Path;
use std::sync::{Arc, Mutex};

use bench_harness::Failure;
use okaywal::{Configuration, Entry, EntryId, LogManager, SegmentReader, WriteAheadLog};

use crate::appender::{Appender, On, Syncs};

struct OkayWal {
    log: WriteAheadLog,
    configuration: Configuration,
    kept: Arc<Mutex<Kept>>,
}

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
    let kept = Arc::default();
    let log = configuration
        .clone()
        .open(Owner(Arc::clone(&kept)))
        .map_err(|error| error.to_string())?;
    Ok(Box::new(OkayWal {
        log,
        configuration,
        kept,
    }))
}

const SEGMENT_BYTES: u32 = 64 << 20;

impl Appender for OkayWal {
    fn append(&self, record: &[u8]) -> Result<(), Failure> {
        let append = || {
            let mut entry = self.log.begin_entry()?;
            entry.write_chunk(record)?;
            entry.commit()
        };
        append()
            .map(drop)
            .map_err(|error: std::io::Error| error.to_string())
    }

    fn read_again(self: Box<Self>, on: On<'_>) -> Result<u64, Failure> {
        let text = |error: std::io::Error| error.to_string();
        self.log.shutdown().map_err(text)?;
        let again = self.configuration.open(Owner(Arc::clone(&self.kept)));
        again.map_err(text)?.shutdown().map_err(text)?;
        let kept = self.kept.lock().expect("nobody panics with it");
        for (place, (id, record)) in kept.recovered.iter().enumerate() {
            // They count from one.
            let expected = kept.taken_over + 1 + place as u64;
            if *id != expected {
                return Err(format!("entry {id} is there where {expected} was next"));
            }
            on(record)?;
        }
        Ok(kept.taken_over)
    }
}

/// What the log had its owner take over, and what was still in it when it was opened again.
#[derive(Debug, Default)]
struct Kept {
    /// The last entry of the segments that were handed over, of which the owner takes nothing; they are used again.
    taken_over: u64,
    recovered: Vec<(u64, Vec<u8>)>,
}

#[derive(Debug)]
struct Owner(Arc<Mutex<Kept>>);

impl LogManager for Owner {
    fn recover(&mut self, entry: &mut Entry<'_>) -> std::io::Result<()> {
        let id = entry.id().0;
        let record = entry.read_all_chunks()?.unwrap_or_default().concat();
        let mut kept = self.0.lock().expect("nobody panics with it");
        kept.recovered.push((id, record));
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        last: EntryId,
        _entries: &mut SegmentReader,
        _log: &WriteAheadLog,
    ) -> std::io::Result<()> {
        let mut kept = self.0.lock().expect("nobody panics with it");
        if kept.recovered.is_empty() {
            kept.taken_over = last.0;
        }
        Ok(())
    }
}
