//! Verification of one segment's bytes, and the search for marks behind damage.

use trunkline_wire::record::{Kind, PREFIX_BYTES, RawRecord};

use crate::index::{Entry, Index};
use crate::layout::{BLOCK_BYTES, SEGMENT_RECORD_BYTES};
use crate::mark::Mark;
use crate::marks::{self, Evidence, SegmentHead};
use crate::subjects::Subjects;

/// What verification has found so far, over one or more segments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scan {
    /// The salt of the stream's marks.
    pub(crate) salt: u64,
    /// Behind the last valid record.
    pub(crate) next: Mark,
    /// Time of the last data record.
    pub(crate) last_ns: u64,
    /// End of the last record that is not only a mark.
    pub(crate) significant: u64,
    /// The highest that a valid record said.
    pub(crate) evidence: Evidence,
}

/// How a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With its seal: the log goes on in the next segment.
    Sealed,
    /// At the first thing that is not a valid record; the log ends there.
    Open,
}

impl Scan {
    /// Verifies the records of a segment whose segment record is `head`.
    pub(crate) fn segment(
        &mut self,
        head: &SegmentHead,
        image: &[u8],
        subjects: &mut Subjects,
        index: &mut Index,
    ) -> Ending {
        subjects.forget_places();
        self.next = Mark {
            sequence: head.base_sequence,
            position: head.index * head.identity.segment_bytes + SEGMENT_RECORD_BYTES,
        };
        self.last_ns = head.base_ns;
        self.significant = self.next.position;
        self.hear(head.evidence);
        self.records(head, image, subjects, index)
    }

    /// Verifies the records of that segment from `self.next` on.
    pub(crate) fn records(
        &mut self,
        head: &SegmentHead,
        image: &[u8],
        subjects: &mut Subjects,
        index: &mut Index,
    ) -> Ending {
        let start = head.index * head.identity.segment_bytes;
        let mut stride_end = start;
        loop {
            let offset = (self.next.position - start) as usize;
            let Some(rest) = image.get(offset..).filter(|rest| !rest.is_empty()) else {
                return Ending::Open;
            };
            let Ok(Some(raw)) = RawRecord::peek(rest, u32::MAX) else {
                return Ending::Open;
            };
            if raw.sequence() != self.next.sequence || raw.timestamp_ns() < self.last_ns {
                return Ending::Open;
            }
            let end = self.next.position + raw.len() as u64;
            match raw.kind() {
                Kind::Data => {
                    let Ok(record) = raw.verify() else {
                        return Ending::Open;
                    };
                    if !subjects.is_defined(record.subject_id())
                        && !subjects.excuses(record.subject_id())
                    {
                        return Ending::Open;
                    }
                    if self.next.position >= stride_end {
                        let Mark { sequence, position } = self.next;
                        index.push(Entry {
                            sequence,
                            timestamp_ns: self.last_ns,
                            position,
                        });
                        stride_end = position + BLOCK_BYTES;
                    }
                    self.last_ns = record.timestamp_ns();
                    self.next.sequence += 1;
                    self.significant = end;
                }
                Kind::Definition => {
                    let Ok(record) = raw.verify() else {
                        return Ending::Open;
                    };
                    let Ok(name) = std::str::from_utf8(record.body()) else {
                        return Ending::Open;
                    };
                    if name.is_empty() || !subjects.adopt(record.subject_id(), name) {
                        return Ending::Open;
                    }
                    subjects.define(record.subject_id(), offset as u32);
                    self.significant = end;
                }
                Kind::Batch => match marks::read_evidence(&raw, self.salt, self.next.position) {
                    Some(evidence) => self.hear(evidence),
                    None => return Ending::Open,
                },
                Kind::Pad if raw.verify().is_ok() => {}
                Kind::Seal if offset + raw.len() == image.len() => {
                    let Some(seal) = marks::read_seal(raw.bytes(), head, offset as u64) else {
                        return Ending::Open;
                    };
                    self.hear(seal.evidence);
                    self.next.position = end;
                    self.significant = end;
                    return Ending::Sealed;
                }
                Kind::Pad | Kind::Seal | Kind::Segment => return Ending::Open,
            }
            self.next.position = end;
        }
    }

    fn hear(&mut self, evidence: Evidence) {
        self.evidence = highest(self.evidence, evidence);
    }
}

/// Each frontier as far as either of them tells.
pub(crate) fn highest(a: Evidence, b: Evidence) -> Evidence {
    Evidence {
        durable: a.durable.max(b.durable),
        first_segment: a.first_segment.max(b.first_segment),
    }
}

