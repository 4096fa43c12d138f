//! What a store is to this comparison. A new one is a file in `appenders`, and a line in `rows`.

use std::path::Path;

use bench_harness::Failure;

/// A store that several threads append to.
pub trait Appender: Send + Sync {
    /// Appends; returns when the record is on the device, or, in a store that was opened without syncing, when the store says
    /// that it has it.
    fn append(&self, record: &[u8]) -> Result<(), Failure>;

    /// Ends the store, opens it again where it can be, and hands over the records that are there, as they were ordered. Returns
    /// how many it has let go before those, because it keeps only so much.
    fn read_again(self: Box<Self>, on: On<'_>) -> Result<u64, Failure>;
}

/// Takes a record that is read again.
pub type On<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Failure>;

/// Opens a store in an empty directory.
pub type Open = fn(&Path, Syncs) -> Result<Box<dyn Appender>, Failure>;

/// Whether an append waits for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syncs {
    Each,
    Never,
}
