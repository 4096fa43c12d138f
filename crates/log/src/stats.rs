//! What a log did, for whoever wants to see.

use crate::disk::DiskError;

/// Counts since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Appends that were refused because nothing could be given up yet.
    pub appends_full: u64,
    /// Marks written.
    pub marks: u64,
    /// Writes submitted, synced ones included.
    pub writes: u64,
    /// Bytes of them.
    pub write_bytes: u64,
    /// Writes that had to be submitted again, in part or whole.
    pub writes_again: u64,
    /// Syncs that succeeded, synced writes included.
    pub syncs: u64,
    /// Segments that were sealed.
    pub segments_sealed: u64,
    /// Segments that were removed.
    pub segments_removed: u64,
    /// Preparations of a segment that failed.
    pub prepares_failed: u64,
    /// Removals of a segment that failed; they are tried again.
    pub removes_failed: u64,
    /// Reads submitted.
    pub reads: u64,
    /// Records that a reader could not be given because what the file holds is damaged.
    pub records_damaged: u64,
    /// The last failure of the disk.
    pub last_error: Option<DiskError>,
    /// The wall clock is not believed yet: it went forward by more than an hour within a shorter time, or was so much later than the newest record when the log
    /// was opened. Retention by age goes by the steady clock meanwhile: for as long as its limit, and six hours at most.
    pub clock_held: bool,
}
