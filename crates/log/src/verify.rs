//! Verification of a stream's files without opening it: every record, nothing changed.
//!
//! The rules are those of recovery, in `docs/format/log.md`; where recovery stops at the first damage and refuses, this goes on behind it.

use std::collections::BTreeMap;

use crate::directory::{Directory, is_zero};
use crate::files::Files;
use crate::index::Index;
use crate::layout::{BLOCK_BYTES, PAGE_BYTES, SEGMENT_RECORD_BYTES};
use crate::mark::{Mark, SEQUENCE_FIRST};
use crate::marks::{self, Evidence, HeadError, Identity, SegmentHead};
use crate::open::{Damage, Defect, OpenError, Torn};
use crate::scan::{self, Ending, Scan};
use crate::subjects::Subjects;

/// What the files of a stream hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// The segments, oldest first. One that holds nothing yet is not among them.
    pub segments: Vec<SegmentReport>,
    /// Everything before this sequence was known to be on the device, as far as the files tell.
    pub durable_sequence: u64,
    /// What a crash, or a server that is writing now, left behind the last whole record.
    pub torn: Option<Torn>,
    /// Damage to data that was known to be on the device, in the order of the stream.
    pub damages: Vec<Damage>,
}

/// One segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its index, from the name.
    pub index: u64,
    /// Sequence of its first data record.
    pub first: u64,
    /// Sequence behind its last data record.
    pub next: u64,
    /// Data records that are intact.
    pub records: u64,
    /// Not younger than its first record, in nanoseconds since 1970.
    pub first_ns: u64,
    /// Time of its last record.
    pub last_ns: u64,
    /// Bytes up to the end of the last valid record.
    pub bytes: u64,
    /// It is full and closed.
    pub sealed: bool,
}

/// Verifies every record of the stream in `files`, of which only [`Files::list`] and [`Files::read_at`] are called. `progress` is told how many of how many bytes are done.
///
/// # Errors
/// As [`Log::open`](crate::Log::open), but for damage, which is part of what is returned.
pub fn verify(
    files: &mut impl Files,
    progress: impl FnMut(u64, u64),
) -> Result<Verified, OpenError> {
    let listed = files.list().map_err(|error| OpenError::Io {
        doing: "list the segments",
        segment: None,
        error,
    })?;
    let mut verifier = Verifier {
        files: Directory::new(files),
        listed: listed
            .into_iter()
            .map(|file| (file.index, file.bytes))
            .collect(),
        heads: BTreeMap::new(),
        found: Verified::default(),
        progress,
    };
    verifier.run()?;
    Ok(verifier.found)
}

struct Verifier<'a, F, P> {
    files: Directory<'a, F>,
    listed: BTreeMap<u64, u64>,
    heads: BTreeMap<u64, SegmentHead>,
    found: Verified,
    progress: P,
}

