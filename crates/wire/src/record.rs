//! Records: the unit of data, the same bytes on the wire, in memory and on disk.
//!
//! [`RawRecord`] is a record whose framing is right; [`Record`] is one whose checksum is right, too. [`encode`] writes
//! a record, [`restamp`] copies one under another sequence, time and subject id, which is what a broker does.
//!
//! ```
//! use trunkline_wire::record::{self, RawRecord, Stamp};
//!
//! let mut out = [0; 64];
//! let len = record::encode(&mut out, &Stamp { sequence: 7, ..Stamp::DATA }, b"hello")?;
//! let record = RawRecord::peek(&out[..len], 1024)?.expect("it is whole").verify()?;
//! assert_eq!((record.sequence(), record.body()), (7, &b"hello"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use core::fmt;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use crate::crc::{self, Restamp};
use crate::headers::{self, Headers};
pub use crate::layout::{ADDRESS_BYTES, ALIGN, HEADER_BYTES, PREFIX_BYTES};
use crate::layout::{MAGIC, RecordPrefix, VERSION, Whole};
pub use crate::record_error::RecordError;
pub use crate::run::{Records, Run, RunRecords};
pub use crate::short::Short;

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// What users publish.
    Data = 1,
    /// Gives a subject id its name, which is the body.
    Definition = 2,
    /// The log's: closes a batch.
    Batch = 3,
    /// The log's: closes a segment.
    Seal = 4,
    /// The log's: fills space.
    Pad = 5,
    /// The log's: opens a segment.
    Segment = 6,
}

impl Kind {
    /// The kind with this number.
    #[inline]
    pub const fn from_u8(kind: u8) -> Option<Self> {
        Some(match kind {
            1 => Self::Data,
            2 => Self::Definition,
            3 => Self::Batch,
            4 => Self::Seal,
            5 => Self::Pad,
            6 => Self::Segment,
            _ => return None,
        })
    }
}

bitflags::bitflags! {
    /// Flags of a record. All other bits must be zero.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct RecordFlags: u16 {
        /// The body starts with user headers.
        const HEADERS = 1;
    }
}

/// The fields of a record's prefix that its writer chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// What the record is for.
    pub kind: Kind,
    /// How the body is to be read.
    pub flags: RecordFlags,
    /// The producer's on the way in, the stream's once stored.
    pub sequence: u64,
    /// Nanoseconds since 1970.
    pub timestamp_ns: u64,
    /// The session's or the stream's id of the subject.
    pub subject_id: u32,
    /// The feature-flag word of bit routing, 0 when unused.
    pub route_flags: u32,
}

impl Stamp {
    /// A data record with all numbers zero.
    pub const DATA: Self = Self {
        kind: Kind::Data,
        flags: RecordFlags::empty(),
        sequence: 0,
        timestamp_ns: 0,
        subject_id: 0,
        route_flags: 0,
    };

    #[inline]
    fn prefix(&self, payload_len: u32) -> RecordPrefix {
        RecordPrefix {
            magic: MAGIC,
            version: VERSION,
            kind: self.kind as u8,
            flags: U16::new(self.flags.bits()),
            sequence: U64::new(self.sequence),
            timestamp_ns: U64::new(self.timestamp_ns),
            payload_len: U32::new(payload_len),
            crc: U32::ZERO,
            subject_id: U32::new(self.subject_id),
            route_flags: U32::new(self.route_flags),
        }
    }
}

/// Bytes that a record of this `payload_len` takes: header, payload, padding.
#[inline]
pub const fn record_bytes(payload_len: u32) -> usize {
    HEADER_BYTES + (payload_len as usize).next_multiple_of(ALIGN)
}

/// Bytes that a record with a body of `body_len` takes.
#[inline]
pub const fn body_record_bytes(body_len: usize) -> usize {
    PREFIX_BYTES + body_len.next_multiple_of(ALIGN)
}

/// A record whose framing is right: magic, version, kind, flags, lengths, padding. Its checksum is not yet checked.
///
/// One reference, so that it travels in registers.
#[derive(Clone, Copy)]
pub struct RawRecord<'a> {
    whole: &'a Whole,
}

impl<'a> RawRecord<'a> {
    /// Looks at the record at the start of `bytes`, which may go on behind it. `None` asks for more bytes.
    ///
    /// # Errors
    /// What is wrong with the framing, as early as the bytes show it. [`RecordError::TooLong`] when `payload_len`
    /// is above `payload_max`; the record is otherwise well-formed then, as far as its header says.
    #[inline]
    pub fn peek(bytes: &'a [u8], payload_max: u32) -> Result<Option<Self>, RecordError> {
        let Ok((prefix, _)) = RecordPrefix::ref_from_prefix(bytes) else {
            return early(bytes).map_or(Ok(None), Err);
        };
        let payload_len = check_prefix(prefix)?;
        if payload_len > payload_max {
            return Err(RecordError::TooLong {
                payload_len,
                payload_max,
            });
        }
        let Some(bytes) = bytes.get(..record_bytes(payload_len)) else {
            return Ok(None);
        };
        let Ok(whole) = Whole::ref_from_bytes(bytes) else {
            return Ok(None);
        };
        let record = Self { whole };
        record.check_padding()?;
        Ok(Some(record))
    }