/// The highest of everything that a mark in these bytes tells, wherever it stands. Payloads cannot pass for marks: they do not know the salt.
pub(crate) fn evidence_in(image: &[u8], base: u64, salt: u64) -> Evidence {
    let mut highest_told = Evidence::default();
    for (offset, rest) in candidates(image, 0) {
        if !matches!(rest[5], BATCH | SEAL) {
            continue;
        }
        if let Ok(Some(raw)) = RawRecord::peek(rest, u32::MAX)
            && let Some(evidence) = marks::read_evidence(&raw, salt, base + offset as u64)
        {
            highest_told = highest(highest_told, evidence);
        }
    }
    highest_told
}

/// Behind the damage at `from`: the first place from which valid records lead to a mark without a gap, and the sequence there.
pub(crate) fn next_in_place(
    image: &[u8],
    from: usize,
    base: u64,
    salt: u64,
    sequence: u64,
) -> Option<(usize, u64)> {
    candidates(image, from + 8).find_map(|(offset, rest)| {
        let first = RawRecord::peek(rest, u32::MAX).ok()??.sequence();
        (first >= sequence && leads_to_mark(image, offset, base, salt)).then_some((offset, first))
    })
}

fn leads_to_mark(image: &[u8], mut offset: usize, base: u64, salt: u64) -> bool {
    let mut sequence = None;
    loop {
        let Some(rest) = image.get(offset..) else {
            return false;
        };
        let Ok(Some(raw)) = RawRecord::peek(rest, u32::MAX) else {
            return false;
        };
        if sequence.is_some_and(|sequence| sequence != raw.sequence()) {
            return false;
        }
        match raw.kind() {
            Kind::Batch | Kind::Seal => {
                return marks::read_evidence(&raw, salt, base + offset as u64).is_some();
            }
            _ if raw.verify().is_err() => return false,
            kind => sequence = Some(raw.sequence() + u64::from(kind == Kind::Data)),
        }
        offset += raw.len();
    }
}

/// Behind the end of the log: the sequence behind the highest that a valid data record there has, at least `next`. Payloads can
/// pass for records, so none counts that could not have been reached in so many bytes.
pub(crate) fn beyond(image: &[u8], from: usize, next: u64) -> u64 {
    let most = (image.len().saturating_sub(from) / PREFIX_BYTES) as u64;
    candidates(image, from)
        .filter_map(|(_, rest)| {
            let record = RawRecord::peek(rest, u32::MAX).ok()??.verify().ok()?;
            (record.kind() == Kind::Data).then(|| record.sequence().saturating_add(1))
        })
        .filter(|after| (next..=next + most).contains(after))
        .max()
        .unwrap_or(next)
}

/// Places at which a record may start.
fn candidates(image: &[u8], from: usize) -> impl Iterator<Item = (usize, &[u8])> {
    image
        .get(from..)
        .unwrap_or_default()
        .chunks_exact(8)
        .enumerate()
        .filter(|(_, word)| word[..4] == trunkline_wire::layout::MAGIC)
        .map(move |(nth, _)| (from + nth * 8, &image[from + nth * 8..]))
}

const BATCH: u8 = Kind::Batch as u8;
const SEAL: u8 = Kind::Seal as u8;

#[cfg(test)]
mod tests {
    use trunkline_wire::record::{self, Stamp};

    use super::*;
    use crate::marks::{Identity, Stand};

    const SALT: u64 = 77;
    const SEGMENT_BYTES: usize = 4 * BLOCK_BYTES as usize;
    const START: usize = SEGMENT_RECORD_BYTES as usize;

    /// A segment's bytes that grow record by record.
    struct Image {
        bytes: Vec<u8>,
        end: usize,
    }

    impl Image {
        fn new() -> Self {
            Self {
                bytes: vec![0; SEGMENT_BYTES],
                end: START,
            }
        }

        /// Puts a record behind the last one, and returns where that is.
        fn put(&mut self, kind: Kind, sequence: u64, body: &[u8]) -> usize {
            let stamp = Stamp {
                kind,
                sequence,
                ..Stamp::DATA
            };
            let start = self.end;
            self.end += record::encode(&mut self.bytes[start..], &stamp, body).expect("room");
            start
        }

        fn data(&mut self, sequence: u64) -> usize {
            self.put(Kind::Data, sequence, b"a payload")
        }

        fn mark(&mut self, sequence: u64) {
            let at = Mark {
                sequence,
                position: self.end as u64,
            };
            let out = &mut self.bytes[self.end..self.end + 128];
            marks::write_batch(out, stand(at), Evidence::default());
            self.end += 128;
        }

