//! Only layout: constants, the structures as they lie in memory, and the proof that they lie there.
//!
//! Drawn in `docs/format/wire.md`. All integers are little-endian and may be read at any alignment.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First four bytes of every record.
pub const MAGIC: [u8; 4] = *b"TLN1";
/// Version of the record and frame formats.
pub const VERSION: u8 = 1;
/// Bytes of a record's header.
pub const HEADER_BYTES: usize = 32;
/// Bytes of a record's address: subject id and route flags. They count as payload.
pub const ADDRESS_BYTES: usize = 8;
/// Header and address: what comes before a record's body.
pub const PREFIX_BYTES: usize = HEADER_BYTES + ADDRESS_BYTES;
/// Records start on multiples of this and are padded to it.
pub const ALIGN: usize = 8;
/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 8;

/// A record's header and address as they lie in memory.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RecordPrefix {
    /// Always [`MAGIC`].
    pub magic: [u8; 4],
    /// Always [`VERSION`].
    pub version: u8,
    /// See `record::Kind`.
    pub kind: u8,
    /// See `record::RecordFlags`.
    pub flags: U16,
    /// The producer's on the way in, the stream's once stored.
    pub sequence: U64,
    /// Nanoseconds since 1970.
    pub timestamp_ns: U64,
    /// Address and body, without header and padding.
    pub payload_len: U32,
    /// CRC32C over body, address, then the header up to here.
    pub crc: U32,
    /// The session's id of the subject in a publish, the stream's once stored.
    pub subject_id: U32,
    /// The feature-flag word of bit routing.
    pub route_flags: U32,
}

impl RecordPrefix {
    /// The five words that it is: magic to flags, sequence, time, length and checksum, address.
    #[inline]
    pub(crate) fn words(&self) -> [u64; PREFIX_WORDS] {
        let words: &[U64; PREFIX_WORDS] = zerocopy::transmute_ref!(self);
        words.map(U64::get)
    }

    /// The other way around.
    #[inline]
    pub(crate) fn from_words(words: [u64; PREFIX_WORDS]) -> Self {
        zerocopy::transmute!(words.map(U64::new))
    }
}

/// A whole record as it lies in memory.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Whole {
    pub(crate) prefix: RecordPrefix,
    /// Body and padding.
    pub(crate) padded: [u8],
}

/// Words of a [`RecordPrefix`].
pub(crate) const PREFIX_WORDS: usize = PREFIX_BYTES / 8;

/// A frame's header as it lies in memory.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawFrameHeader {
    /// See `frame::Opcode`.
    pub opcode: u8,
    /// See `frame::FrameFlags`.
    pub flags: u8,
    /// What it counts depends on the opcode.
    pub sequence: U16,
    /// Bytes of the body.
    pub length: U32,
}

const _: () = {
    use core::mem::{align_of, offset_of, size_of};
    assert!(size_of::<RecordPrefix>() == PREFIX_BYTES);
    assert!(align_of::<RecordPrefix>() == 1);
    assert!(offset_of!(RecordPrefix, version) == 4);
    assert!(offset_of!(RecordPrefix, kind) == 5);
    assert!(offset_of!(RecordPrefix, flags) == 6);
    assert!(offset_of!(RecordPrefix, sequence) == 8);
    assert!(offset_of!(RecordPrefix, timestamp_ns) == 16);
    assert!(offset_of!(RecordPrefix, payload_len) == 24);
    assert!(offset_of!(RecordPrefix, crc) == 28);
    assert!(offset_of!(RecordPrefix, subject_id) == HEADER_BYTES);
    assert!(offset_of!(RecordPrefix, route_flags) == 36);
    assert!(size_of::<RawFrameHeader>() == FRAME_HEADER_BYTES);
    assert!(offset_of!(RawFrameHeader, sequence) == 2);
    assert!(offset_of!(RawFrameHeader, length) == 4);
};
