//! The machine's disk: files with a page cache, directories, errors, and power loss.
//!
//! ```text
//!  Request ─► Pending (begun: a sync has its point) ─► done, answered          Disk of the log
//!  Log::open ─► StreamFiles ─► Drive                                          Files of the log
//! ```

mod directory;
mod drive;
mod file;
mod requests;
mod stream_files;

pub(crate) use self::drive::Drive;
pub(crate) use self::file::File;
pub(crate) use self::requests::{Answer, Requests};
pub(crate) use self::stream_files::StreamFiles;