        /// Verifies all of it as the first segment of a stream whose records begin at 1.
        fn verified(&self) -> (Ending, Scan, Index) {
            let head = SegmentHead {
                identity: Identity {
                    uuid: [0; 16],
                    salt: SALT,
                    segment_bytes: SEGMENT_BYTES as u64,
                },
                index: 0,
                base_sequence: 1,
                base_ns: 0,
                evidence: Evidence::default(),
            };
            let mut scan = Scan {
                salt: SALT,
                next: Mark::default(),
                last_ns: 0,
                significant: 0,
                evidence: Evidence::default(),
            };
            let (mut subjects, mut index) = (Subjects::new(9), Index::new(BLOCK_BYTES));
            let ending = scan.segment(&head, &self.bytes, &mut subjects, &mut index);
            (ending, scan, index)
        }
    }

    fn stand(at: Mark) -> Stand {
        Stand {
            salt: SALT,
            at,
            timestamp_ns: 0,
        }
    }

    #[test]
    fn a_pad_is_passed_over_and_a_damaged_one_is_the_end() {
        let mut image = Image::new();
        image.put(Kind::Definition, 1, b"a");
        let pad = image.put(Kind::Pad, 1, &[0; 500]);
        image.data(1);
        let (ending, scan, _) = image.verified();
        let reached = (scan.next.sequence, scan.next.position);
        assert_eq!((ending, reached), (Ending::Open, (2, image.end as u64)));
        image.bytes[pad + PREFIX_BYTES + 7] ^= 1;
        let (_, scan, _) = image.verified();
        assert_eq!(scan.next.position, pad as u64);
    }

    #[test]
    fn a_seal_counts_only_at_the_end_of_its_segment() {
        for (room, ending) in [(1000, Ending::Sealed), (1008, Ending::Open)] {
            let mut image = Image::new();
            image.put(Kind::Definition, 1, b"a");
            image.data(1);
            let (end, offset) = (image.end, SEGMENT_BYTES - room);
            image.put(Kind::Pad, 2, &vec![0; offset - end - PREFIX_BYTES]);
            assert_eq!(image.end, offset);
            let at = Mark {
                sequence: 2,
                position: offset as u64,
            };
            let out = &mut image.bytes[offset..offset + 1000];
            let evidence = Evidence::default();
            marks::write_seal(out, stand(at), evidence, offset as u32, [].iter(), &[]);
            assert_eq!(image.verified().0, ending, "{room} bytes before the end");
        }
    }

    #[test]
    fn the_index_has_the_first_record_of_each_block() {
        let mut image = Image::new();
        image.put(Kind::Definition, 1, b"a");
        let mut starts = Vec::new();
        for sequence in 1..=6 {
            starts.push(image.put(Kind::Data, sequence, &vec![7; 40 << 10]) as u64);
        }
        let (_, _, index) = image.verified();
        let places: Vec<u64> = index.since(0).map(|entry| entry.position).collect();
        assert_eq!(places, [starts[0], starts[2], starts[4]]);
    }

    #[test]
    fn only_whole_records_lead_to_a_mark() {
        let mut image = Image::new();
        let damaged = image.data(5);
        let whole = image.data(6);
        image.mark(7);
        let found = |image: &Image, sequence| next_in_place(&image.bytes, 0, 0, SALT, sequence);
        assert_eq!(found(&image, 5), Some((damaged, 5)));
        assert_eq!(found(&image, 6), Some((whole, 6)));
        image.bytes[damaged + PREFIX_BYTES] ^= 1;
        assert_eq!(found(&image, 5), Some((whole, 6)));
        assert_eq!(next_in_place(&image.bytes, 0, 0, SALT + 1, 5), None);
    }

    #[test]
    fn records_behind_the_end_count_as_far_as_they_can_have_been_reached() {
        let from = SEGMENT_BYTES - 4000;
        let highest = |records: &[(Kind, u64)]| {
            let mut image = Image::new();
            image.end = from + 400;
            for (kind, sequence) in records {
                image.put(*kind, *sequence, b"a");
            }
            beyond(&image.bytes, from, 5)
        };
        assert_eq!(highest(&[]), 5);
        assert_eq!(highest(&[(Kind::Data, 7), (Kind::Data, 6)]), 8);
        assert_eq!(highest(&[(Kind::Data, 7), (Kind::Definition, 9)]), 8);
        assert_eq!(highest(&[(Kind::Data, 3)]), 5);
        // In 4,000 bytes there are 100 records at most.
        assert_eq!(highest(&[(Kind::Data, 104)]), 105);
        assert_eq!(highest(&[(Kind::Data, 7), (Kind::Data, 105)]), 8);
        assert_eq!(highest(&[(Kind::Data, u64::MAX)]), 5);
    }
}
