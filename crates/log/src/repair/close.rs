//! Closing a segment whose end is not what it should be: a seal behind its last record, or behind what is damaged there.

use std::collections::{BTreeMap, BTreeSet};

use trunkline_wire::record::{self, Kind, Stamp};

use super::{Change, Kept, LOST_SUBJECT, Repair, RepairError, Step};
use crate::index::Entry;
use crate::layout::{SEAL_BYTES, SEAL_ENTRY_BYTES, SEAL_SUBJECT_BYTES};
use crate::mark::Mark;
use crate::marks::{self, Evidence, SegmentHead, Stand};
use crate::subjects::Place;
use crate::walk::Walked;

/// A segment that gets a new seal.
#[derive(Debug)]
pub(super) struct Closing {
    pub(super) head: SegmentHead,
    pub(super) walked: Walked,
    /// Its definitions that are intact.
    pub(super) places: Vec<Place>,
    /// Ids of its data whose definitions are not.
    pub(super) nameless: BTreeSet<u32>,
    pub(super) index: Vec<Entry>,
    /// The sequence behind its last record, or behind what is damaged there.
    pub(super) due: u64,
    /// The sequence that comes next: higher where more may have been handed out.
    pub(super) next_sequence: u64,
    /// Time of its last record.
    pub(super) last_ns: u64,
}

impl Closing {
    /// Adds to `repair` what it takes. `names` are the subjects that the stream knows.
    pub(super) fn plan(
        self,
        image: &[u8],
        evidence: Evidence,
        names: &BTreeMap<u32, Box<str>>,
        repair: &mut Repair,
    ) -> Result<(), RepairError> {
        let segment = self.head.index;
        let bytes = self.head.identity.segment_bytes;
        let (definitions, offsets) = self.definitions(names, repair);
        let subjects = (self.places.len() + offsets.len()) as u64;
        let needed = definitions.len() as u64 + SEAL_BYTES + subjects * SEAL_SUBJECT_BYTES;
        let room = bytes - self.walked.end;
        if needed > room {
            return Err(RepairError::NoRoom { segment });
        }
        let start = if self.loses_its_end() {
            self.walked.lost_end
        } else if self.next_sequence > self.due {
            // It does not follow the last record, and must not look as if it did.
            self.walked.end + 8
        } else {
            self.walked.end
        };
        // What is damaged stays, as far as the seal needs no place there.
        let wanted = needed + self.index.len() as u64 * SEAL_ENTRY_BYTES;
        let start = match start {
            start if start > self.walked.end => start.min(bytes - wanted.min(room)),
            start => start,
        };
        let seal_at = start + definitions.len() as u64;
        let mut places = self.places;
        for (id, offset) in offsets {
            let offset = (start as usize + offset) as u32;
            places.push(Place { id, offset });
        }
        let mut out = definitions;
        let seal_from = out.len();
        out.resize((bytes - start) as usize, 0);
        let stand = Stand {
            salt: self.head.identity.salt,
            at: Mark {
                sequence: self.next_sequence,
                position: segment * bytes + seal_at,
            },
            timestamp_ns: self.last_ns,
        };
        marks::write_seal(
            &mut out[seal_from..],
            stand,
            evidence,
            seal_at as u32,
            self.index.iter(),
            &places,
        );
        repair.keep(segment, image, start..bytes);
        repair.changes.push(Change::Close {
            segment,
            offset: seal_at,
        });
        repair.steps.push(Step::Write {
            segment,
            offset: start,
            bytes: out,
        });
        Ok(())
    }

    /// Whether data behind the last record in place is damaged: the seal does not follow that record then.
    fn loses_its_end(&self) -> bool {
        let lost =
            |damage: &crate::open::Damage| damage.start == self.walked.end && damage.records() > 0;
        !self.walked.sealed && self.walked.damages.last().is_some_and(lost)
    }

    /// The definitions that are missing, one behind the other, and where among them each id's is.
    fn definitions(
        &self,
        names: &BTreeMap<u32, Box<str>>,
        repair: &mut Repair,
    ) -> (Vec<u8>, Vec<(u32, usize)>) {
        let mut bytes = Vec::new();
        let mut offsets = Vec::new();
        for &id in &self.nameless {
            let name = match names.get(&id) {
                Some(name) => name.clone(),
                None => format!("{LOST_SUBJECT}{id}").into(),
            };
            let stamp = Stamp {
                kind: Kind::Definition,
                sequence: self.next_sequence,
                timestamp_ns: self.last_ns,
                subject_id: id,
                ..Stamp::DATA
            };
            let at = bytes.len();
            bytes.resize(at + record::body_record_bytes(name.len()), 0);
            record::encode(&mut bytes[at..], &stamp, name.as_bytes())
                .expect("the slice has the record's size");
            offsets.push((id, at));
            repair.changes.push(Change::Name {
                segment: self.head.index,
                id,
                name,
            });
        }
        (bytes, offsets)
    }
}

impl Repair {
    /// Has what is not zero in a stretch copied aside.
    pub(super) fn keep(&mut self, segment: u64, image: &[u8], range: std::ops::Range<u64>) {
        let stretch = &image[range.start as usize..range.end as usize];
        let Some(first) = stretch.iter().position(|byte| *byte != 0) else {
            return;
        };
        let last = stretch.iter().rposition(|byte| *byte != 0).unwrap_or(first);
        let kept = Kept {
            segment,
            start: range.start + first as u64,
            end: range.start + last as u64 + 1,
        };
        self.kept.push(kept);
        self.steps.push(Step::Keep(kept));
    }
}
