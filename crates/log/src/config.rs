//! What a log is opened with, and the sum of what it may take.

use std::fmt;

use crate::layout::{self, BLOCK_BYTES, PAGE_BYTES};

/// What a log is opened with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Whether there are files.
    pub storage: Storage,
    /// What is done for every record without being asked. Default [`Durability::Stored`].
    pub durability: Durability,
    /// Bytes of memory for the newest records; a power of two, at least 256 KiB. Default 4 MiB. A volatile stream holds nothing
    /// more than this. More lets slow readers stay off the disk and absorbs longer stalls of it. Locked in, not on demand.
    pub tail_bytes: u64,
    /// Bytes of a segment's file; a multiple of 64 KiB up to 1 GiB. Default 64 MiB. What an existing stream was created with wins. Retention works on
    /// whole segments; recovery reads the newest one or two.
    pub segment_bytes: u64,
    /// Largest `payload_len` of a record. Default 1 MiB less the 40 bytes in front of a body; at most 16 MiB, a quarter of the tail and of a segment.
    pub record_bytes_max: u32,
    /// Distinct subjects that are known at a time. Default 65,536; never more than one for each 32 bytes of the tail. Names take up to 255 bytes each.
    pub subjects_max: u32,
    /// How long a stored record may stay unsynced, in nanoseconds. Default 1 s. What a power loss may take, and never what is acknowledged as synced.
    pub sync_interval_ns: u64,
    /// Bytes of a read from a file. Default 128 KiB, at least 4 KiB.
    pub read_bytes: u32,
    /// What is kept.
    pub retention: Retention,
    /// Random bits, fresh for each stream (the stream's id and secret salt come from them when it is created). The default, 0, is for tests.
    pub entropy: u128,
}

/// Whether a log has files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// None: the tail is all there is; the oldest records make room for new ones.
    Memory,
    /// Segments.
    Files,
}

/// What is done for every record without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Written at once, synced every [`LogConfig::sync_interval_ns`] and when somebody [wants it](crate::Log::want_synced).
    Stored,
    /// Synced: one synced write is in flight, all that arrives meanwhile goes with the next.
    Synced,
}

/// What is kept. Whole sealed segments go, oldest first; the segment in use stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// The stream holds at most so many bytes in its files: the oldest segment goes when it is exceeded. At least four segments. (One more may be prepared.)
    pub bytes_max: Option<u64>,
    /// A segment goes when its youngest record is older.
    pub age_ns_max: Option<u64>,
    /// A segment goes when the younger ones hold so many records.
    pub records_max: Option<u64>,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            storage: Storage::Files,
            durability: Durability::Stored,
            tail_bytes: 4 << 20,
            segment_bytes: 64 << 20,
            record_bytes_max: (1 << 20) - 40,
            subjects_max: 65_536,
            sync_interval_ns: 1_000_000_000,
            read_bytes: 128 << 10,
            retention: Retention::default(),
            entropy: 0,
        }
    }
}

