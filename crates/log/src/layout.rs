//! Only layout: the log's own records as they lie in a segment. Drawn in `docs/format/log.md`.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What a disk never tears on its own: nothing synced shares a page with what is written later.
pub(crate) const PAGE_BYTES: u64 = 4096;
/// Stride of marks and of the index, unit of holds in the tail.
pub(crate) const BLOCK_BYTES: u64 = 64 << 10;
/// Version of the segment format.
pub(crate) const VERSION: u16 = 1;
/// Feature bits that this version knows; all others make it refuse.
pub(crate) const INCOMPATIBLE_KNOWN: u32 = 0;
/// Last four bytes of a sealed segment.
pub(crate) const SEAL_MAGIC: [u8; 4] = *b"TLNE";

/// Body of a segment record.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct SegmentBody {
    pub(crate) version: U16,
    pub(crate) reserved: U16,
    pub(crate) incompatible: U32,
    pub(crate) compatible: U32,
    pub(crate) reserved_2: U32,
    pub(crate) uuid: [u8; 16],
    pub(crate) salt: U64,
    pub(crate) index: U64,
    pub(crate) segment_bytes: U64,
    pub(crate) durable_sequence: U64,
    pub(crate) durable_position: U64,
    pub(crate) first_segment: U64,
}

/// Start of the body of a batch record and of a seal record.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct MarkBody {
    pub(crate) salt: U64,
    pub(crate) position: U64,
    pub(crate) durable_sequence: U64,
    pub(crate) durable_position: U64,
    pub(crate) first_segment: U64,
}

/// What follows it in a seal record.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct SealCounts {
    pub(crate) index_count: U32,
    pub(crate) subject_count: U32,
}

/// An entry of the index in a seal record.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct SealEntry {
    pub(crate) sequence: U64,
    pub(crate) timestamp_ns: U64,
    pub(crate) position: U64,
}

/// Where a subject is defined, in a seal record.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct SealSubject {
    pub(crate) subject_id: U32,
    pub(crate) offset: U32,
}

/// The last bytes of a sealed segment.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct SealTrailer {
    pub(crate) offset: U32,
    pub(crate) magic: [u8; 4],
}

/// Bytes of a segment record.
pub(crate) const SEGMENT_RECORD_BYTES: u64 = (PREFIX_BYTES + size_of::<SegmentBody>()) as u64;
/// Bytes of the smallest batch record.
pub(crate) const BATCH_BYTES: u64 = (PREFIX_BYTES + size_of::<MarkBody>()) as u64;
/// Bytes of a seal record without entries.
pub(crate) const SEAL_BYTES: u64 =
    (PREFIX_BYTES + size_of::<MarkBody>() + size_of::<SealCounts>() + size_of::<SealTrailer>())
        as u64;
/// Bytes of an index entry in a seal record.
pub(crate) const SEAL_ENTRY_BYTES: u64 = size_of::<SealEntry>() as u64;
/// Bytes of a subject in a seal record.
pub(crate) const SEAL_SUBJECT_BYTES: u64 = size_of::<SealSubject>() as u64;

const PREFIX_BYTES: usize = trunkline_wire::record::PREFIX_BYTES;

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<SegmentBody>() == 80);
    assert!(offset_of!(SegmentBody, uuid) == 16);
    assert!(offset_of!(SegmentBody, salt) == 32);
    assert!(offset_of!(SegmentBody, index) == 40);
    assert!(offset_of!(SegmentBody, segment_bytes) == 48);
    assert!(offset_of!(SegmentBody, durable_sequence) == 56);
    assert!(offset_of!(SegmentBody, durable_position) == 64);
    assert!(offset_of!(SegmentBody, first_segment) == 72);
    assert!(size_of::<MarkBody>() == 40);
    assert!(offset_of!(MarkBody, position) == 8);
    assert!(offset_of!(MarkBody, durable_sequence) == 16);
    assert!(offset_of!(MarkBody, durable_position) == 24);
    assert!(offset_of!(MarkBody, first_segment) == 32);
    assert!(size_of::<SealCounts>() == 8);
    assert!(size_of::<SealEntry>() == 24);
    assert!(size_of::<SealSubject>() == 8);
    assert!(size_of::<SealTrailer>() == 8);
    assert!(SEGMENT_RECORD_BYTES == 120);
    assert!(BATCH_BYTES == 80);
    assert!(SEAL_BYTES == 96);
    assert!(
        SEGMENT_RECORD_BYTES.is_multiple_of(8)
            && BATCH_BYTES.is_multiple_of(8)
            && SEAL_BYTES.is_multiple_of(8)
    );
};

/// The most that a seal takes, before it is stretched to the segment's end.
pub(crate) const fn seal_bytes(segment_bytes: u64, subjects: u64) -> u64 {
    let entries = segment_bytes / BLOCK_BYTES + 2;
    SEAL_BYTES + entries * SEAL_ENTRY_BYTES + subjects * SEAL_SUBJECT_BYTES
}

/// Bytes of a record with this `payload_len`.
pub(crate) const fn record_bytes(payload_len: u32) -> u64 {
    trunkline_wire::record::record_bytes(payload_len) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_for_a_seal_is_room_for_an_entry_of_each_block_and_every_subject() {
        // Itself, an entry for each 64 KiB and two more, and what defines the subjects.
        assert_eq!(seal_bytes(64 << 10, 0), 96 + 3 * 24);
        assert_eq!(seal_bytes(1 << 20, 0), 96 + 18 * 24);
        assert_eq!(seal_bytes(1 << 20, 7), 96 + 18 * 24 + 7 * 8);
    }

    #[test]
    fn records_take_whole_words() {
        assert_eq!(record_bytes(8), 40);
        assert_eq!(record_bytes(9), 48);
        assert_eq!(record_bytes(16), 48);
    }
}
