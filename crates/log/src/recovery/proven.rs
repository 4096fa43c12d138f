//! Segments that were synced whole: their seals say what is in them, so only their ends are read.

use std::collections::VecDeque;

use super::{End, Recoverer, damaged, due, missing};
use crate::directory::Heads;
use crate::files::Files;
use crate::index::{Entry, Index};
use crate::layout::SEGMENT_RECORD_BYTES;
use crate::mark::SEQUENCE_FIRST;
use crate::marks::{self, Identity, SegmentHead};
use crate::open::{Damage, Defect, OpenError};
use crate::scan;
use crate::segments::Base;
use crate::subjects::Subjects;

/// A definition that is not where a seal says it is.
struct Nameless {
    id: u32,
    damage: Damage,
}

impl<F: Files> Recoverer<'_, F> {
    /// Of segments that were synced whole, only the ends are read.
    pub(super) fn read_proven(
        &mut self,
        identity: Identity,
        heads: &Heads,
        segments: std::ops::Range<u64>,
        end: &End,
        subjects: &mut Subjects,
        index: &mut Index,
    ) -> Result<(VecDeque<Base>, u64), OpenError> {
        let mut bases = VecDeque::new();
        let mut last_ns = 0;
        let mut expected: Option<u64> = None;
        let mut nameless = Vec::new();
        for segment in segments.clone() {
            if !self.listed.contains_key(&segment) {
                return Err(missing(identity, heads, segment, expected));
            }
            let next = heads.get(&(segment + 1)).map(|head| head.base_sequence);
            let head = heads
                .get(&segment)
                .filter(|head| expected.is_none_or(|known| known == head.base_sequence));
            let Some(head) = head else {
                let first = due(segment, expected).or(next).unwrap_or(SEQUENCE_FIRST);
                return Err(damaged(
                    Defect::Head,
                    segment,
                    0..SEGMENT_RECORD_BYTES,
                    first,
                    next,
                ));
            };
            bases.push_back(Base {
                index: segment,
                sequence: head.base_sequence,
                before_ns: head.base_ns,
            });
            let (sequence, timestamp_ns) =
                self.read_seal(identity, head, subjects, index, &mut nameless)?;
            (expected, last_ns) = (Some(sequence), timestamp_ns);
        }
        // A name that another segment has, older or newer, is known.
        for Nameless { id, damage } in nameless {
            if subjects.name(id).is_none() {
                return Err(OpenError::Damaged(damage));
            }
        }
        let joins = end
            .bases
            .front()
            .map_or(end.scan.next.sequence, |base| base.sequence);
        if let Some(sequence) = expected.filter(|sequence| *sequence != joins) {
            return Err(damaged(
                Defect::Head,
                segments.end,
                0..SEGMENT_RECORD_BYTES,
                sequence,
                Some(joins),
            ));
        }
        Ok((bases, last_ns))
    }

    /// Reads a seal: the index goes to `index`, subjects that are not known yet to `subjects`. Returns the sequence that comes next, and the time of the last record.
    fn read_seal(
        &mut self,
        identity: Identity,
        head: &SegmentHead,
        subjects: &mut Subjects,
        index: &mut Index,
        nameless: &mut Vec<Nameless>,
    ) -> Result<(u64, u64), OpenError> {
        let (segment, bytes) = (head.index, identity.segment_bytes);
        let base = segment * bytes;
        let refused = |offset: u64| {
            damaged(
                Defect::Seal,
                segment,
                offset..bytes,
                head.base_sequence,
                None,
            )
        };
        let Some((offset, record)) = self.files.seal(segment, bytes)? else {
            return Err(refused(bytes - 8));
        };
        let Some(seal) = marks::read_seal(&record, head, offset) else {
            return Err(refused(offset));
        };
        for entry in seal.index {
            let position = entry.position.get();
            index.insert(Entry {
                sequence: entry.sequence.get(),
                timestamp_ns: entry.timestamp_ns.get(),
                position,
            });
        }
        for subject in seal.subjects {
            let (id, at) = (subject.subject_id.get(), u64::from(subject.offset.get()));
            if subjects.name(id).is_some() {
                continue;
            }
            let name = self.files.definition(segment, bytes, at, id)?;
            if !name.is_some_and(|name| subjects.adopt(id, &name)) {
                let first = head.base_sequence;
                let image = self.files.load(segment, bytes)?;
                let next = scan::next_in_place(image, at as usize, base, identity.salt, first);
                let damage = Damage {
                    what: Defect::Records,
                    segment,
                    start: at,
                    end: next.map_or(bytes, |(stop, _)| stop as u64),
                    first,
                    last: first.saturating_sub(1),
                };
                nameless.push(Nameless { id, damage });
            }
        }
        Ok((seal.next_sequence, seal.last_ns))
    }
}