impl<F: Files, P: FnMut(u64, u64)> Verifier<'_, F, P> {
    fn run(&mut self) -> Result<(), OpenError> {
        let Some(identity) = self.read_heads()? else {
            return self.no_heads();
        };
        let durable = self.find_durable(identity)?;
        self.found.durable_sequence = durable.sequence;
        let bytes = identity.segment_bytes;
        let told = self.heads.values().map(|head| head.evidence.first_segment);
        let oldest = told.max().unwrap_or(0);
        let last = self.listed.last_key_value().map_or(0, |(index, _)| *index);
        let total = (last + 1 - oldest.min(last)) * bytes;

        let mut subjects = Subjects::new(u32::MAX);
        let mut scan = Scan {
            salt: identity.salt,
            next: Mark::default(),
            last_ns: 0,
            significant: 0,
            evidence: Evidence {
                durable: Mark::default(),
                first_segment: oldest,
            },
        };
        let mut ended = false;
        for segment in oldest..=last {
            (self.progress)((segment - oldest) * bytes, total);
            let base = segment * bytes;
            let synced = base < durable.position;
            let is_whole = self.listed.get(&segment).copied();
            if ended && !synced {
                if is_whole == Some(bytes) {
                    self.leftover(segment, 0, bytes)?;
                }
                continue;
            }
            match is_whole {
                None => self.damage(Defect::Missing, segment, 0..bytes, &scan),
                Some(length) if length != bytes => {
                    let range = length..bytes;
                    self.damage(Defect::Length { bytes: length }, segment, range, &scan);
                }
                Some(_) => {
                    let expected = (scan.next.sequence > 0).then_some(scan.next.sequence);
                    let head = self.heads.get(&segment).copied();
                    let fits = |head: &SegmentHead| {
                        // Behind damage nobody knows which sequence is due.
                        ended || expected.is_none_or(|due| due == head.base_sequence)
                    };
                    match head.filter(fits) {
                        Some(head) => {
                            let ending = self.segment(&head, durable, &mut scan, &mut subjects)?;
                            ended = ending == Ending::Open;
                            continue;
                        }
                        None if synced => {
                            let range = 0..SEGMENT_RECORD_BYTES;
                            self.damage(Defect::Head, segment, range, &scan);
                        }
                        None => self.leftover(segment, 0, bytes)?,
                    }
                }
            }
            ended = true;
        }
        (self.progress)(total, total);
        Ok(())
    }

    /// Reads the segment records. `None`: not one of them is valid.
    fn read_heads(&mut self) -> Result<Option<Identity>, OpenError> {
        let mut identity: Option<Identity> = None;
        for (&segment, &bytes) in &self.listed {
            let mut page = [0; SEGMENT_RECORD_BYTES as usize];
            if bytes < page.len() as u64 {
                continue;
            }
            self.files.read(segment, 0, &mut page)?;
            let head = match marks::read_segment(&page) {
                Ok(head) => head,
                Err(HeadError::Newer {
                    version,
                    incompatible,
                }) => {
                    return Err(OpenError::Newer {
                        segment,
                        version,
                        incompatible,
                    });
                }
                Err(HeadError::Invalid) => continue,
            };
            let known = *identity.get_or_insert(head.identity);
            if known != head.identity || head.index != segment {
                let other_stream = known != head.identity;
                return Err(OpenError::Foreign {
                    segment,
                    index: head.index,
                    other_stream,
                });
            }
            self.heads.insert(segment, head);
        }
        Ok(identity.filter(|identity| identity.segment_bytes > 0))
    }

    /// A stream that was never used has one segment, and nothing behind its first page.
    fn no_heads(&mut self) -> Result<(), OpenError> {
        let unknown = Scan {
            salt: 0,
            next: Mark::default(),
            last_ns: 0,
            significant: 0,
            evidence: Evidence {
                durable: Mark::default(),
                first_segment: 0,
            },
        };
        for (segment, bytes) in self.listed.clone() {
            let image = self.files.load(segment, bytes)?;
            let used = image
                .get(PAGE_BYTES as usize..)
                .is_none_or(|rest| !is_zero(rest));
            if used || segment > 0 {
                self.damage(Defect::Head, segment, 0..SEGMENT_RECORD_BYTES, &unknown);
            }
        }
        Ok(())
    }

    /// The durable frontier: searched from the last file backwards until a segment starts at or below it.
    fn find_durable(&mut self, identity: Identity) -> Result<Mark, OpenError> {
        let told = self.heads.values().map(|head| head.evidence.durable);
        let mut durable = told.max().unwrap_or_default();
        let whole =
            |(&segment, &bytes): (&u64, &u64)| (bytes == identity.segment_bytes).then_some(segment);
        let segments: Vec<u64> = self.listed.iter().rev().filter_map(whole).collect();
        for segment in segments {
            let base = segment * identity.segment_bytes;
            let image = self.files.load(segment, identity.segment_bytes)?;
            durable = durable.max(scan::durable_in(image, base, identity.salt));
            if durable.position >= base && self.heads.contains_key(&segment) {
                break;
            }
        }
        Ok(durable)
    }

    /// Verifies one segment, going on behind damage as far as something is provably in place there.
    fn segment(
        &mut self,
        head: &SegmentHead,
        durable: Mark,
        scan: &mut Scan,
        subjects: &mut Subjects,
    ) -> Result<Ending, OpenError> {
        let (segment, bytes) = (head.index, head.identity.segment_bytes);
        let base = segment * bytes;
        let mut index = Index::new(BLOCK_BYTES);
        let image = self.files.load(segment, bytes)?;
        let mut ending = scan.segment(head, image, subjects, &mut index);
        let mut records = scan.next.sequence - head.base_sequence;
        let mut damages = Vec::new();
        while ending == Ending::Open && scan.next.position < durable.position.min(base + bytes) {
            let at = scan.next;
            let offset = (at.position - base) as usize;
            let found = scan::next_in_place(image, offset, base, scan.salt, at.sequence);
            let (stop, sequence) = match found {
                Some((stop, sequence)) => (stop as u64, sequence),
                // As far as anything was synced; the next segment tells which sequence it begins with.
                None => {
                    let next = self
                        .heads
                        .get(&(segment + 1))
                        .map(|next| next.base_sequence);
                    let stop = bytes.min(durable.position - base);
                    (stop, next.unwrap_or(durable.sequence).max(at.sequence))
                }
            };
            damages.push(Damage {
                what: Defect::Records,
                segment,
                start: offset as u64,
                end: stop,
                first: at.sequence,
                last: sequence.saturating_sub(1),
            });
            scan.next = Mark {
                sequence,
                position: base + stop,
            };
            if found.is_none() {
                if base + stop >= base + bytes {
                    ending = Ending::Sealed;
                }
                break;
            }
            ending = scan.records(head, image, subjects, &mut index);
            records += scan.next.sequence - sequence;
        }
        let used = scan.next.position - base;
        self.found.segments.push(SegmentReport {
            index: segment,
            first: head.base_sequence,
            next: scan.next.sequence,
            records,
            first_ns: head.base_ns,
            last_ns: scan.last_ns,
            bytes: used,
            sealed: ending == Ending::Sealed,
        });
        self.found.damages.append(&mut damages);
        if ending == Ending::Open {
            self.leftover(segment, used, bytes)?;
        }
        Ok(ending)
    }

    /// What is not zero behind the log's end.
    fn leftover(&mut self, segment: u64, from: u64, bytes: u64) -> Result<(), OpenError> {
        let image = self.files.load(segment, bytes)?;
        let pages = image[from as usize..]
            .chunks(PAGE_BYTES as usize)
            .filter(|page| !is_zero(page))
            .count() as u64;
        if pages > 0 {
            let torn = self.found.torn.get_or_insert(Torn {
                segment,
                offset: from,
                bytes: 0,
            });
            torn.bytes += pages * PAGE_BYTES;
        }
        Ok(())
    }

    fn damage(&mut self, what: Defect, segment: u64, range: std::ops::Range<u64>, scan: &Scan) {
        let next = self
            .heads
            .range(segment + 1..)
            .next()
            .map_or(self.found.durable_sequence, |(_, head)| head.base_sequence);
        let first = match (scan.next.sequence, segment) {
            (0, 0) => SEQUENCE_FIRST,
            // Nothing tells where the oldest segment of a stream begins but its own record.
            (0, _) => next,
            (due, _) => due,
        };
        self.found.damages.push(Damage {
            what,
            segment,
            start: range.start,
            end: range.end,
            first,
            last: next.saturating_sub(1),
        });
    }
}
