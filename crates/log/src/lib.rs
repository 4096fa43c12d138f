//! One stream's durable log: tail, segments, recovery, readers, retention.
//!
//! A [`Log`] keeps the newest records in its *tail*, a ring of memory that holds exactly the bytes of the stream's files, writes them from there to
//! *segments*, and hands them to readers as slices of the tail or as stretches of a file. It does no I/O: it asks a [`Disk`]
//! and is told when something is done. It has no clock and no threads; the same calls give the same requests.
//! The format of the files and what recovery does are drawn in `docs/format/log.md`.
//!
//! ```text
//!  append ─► tail ─► flush ─► Disk: Write, Sync, Prepare, Remove ─► on_completion ─► stored, synced
//!             │
//!             └► read ─► Run::Hot   (bytes of the tail; hold them while they are sent)
//!                     └► Run::Cold  (Disk: Read ─► on_read ─► read_fetched ─► stretches of the buffer)
//! ```
//!
//! Worth knowing:
//!
//! * The first record has sequence 1 ([`SEQUENCE_FIRST`]). A [`Mark`] has the sequence of the *next* record: what lies before
//!   it has a lower one. So an empty stream has `first().sequence == received().sequence`.
//! * Stamps come from the wall clock, deadlines from a steady one: [`Log::flush`] and [`Log::on_completion`] take both
//!   ([`Now`]), [`Log::append`] the wall clock's nanoseconds.
//! * [`Log::define`] only interns a name and cannot be refused for lack of room; the definition record is written in front of the id's
//!   first record in each segment. An id keeps its meaning for as long as the log is open.
//! * [`Log::want_synced`] takes the sequence of the record that somebody waits for; it is synced when `synced().sequence` is greater.
//! * A run holds data and definitions, never the log's own records. A stream that syncs every record in its own commit has runs of one
//!   record: where it matters, take several runs together.
//! * The answer to [`Request::Read`] goes to [`Log::on_read`], all others to [`Log::on_completion`]. Which reader a read is for is kept by the
//!   caller, by [`Token`].
//! * [`verify()`], [`extract()`] and [`plan_repair`] look at a stream's files without opening it; only [`Repair::apply`] changes them.
//! * A stream without files ([`Storage::Memory`], [`Log::open_in_memory`]) has nothing to wait for: its [`Log::stored`] and [`Log::synced`]
//!   are [`Log::received`], although none of it survives the process, which is for the caller to say (the broker refuses to acknowledge it
//!   as more than received). It gives up its oldest records for new ones.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod breaks;
mod config;
mod directory;
mod disk;
mod elapsed;
mod errors;
mod extract;
mod fetched;
mod files;
mod flush;
mod index;
mod layout;
mod log;
mod mark;
mod marks;
mod open;
mod reader;
mod recovery;
mod repair;
mod retention;
mod room;
mod scan;
mod segments;
mod stats;
mod subjects;
mod tail;
#[doc(hidden)]
pub mod testing;
mod verify;
mod walk;
mod wall;
mod writer;

pub use config::{ConfigError, Durability, LogConfig, Retention, Storage};
pub use directory::is_unused;
pub use disk::{Disk, DiskError, DiskErrorKind, Request, Token};
pub use errors::{AppendError, DefineError};
pub use extract::{Beginning, Extracted, extract};
pub use fetched::FetchedRun;
pub use files::{FileKind, Files, NotRegular, SegmentFile, segment_index, segment_name};
pub use log::{Log, State};
pub use mark::{LogId, Mark, Now, SEQUENCE_FIRST};
pub use open::{Damage, Defect, OpenError, Recovery, Refusal, Torn};
pub use reader::{Cursor, Fetched, Loss, ReadDone, Run, Seek};
pub use repair::{Change, Kept, LOST_SUBJECT, Repair, RepairError, plan_repair};
pub use stats::Stats;
pub use tail::Hold;
pub use verify::{SegmentReport, Verified, verify};