    /// The record at the start of a run that was walked before: no check but that it is whole.
    #[inline]
    pub(crate) fn again(run: &'a [u8]) -> Option<Self> {
        let (prefix, _) = RecordPrefix::ref_from_prefix(run).ok()?;
        let bytes = run.get(..record_bytes(prefix.payload_len.get()))?;
        let whole = Whole::ref_from_bytes(bytes).ok()?;
        Some(Self { whole })
    }

    /// What the record is for.
    #[inline]
    pub fn kind(&self) -> Kind {
        // Checked when `self` was made, so the default never shows.
        Kind::from_u8(self.whole.prefix.kind).unwrap_or(Kind::Pad)
    }

    /// How the body is to be read.
    #[inline]
    pub fn flags(&self) -> RecordFlags {
        RecordFlags::from_bits_truncate(self.whole.prefix.flags.get())
    }

    /// The producer's on the way in, the stream's once stored.
    #[inline]
    pub fn sequence(&self) -> u64 {
        self.whole.prefix.sequence.get()
    }

    /// Nanoseconds since 1970.
    #[inline]
    pub fn timestamp_ns(&self) -> u64 {
        self.whole.prefix.timestamp_ns.get()
    }

    /// The session's or the stream's id of the subject.
    #[inline]
    pub fn subject_id(&self) -> u32 {
        self.whole.prefix.subject_id.get()
    }

    /// The feature-flag word of bit routing.
    #[inline]
    pub fn route_flags(&self) -> u32 {
        self.whole.prefix.route_flags.get()
    }

    /// Address and body, in bytes.
    #[inline]
    pub fn payload_len(&self) -> u32 {
        self.whole.prefix.payload_len.get()
    }

    /// The checksum as written.
    #[inline]
    pub fn crc(&self) -> u32 {
        self.whole.prefix.crc.get()
    }

    /// What comes after the address, user headers included, padding not.
    #[inline]
    pub fn body(&self) -> &'a [u8] {
        &self.whole.padded[..self.payload_len() as usize - ADDRESS_BYTES]
    }

    /// The whole record with its padding.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.whole.as_bytes()
    }

    /// Bytes of the whole record with its padding.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "a record is at least 40 bytes")]
    pub fn len(&self) -> usize {
        PREFIX_BYTES + self.whole.padded.len()
    }

    /// Everything but the lengths and the checksum.
    pub fn stamp(&self) -> Stamp {
        Stamp {
            kind: self.kind(),
            flags: self.flags(),
            sequence: self.sequence(),
            timestamp_ns: self.timestamp_ns(),
            subject_id: self.subject_id(),
            route_flags: self.route_flags(),
        }
    }

    /// Checks the checksum and the user headers.
    ///
    /// # Errors
    /// [`RecordError::Checksum`] or [`RecordError::Headers`].
    #[inline]
    pub fn verify(self) -> Result<Record<'a>, RecordError> {
        let body = self.body();
        if crc::seal(body, self.whole.prefix.words()) != self.crc() {
            return Err(RecordError::Checksum);
        }
        if self.flags().contains(RecordFlags::HEADERS) {
            headers::check(body).map_err(|_| RecordError::Headers)?;
        }
        Ok(Record { raw: self })
    }

    #[inline]
    fn check_padding(&self) -> Result<(), RecordError> {
        let used = self.payload_len() as usize % ALIGN;
        if used != 0
            && let Some(word) = self.whole.padded.last_chunk::<ALIGN>()
            && u64::from_le_bytes(*word) >> (8 * used) != 0
        {
            return Err(RecordError::Padding);
        }
        Ok(())
    }
}

impl fmt::Debug for RawRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawRecord")
            .field("stamp", &self.stamp())
            .field("payload_len", &self.payload_len())
            .finish_non_exhaustive()
    }
}

/// A record whose checksum is right and whose user headers are well-formed.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    raw: RawRecord<'a>,
}

impl<'a> Record<'a> {
    /// The user headers; none unless the flag is set.
    pub fn headers(&self) -> Headers<'a> {
        if self.flags().contains(RecordFlags::HEADERS) {
            headers::split(self.raw.body()).map_or(Headers::NONE, |(headers, _)| headers)
        } else {
            Headers::NONE
        }
    }

    /// What comes after the user headers: what the publisher gave.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        let body = self.raw.body();
        if self.flags().contains(RecordFlags::HEADERS) {
            headers::split(body).map_or(body, |(_, rest)| rest)
        } else {
            body
        }
    }
}

