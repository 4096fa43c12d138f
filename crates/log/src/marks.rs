//! The log's own records: written in place, read back with every check.

use trunkline_wire::crc::Crc;
use trunkline_wire::layout::{
    ADDRESS_BYTES, MAGIC, PREFIX_BYTES, RecordPrefix, VERSION as RECORD_VERSION,
};
use trunkline_wire::record::{Kind, RawRecord, RecordError};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use crate::index::Entry;
use crate::layout::{
    INCOMPATIBLE_KNOWN, MarkBody, PAGE_BYTES, SEAL_MAGIC, SEGMENT_RECORD_BYTES, SealCounts,
    SealEntry, SealSubject, SealTrailer, SegmentBody, VERSION,
};
use crate::mark::Mark;
use crate::subjects::Place;

/// What is the same in all segments of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uuid: [u8; 16],
    pub(crate) salt: u64,
    pub(crate) segment_bytes: u64,
}

impl Identity {
    /// From random bits; every bit of them counts for both the id and the salt.
    pub(crate) fn new(entropy: u128, segment_bytes: u64) -> Self {
        let mut state = (entropy as u64) ^ (entropy >> 64) as u64;
        let mut next = || {
            // SplitMix64: any input gives well-spread output.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let uuid = entropy ^ (u128::from(next()) << 64 | u128::from(next()));
        // The salt must not be computable from the id, which is not secret.
        let salt = next() ^ (entropy >> 64) as u64;
        // Version 4, variant 1: a random UUID by the book.
        let uuid = uuid & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
        Self {
            uuid: uuid.to_be_bytes(),
            salt,
            segment_bytes,
        }
    }
}

/// What a mark says about the log at the time it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// Known to be on the device.
    pub(crate) durable: Mark,
    /// The oldest segment that must exist.
    pub(crate) first_segment: u64,
}

/// A segment record, read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHead {
    pub(crate) identity: Identity,
    pub(crate) index: u64,
    pub(crate) base_sequence: u64,
    pub(crate) base_ns: u64,
    pub(crate) evidence: Evidence,
}

/// Why bytes are not a segment record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadError {
    Invalid,
    Newer { version: u16, incompatible: u32 },
}

/// Writes a segment record at the start of `out`.
pub(crate) fn write_segment(out: &mut [u8], head: &SegmentHead) {
    let out = &mut out[..SEGMENT_RECORD_BYTES as usize];
    let body = SegmentBody {
        version: U16::new(VERSION),
        reserved: U16::ZERO,
        incompatible: U32::new(INCOMPATIBLE_KNOWN),
        compatible: U32::ZERO,
        reserved_2: U32::ZERO,
        uuid: head.identity.uuid,
        salt: U64::new(head.identity.salt),
        index: U64::new(head.index),
        segment_bytes: U64::new(head.identity.segment_bytes),
        durable_sequence: U64::new(head.evidence.durable.sequence),
        durable_position: U64::new(head.evidence.durable.position),
        first_segment: U64::new(head.evidence.first_segment),
    };
    out[PREFIX_BYTES..].copy_from_slice(body.as_bytes());
    seal_in_place(out, Kind::Segment, head.base_sequence, head.base_ns);
}

/// Reads the segment record at the start of `bytes`.
pub(crate) fn read_segment(bytes: &[u8]) -> Result<SegmentHead, HeadError> {
    let record = match RawRecord::peek(bytes, u32::MAX) {
        Ok(Some(record)) if record.kind() == Kind::Segment => record,
        Err(RecordError::Version { version })
            if version > RECORD_VERSION && !is_ours_but_for_its_version(bytes) =>
        {
            return Err(HeadError::Newer {
                version: version.into(),
                incompatible: 0,
            });
        }
        _ => return Err(HeadError::Invalid),
    };
    let Ok(record) = record.verify() else {
        return Err(HeadError::Invalid);
    };
    // A newer version may have a longer body: the version comes first, and is believed because the checksum holds.
    let Ok((version, _)) = U16::read_from_prefix(record.body()) else {
        return Err(HeadError::Invalid);
    };
    let Ok((body, rest)) = SegmentBody::read_from_prefix(record.body()) else {
        return Err(if version.get() > VERSION {
            HeadError::Newer {
                version: version.get(),
                incompatible: 0,
            }
        } else {
            HeadError::Invalid
        });
    };
    let (version, incompatible) = (body.version.get(), body.incompatible.get());
    if version > VERSION || incompatible & !INCOMPATIBLE_KNOWN != 0 {
        return Err(HeadError::Newer {
            version,
            incompatible,
        });
    }
    if version == 0 || !rest.is_empty() {
        return Err(HeadError::Invalid);
    }
    Ok(SegmentHead {
        identity: Identity {
            uuid: body.uuid,
            salt: body.salt.get(),
            segment_bytes: body.segment_bytes.get(),
        },
        index: body.index.get(),
        base_sequence: record.sequence(),
        base_ns: record.timestamp_ns(),
        evidence: Evidence {
            durable: Mark {
                sequence: body.durable_sequence.get(),
                position: body.durable_position.get(),
            },
            first_segment: body.first_segment.get(),
        },
    })
}