impl LogConfig {
    /// Whether the numbers fit each other.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let record = layout::record_bytes(self.record_bytes_max);
        if !self.tail_bytes.is_power_of_two()
            || self.tail_bytes < TAIL_BYTES_MIN
            || self.tail_bytes > TAIL_BYTES_MAX
        {
            return Err(ConfigError::TailBytes(self.tail_bytes));
        }
        if self.record_bytes_max < 8
            || self.record_bytes_max > RECORD_BYTES_MAX
            || record * 4 > self.tail_bytes
        {
            return Err(ConfigError::RecordBytes {
                record: self.record_bytes_max,
                tail: self.tail_bytes,
            });
        }
        if self.subjects_max == 0 || self.subjects_max > SUBJECTS_MAX {
            return Err(ConfigError::Subjects(self.subjects_max));
        }
        if self.storage == Storage::Memory {
            return Ok(());
        }
        let segment = self.segment_bytes;
        if !segment.is_multiple_of(BLOCK_BYTES)
            || !(BLOCK_BYTES..=SEGMENT_BYTES_MAX).contains(&segment)
        {
            return Err(ConfigError::SegmentBytes(segment));
        }
        if record * 4 > segment {
            return Err(ConfigError::RecordOverSegment {
                record: self.record_bytes_max,
                segment,
            });
        }
        if u64::from(self.read_bytes) < PAGE_BYTES || self.read_bytes > RECORD_BYTES_MAX {
            return Err(ConfigError::ReadBytes(self.read_bytes));
        }
        if self.subjects_limit(segment) == 0 {
            return Err(ConfigError::SegmentOverTail {
                segment,
                tail: self.tail_bytes,
            });
        }
        match self.retention.bytes_max {
            Some(bytes) if bytes < 4 * segment => {
                Err(ConfigError::RetentionBytes { bytes, segment })
            }
            _ => Ok(()),
        }
    }

    /// Subjects that a stream with such segments can know: its seal, which lists them, goes into the tail in one piece.
    pub(crate) fn subjects_limit(&self, segment_bytes: u64) -> u32 {
        let room = (self.tail_bytes / 4).saturating_sub(layout::seal_bytes(segment_bytes, 0));
        self.subjects_max
            .min((room / layout::SEAL_SUBJECT_BYTES) as u32)
    }

    /// The most memory that a log with these settings takes, in bytes.
    pub fn memory_bytes_max(&self) -> u64 {
        // The tail; its second mapping takes no memory.
        self.tail_bytes
            // Two counters of holds and one mark of 24 bytes for each 64 KiB of the tail, and a break for each half page.
            + self.tail_bytes / BLOCK_BYTES * 32 + self.tail_bytes / (PAGE_BYTES / 2) * 24
            // The index: at most so many entries of 24 bytes.
            + crate::index::ENTRIES_MAX as u64 * 24
            // A subject: its name twice, its id and its place in the map.
            + u64::from(self.subjects_max) * (2 * 255 + 64)
    }
}

const TAIL_BYTES_MIN: u64 = 256 << 10;
const TAIL_BYTES_MAX: u64 = 1 << 30;
const SEGMENT_BYTES_MAX: u64 = 1 << 30;
const SUBJECTS_MAX: u32 = 1 << 20;
/// No record is longer, whatever the settings were when it was written.
pub(crate) const RECORD_BYTES_MAX: u32 = 16 << 20;

/// Two settings that do not fit each other, or one that is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// `tail_bytes`.
    TailBytes(u64),
    /// `record_bytes_max`, on its own or for this tail.
    RecordBytes {
        /// As set.
        record: u32,
        /// As set.
        tail: u64,
    },
    /// `record_bytes_max` for this segment size.
    RecordOverSegment {
        /// As set.
        record: u32,
        /// As set.
        segment: u64,
    },
    /// `segment_bytes`.
    SegmentBytes(u64),
    /// `subjects_max`.
    Subjects(u32),
    /// `segment_bytes` for this tail.
    SegmentOverTail {
        /// As set.
        segment: u64,
        /// As set.
        tail: u64,
    },
    /// `read_bytes`.
    ReadBytes(u32),
    /// `retention.bytes_max` for this segment size.
    RetentionBytes {
        /// As set.
        bytes: u64,
        /// As set.
        segment: u64,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TailBytes(bytes) => write!(
                f,
                "tail of {bytes} bytes: it must be a power of two between {TAIL_BYTES_MIN} and {TAIL_BYTES_MAX}"
            ),
            Self::RecordBytes { record, tail } => write!(
                f,
                "records of up to {record} bytes: the limit must lie between 8 bytes and {RECORD_BYTES_MAX}, and within a quarter of the tail, which has {tail}"
            ),
            Self::RecordOverSegment { record, segment } => write!(
                f,
                "records of up to {record} bytes do not fit segments of {segment}: a segment must hold four of the largest"
            ),
            Self::SegmentBytes(bytes) => write!(
                f,
                "segment of {bytes} bytes: it must be a multiple of {BLOCK_BYTES} up to {SEGMENT_BYTES_MAX}"
            ),
            Self::Subjects(count) => write!(
                f,
                "{count} subjects: the limit must lie between 1 and {SUBJECTS_MAX}"
            ),
            Self::SegmentOverTail { segment, tail } => write!(
                f,
                "segments of {segment} bytes need a larger tail than {tail} bytes: a segment's index must fit a quarter of it"
            ),
            Self::ReadBytes(bytes) => write!(
                f,
                "reads of {bytes} bytes: they must have between {PAGE_BYTES} and {RECORD_BYTES_MAX}"
            ),
            Self::RetentionBytes { bytes, segment } => write!(
                f,
                "retention of {bytes} bytes: it must hold at least four segments, which have {segment}; make them smaller"
            ),
        }
    }
}

impl std::error::Error for ConfigError {}