impl<'a> core::ops::Deref for Record<'a> {
    type Target = RawRecord<'a>;

    fn deref(&self) -> &RawRecord<'a> {
        &self.raw
    }
}

/// Writes a record at the start of `out` and returns its bytes, padding included.
///
/// # Errors
/// [`Short`] when `out` cannot take it; `out` is as before then.
#[inline]
pub fn encode(out: &mut [u8], stamp: &Stamp, body: &[u8]) -> Result<usize, Short> {
    let needed = body_record_bytes(body.len());
    let Some(out) = out.get_mut(..needed) else {
        return Err(Short { needed });
    };
    let Ok(payload_len) = u32::try_from(body.len() + ADDRESS_BYTES) else {
        return Err(Short::NEVER);
    };
    let mut prefix = stamp.prefix(payload_len);
    let (head, tail) = out.split_at_mut(PREFIX_BYTES);
    prefix.crc = U32::new(crc::copy_seal(body, tail, prefix.words()));
    head.copy_from_slice(prefix.as_bytes());
    Ok(needed)
}

/// Copies `source` to the start of `out` under another sequence, time and subject id, and returns its bytes. One pass: the body
/// is read once, its checksum continued over the source's prefix to verify and over the new one to seal.
///
/// # Errors
/// [`RecordError::Checksum`] or [`RecordError::Headers`] when the source is not intact; nothing in `out` is to be used
/// then. [`RecordError::Length`] when `out` is shorter than the source.
#[inline]
pub fn restamp(
    source: &RawRecord<'_>,
    out: &mut [u8],
    sequence: u64,
    timestamp_ns: u64,
    subject_id: u32,
) -> Result<usize, RecordError> {
    let payload_len = source.payload_len();
    let Some(out) = out.get_mut(..source.len()) else {
        return Err(RecordError::Length { payload_len });
    };
    let stamp = Restamp {
        sequence,
        timestamp_ns,
        subject_id,
    };
    if !crc::reseal(source.bytes(), out, stamp) {
        return Err(RecordError::Checksum);
    }
    if source.flags().contains(RecordFlags::HEADERS) {
        headers::check(source.body()).map_err(|_| RecordError::Headers)?;
    }
    Ok(source.len())
}

/// The checks of a prefix that need nothing else; returns `payload_len`.
#[inline]
pub(crate) fn check_prefix(prefix: &RecordPrefix) -> Result<u32, RecordError> {
    let [head, _, _, lengths, _] = prefix.words();
    // Magic, version and flags in one comparison of the first word; the kind in another.
    let kind = (head >> 40) & 0xff;
    if (head & !HEAD_FREE_BITS) != HEAD || kind.wrapping_sub(Kind::Data as u64) > 5 {
        return Err(misfit(prefix));
    }
    let payload_len = lengths as u32;
    // The upper bound keeps `record_bytes` from wrapping where `usize` has 32 bits.
    if payload_len < ADDRESS_BYTES as u32 || payload_len > PAYLOAD_LEN_MAX {
        return Err(RecordError::Length { payload_len });
    }
    Ok(payload_len)
}

/// Which of the checks of a prefix's first word fails.
#[cold]
#[inline(never)]
fn misfit(prefix: &RecordPrefix) -> RecordError {
    if prefix.magic != MAGIC {
        return RecordError::Magic;
    }
    if prefix.version != VERSION {
        return RecordError::Version {
            version: prefix.version,
        };
    }
    if Kind::from_u8(prefix.kind).is_none() {
        return RecordError::Kind { kind: prefix.kind };
    }
    RecordError::Flags {
        flags: prefix.flags.get(),
    }
}

/// The first word of a record, but for [`HEAD_FREE_BITS`].
const HEAD: u64 = u32::from_le_bytes(MAGIC) as u64 | (VERSION as u64) << 32;
/// Kind and known flags.
const HEAD_FREE_BITS: u64 = 0xff << 40 | (RecordFlags::all().bits() as u64) << 48;

/// Fewer bytes than a prefix: what is already wrong with them.
#[cold]
#[inline(never)]
fn early(bytes: &[u8]) -> Option<RecordError> {
    let seen = bytes.len().min(MAGIC.len());
    if bytes[..seen] != MAGIC[..seen] {
        return Some(RecordError::Magic);
    }
    match bytes.get(4) {
        Some(&version) if version != VERSION => return Some(RecordError::Version { version }),
        _ => {}
    }
    match bytes.get(5) {
        Some(&kind) if Kind::from_u8(kind).is_none() => Some(RecordError::Kind { kind }),
        _ => None,
    }
}

/// What no record's `payload_len` exceeds, whatever the limits are.
pub const PAYLOAD_LEN_MAX: u32 = 1 << 30;