/// With our version in the place of the one that it has, its checksum is right: that byte is damaged.
fn is_ours_but_for_its_version(bytes: &[u8]) -> bool {
    let Some(bytes) = bytes.first_chunk::<{ SEGMENT_RECORD_BYTES as usize }>() else {
        return false;
    };
    let mut bytes = *bytes;
    bytes[4] = RECORD_VERSION;
    RawRecord::peek(&bytes, u32::MAX)
        .ok()
        .flatten()
        .is_some_and(|record| record.verify().is_ok())
}

/// Where and when a batch or seal record is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stand {
    pub(crate) salt: u64,
    pub(crate) at: Mark,
    pub(crate) timestamp_ns: u64,
}

/// Makes all of `out` one batch record.
pub(crate) fn write_batch(out: &mut [u8], place: Stand, evidence: Evidence) {
    let fields = mark_body(place, evidence);
    let (used, rest) = out[PREFIX_BYTES..].split_at_mut(size_of::<MarkBody>());
    used.copy_from_slice(fields.as_bytes());
    rest.fill(0);
    seal_in_place(out, Kind::Batch, place.at.sequence, place.timestamp_ns);
}

/// What a batch or seal record says, if it is this stream's and stands where it was written.
pub(crate) fn read_evidence(record: &RawRecord<'_>, salt: u64, position: u64) -> Option<Evidence> {
    let record = record.verify().ok()?;
    let (body, _) = MarkBody::ref_from_prefix(record.body()).ok()?;
    (body.salt.get() == salt && body.position.get() == position).then(|| Evidence {
        durable: Mark {
            sequence: body.durable_sequence.get(),
            position: body.durable_position.get(),
        },
        first_segment: body.first_segment.get(),
    })
}

/// The first page of a segment that is started by creation, recovery or repair: its record, and a mark up to the page's end.
pub(crate) fn first_page(head: &SegmentHead) -> [u8; PAGE_BYTES as usize] {
    let mut page = [0; PAGE_BYTES as usize];
    let (record, rest) = page.split_at_mut(SEGMENT_RECORD_BYTES as usize);
    write_segment(record, head);
    let at = Mark {
        sequence: head.base_sequence,
        position: head.index * head.identity.segment_bytes + SEGMENT_RECORD_BYTES,
    };
    let stand = Stand {
        salt: head.identity.salt,
        at,
        timestamp_ns: head.base_ns,
    };
    write_batch(rest, stand, head.evidence);
    page
}

/// The salt of a batch or seal record that stands where it was written: for a stream of which no segment record is left.
pub(crate) fn read_salt(record: &RawRecord<'_>, position: u64) -> Option<u64> {
    let record = record.verify().ok()?;
    let (body, _) = MarkBody::ref_from_prefix(record.body()).ok()?;
    (body.position.get() == position).then(|| body.salt.get())
}

/// Makes all of `out`, which reaches to the end of its segment, one seal record.
pub(crate) fn write_seal<'a>(
    out: &mut [u8],
    place: Stand,
    evidence: Evidence,
    offset: u32,
    index: impl Iterator<Item = &'a Entry>,
    subjects: &[Place],
) {
    let (head, mut rest) = out[PREFIX_BYTES..].split_at_mut(size_of::<MarkBody>());
    head.copy_from_slice(mark_body(place, evidence).as_bytes());
    rest.fill(0);
    let trailer = SealTrailer {
        offset: U32::new(offset),
        magic: SEAL_MAGIC,
    };
    let trailer_at = rest.len() - size_of::<SealTrailer>();
    rest[trailer_at..].copy_from_slice(trailer.as_bytes());
    rest = &mut rest[..trailer_at];
    let (counts, mut rest) = rest.split_at_mut(size_of::<SealCounts>());
    // The index is a hint and may be cut; the definitions may not, and room for them was kept.
    let entries_max =
        (rest.len() - subjects.len() * size_of::<SealSubject>()) / size_of::<SealEntry>();
    let mut index_count = 0;
    for entry in index.take(entries_max) {
        let (slot, behind) = rest.split_at_mut(size_of::<SealEntry>());
        let entry = SealEntry {
            sequence: U64::new(entry.sequence),
            timestamp_ns: U64::new(entry.timestamp_ns),
            position: U64::new(entry.position),
        };
        slot.copy_from_slice(entry.as_bytes());
        rest = behind;
        index_count += 1;
    }
    for subject in subjects {
        let (slot, behind) = rest.split_at_mut(size_of::<SealSubject>());
        let subject = SealSubject {
            subject_id: U32::new(subject.id),
            offset: U32::new(subject.offset),
        };
        slot.copy_from_slice(subject.as_bytes());
        rest = behind;
    }
    let count = SealCounts {
        index_count: U32::new(index_count),
        subject_count: U32::new(subjects.len() as u32),
    };
    counts.copy_from_slice(count.as_bytes());
    seal_in_place(out, Kind::Seal, place.at.sequence, place.timestamp_ns);
}

/// A seal record, read back.
#[derive(Debug)]
pub(crate) struct Seal<'a> {
    pub(crate) next_sequence: u64,
    pub(crate) last_ns: u64,
    pub(crate) evidence: Evidence,
    pub(crate) index: &'a [SealEntry],
    pub(crate) subjects: &'a [SealSubject],
}

/// Where the seal of a segment starts, by its last bytes.
pub(crate) fn seal_offset(trailer: &[u8]) -> Option<u32> {
    let trailer = SealTrailer::read_from_bytes(trailer).ok()?;
    (trailer.magic == SEAL_MAGIC).then(|| trailer.offset.get())
}

/// Reads the seal record that fills `bytes` and stands at `offset` of the segment. None, too, where what it lists is not in order or
/// not in that segment.
pub(crate) fn read_seal<'a>(bytes: &'a [u8], head: &SegmentHead, offset: u64) -> Option<Seal<'a>> {
    let base = head.index * head.identity.segment_bytes;
    let position = base + offset;
    let record = RawRecord::peek(bytes, u32::MAX).ok()??;
    if record.kind() != Kind::Seal || record.len() != bytes.len() {
        return None;
    }
    let evidence = read_evidence(&record, head.identity.salt, position)?;
    let body: &'a [u8] = record.body().get(size_of::<MarkBody>()..)?;
    let (counts, rest) = SealCounts::read_from_prefix(body).ok()?;
    let (index, rest) =
        <[SealEntry]>::ref_from_prefix_with_elems(rest, counts.index_count.get() as usize).ok()?;
    let (subjects, _) =
        <[SealSubject]>::ref_from_prefix_with_elems(rest, counts.subject_count.get() as usize)
            .ok()?;
    let next_sequence = record.sequence();
    let is_behind = |entry: &SealEntry, sequence: u64, end: u64| {
        entry.sequence.get() <= sequence && entry.position.get() < end
    };
    let in_order = next_sequence >= head.base_sequence
        && index.first().is_none_or(|one| {
            one.sequence.get() >= head.base_sequence && one.position.get() >= base
        })
        && index
            .last()
            .is_none_or(|last| is_behind(last, next_sequence, position))
        && index.is_sorted_by(|one, next| is_behind(one, next.sequence.get(), next.position.get()));
    in_order.then(|| Seal {
        next_sequence,
        last_ns: record.timestamp_ns(),
        evidence,
        index,
        subjects,
    })
}

fn mark_body(place: Stand, evidence: Evidence) -> MarkBody {
    MarkBody {
        salt: U64::new(place.salt),
        position: U64::new(place.at.position),
        durable_sequence: U64::new(evidence.durable.sequence),
        durable_position: U64::new(evidence.durable.position),
        first_segment: U64::new(evidence.first_segment),
    }
}

/// Writes the prefix of a record whose body is in place.
fn seal_in_place(out: &mut [u8], kind: Kind, sequence: u64, timestamp_ns: u64) {
    let (head, body) = out.split_at_mut(PREFIX_BYTES);
    let mut prefix = RecordPrefix {
        magic: MAGIC,
        version: RECORD_VERSION,
        kind: kind as u8,
        flags: U16::ZERO,
        sequence: U64::new(sequence),
        timestamp_ns: U64::new(timestamp_ns),
        payload_len: U32::new((ADDRESS_BYTES + body.len()) as u32),
        crc: U32::ZERO,
        subject_id: U32::ZERO,
        route_flags: U32::ZERO,
    };
    let bytes = prefix.as_bytes();
    let crc = Crc::new()
        .update(body)
        .update(&bytes[32..40])
        .update(&bytes[..28])
        .finish();
    prefix.crc = U32::new(crc);
    head.copy_from_slice(prefix.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_counts_only_in_its_stream_and_at_its_place() {
        let at = Mark {
            sequence: 5,
            position: 8192,
        };
        let evidence = Evidence {
            durable: Mark {
                sequence: 3,
                position: 4096,
            },
            first_segment: 2,
        };
        let mut bytes = [0; 4096];
        write_batch(
            &mut bytes,
            Stand {
                salt: 77,
                at,
                timestamp_ns: 9,
            },
            evidence,
        );
        let raw = RawRecord::peek(&bytes, u32::MAX)
            .expect("framed")
            .expect("whole");
        assert_eq!(
            (raw.kind(), raw.sequence(), raw.len()),
            (Kind::Batch, 5, 4096)
        );
        assert_eq!(read_evidence(&raw, 77, 8192), Some(evidence));
        assert_eq!(read_evidence(&raw, 78, 8192), None);
        assert_eq!(
            read_evidence(&raw, 77, 8200),
            None,
            "a write that went to a wrong place"
        );
    }

    #[test]
    fn a_seal_is_found_from_the_end_of_its_segment() {
        const OFFSET: u64 = 65_536 - 1000;
        let head = SegmentHead {
            identity: Identity {
                uuid: [0; 16],
                salt: 77,
                segment_bytes: 65_536,
            },
            index: 1,
            base_sequence: 3,
            base_ns: 0,
            evidence: Evidence::default(),
        };
        let at = Mark {
            sequence: 5,
            position: 65_536 + OFFSET,
        };
        let sealed = |sequence, position| {
            let entries = [Entry {
                sequence,
                timestamp_ns: 2,
                position,
            }];
            let places = [Place { id: 3, offset: 120 }, Place { id: 9, offset: 400 }];
            let mut bytes = [0xff; 1000];
            let place = Stand {
                salt: 77,
                at,
                timestamp_ns: 9,
            };
            let evidence = Evidence::default();
            let offset = OFFSET as u32;
            write_seal(&mut bytes, place, evidence, offset, entries.iter(), &places);
            bytes
        };
        let mut bytes = sealed(3, 65_536 + 120);
        assert_eq!(seal_offset(&bytes[992..]), Some(64_536));
        let seal = read_seal(&bytes, &head, OFFSET).expect("valid");
        let listed = (seal.index.len(), seal.subjects.len());
        assert_eq!((seal.next_sequence, seal.last_ns, listed), (5, 9, (1, 2)));
        assert_eq!(seal.subjects[1].offset.get(), 400);
        bytes[900] ^= 1;
        assert!(read_seal(&bytes, &head, OFFSET).is_none());
        let places = [
            (2, 65_536 + 120),
            (3, 65_535),
            (6, 65_536 + 120),
            (5, 65_536 + OFFSET),
        ];
        for (sequence, position) in places {
            let bytes = sealed(sequence, position);
            assert!(
                read_seal(&bytes, &head, OFFSET).is_none(),
                "an entry for {sequence} at {position} is not of this segment"
            );
        }
    }

    /// A segment record of `version` with a body of so many bytes. Its checksum is right.
    fn segment_record(version: u16, body_bytes: usize) -> Vec<u8> {
        let mut bytes = vec![0; PREFIX_BYTES + body_bytes];
        bytes[PREFIX_BYTES..][..2].copy_from_slice(&version.to_le_bytes());
        seal_in_place(&mut bytes, Kind::Segment, 1, 0);
        bytes
    }

    #[test]
    fn a_newer_version_is_told_from_what_no_version_writes() {
        let newer = |version| {
            Err(HeadError::Newer {
                version,
                incompatible: 0,
            })
        };
        assert!(read_segment(&segment_record(1, 80)).is_ok());
        for body_bytes in [8, 72, 80, 88] {
            let read = |version| read_segment(&segment_record(version, body_bytes));
            assert_eq!((read(2), read(700)), (newer(2), newer(700)));
            assert_eq!(read(0), Err(HeadError::Invalid), "{body_bytes} bytes");
            if body_bytes != 80 {
                assert_eq!(read(1), Err(HeadError::Invalid), "{body_bytes} bytes");
            }
        }
    }

    #[test]
    fn a_damaged_version_byte_is_damage_and_not_a_newer_version() {
        let written = segment_record(1, 80);
        for version in [0, 2, 3, 129, 255] {
            let mut bytes = written.clone();
            bytes[4] = version;
            assert_eq!(read_segment(&bytes), Err(HeadError::Invalid), "{version}");
            // With another checksum it may be one: its records may have another layout.
            bytes[28] ^= 1;
            let newer = HeadError::Newer {
                version: version.into(),
                incompatible: 0,
            };
            let expected = match version {
                0 => HeadError::Invalid,
                _ => newer,
            };
            assert_eq!(read_segment(&bytes), Err(expected), "{version}");
        }
    }

    /// A seal at `offset` of the second segment of 64 KiB, up to that segment's end, and the head of that segment.
    fn sealed(
        offset: u64,
        entries: &[(u64, u64)],
        subjects: u32,
        base_sequence: u64,
    ) -> (Vec<u8>, SegmentHead) {
        let head = SegmentHead {
            identity: Identity {
                uuid: [0; 16],
                salt: 77,
                segment_bytes: 65_536,
            },
            index: 1,
            base_sequence,
            base_ns: 0,
            evidence: Evidence::default(),
        };
        let stand = Stand {
            salt: 77,
            at: Mark {
                sequence: 50,
                position: 65_536 + offset,
            },
            timestamp_ns: 9,
        };
        let entries: Vec<Entry> = entries
            .iter()
            .map(|(sequence, offset)| Entry {
                sequence: *sequence,
                timestamp_ns: 2,
                position: 65_536 + offset,
            })
            .collect();
        let places: Vec<Place> = (0..subjects).map(|id| Place { id, offset: 120 }).collect();
        let mut bytes = vec![0xff; (65_536 - offset) as usize];
        let evidence = Evidence::default();
        write_seal(
            &mut bytes,
            stand,
            evidence,
            offset as u32,
            entries.iter(),
            &places,
        );
        (bytes, head)
    }

    #[test]
    fn a_seal_that_has_little_room_lists_every_subject_and_as_much_of_the_index_as_fits() {
        let entries: Vec<(u64, u64)> = (0..9).map(|n| (n + 3, 120 + n * 100)).collect();
        for subjects in [0, 1, 5, 20] {
            for fit in 0..=9 {
                let room = 96 + u64::from(subjects) * 8 + fit * 24;
                for spare in [0, 8, 16] {
                    let offset = 65_536 - room - spare;
                    let (bytes, head) = sealed(offset, &entries, subjects, 3);
                    let seal = read_seal(&bytes, &head, offset).expect("valid");
                    let ids = seal.subjects.iter().map(|subject| subject.subject_id.get());
                    assert!(ids.eq(0..subjects), "{subjects} subjects, {fit} entries");
                    let listed = seal.index.iter().map(|entry| entry.sequence.get());
                    assert!(listed.eq(3..3 + fit), "{subjects} subjects, {fit} entries");
                }
            }
        }
    }

    #[test]
    fn a_seal_counts_only_where_it_ends_its_segment_and_lists_places_in_order() {
        const OFFSET: u64 = 65_536 - 1000;
        let good = [(3, 120), (4, 200), (50, OFFSET - 8)];
        let (mut bytes, head) = sealed(OFFSET, &good, 2, 3);
        assert!(read_seal(&bytes, &head, OFFSET).is_some());
        bytes.extend([0; 8]);
        assert!(
            read_seal(&bytes, &head, OFFSET).is_none(),
            "something is behind it"
        );
        let mut mark = vec![0; 1000];
        let at = Mark {
            sequence: 50,
            position: 65_536 + OFFSET,
        };
        let stand = Stand {
            salt: 77,
            at,
            timestamp_ns: 9,
        };
        write_batch(&mut mark, stand, Evidence::default());
        assert!(
            read_seal(&mark, &head, OFFSET).is_none(),
            "a mark is no seal"
        );
        for entries in [
            [(3, 120), (3, 120)],
            [(3, 200), (4, 120)],
            [(5, 120), (4, 200)],
            [(3, 120), (51, 200)],
            [(3, 120), (4, OFFSET)],
        ] {
            let (bytes, head) = sealed(OFFSET, &entries, 2, 3);
            assert!(read_seal(&bytes, &head, OFFSET).is_none(), "{entries:?}");
        }
        // A segment without records ends with the sequence with which it begins.
        for (base_sequence, is_valid) in [(49, true), (50, true), (51, false)] {
            let (bytes, head) = sealed(OFFSET, &[], 0, base_sequence);
            let seal = read_seal(&bytes, &head, OFFSET);
            assert_eq!(seal.is_some(), is_valid, "from {base_sequence} on");
        }
    }
}
