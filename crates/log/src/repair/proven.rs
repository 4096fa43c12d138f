//! The segments below the durable frontier: recovery knows them by their ends, and refuses them when those are damaged.

use super::plan::Planner;
use super::tail::Tail;
use super::{Change, RepairError};
use crate::files::Files;
use crate::mark::SEQUENCE_FIRST;
use crate::marks::{self, Evidence, SegmentHead};
use crate::open::{Defect, OpenError};
use crate::subjects::Subjects;

/// What a segment's seal says.
pub(super) struct Ends {
    pub(super) next: u64,
    pub(super) last_ns: u64,
    /// Ids whose definitions are not where it says: recovery minds, unless another segment has the name.
    pub(super) nameless: Vec<u32>,
}

impl<F: Files, P: FnMut(u64, u64)> Planner<'_, F, P> {
    /// What a segment's seal says, if that is what recovery would believe.
    pub(super) fn read_ends(&mut self, segment: u64) -> Result<(), OpenError> {
        let bytes = self.identity.segment_bytes;
        if self.listed.get(&segment) != Some(&bytes) {
            return Ok(());
        }
        // A seal holds on its own: it tells what comes next where the record at the other end is damaged.
        let head = self.heads.get(&segment).copied().unwrap_or(SegmentHead {
            identity: self.identity,
            index: segment,
            base_sequence: SEQUENCE_FIRST,
            base_ns: 0,
            evidence: Evidence::default(),
        });
        let Some((offset, record)) = self.files.seal(segment, bytes)? else {
            return Ok(());
        };
        let Some(seal) = marks::read_seal(&record, &head, offset) else {
            return Ok(());
        };
        let mut ends = Ends {
            next: seal.next_sequence,
            last_ns: seal.last_ns,
            nameless: Vec::new(),
        };
        for subject in seal.subjects {
            let (id, at) = (subject.subject_id.get(), u64::from(subject.offset.get()));
            match self.files.definition(segment, bytes, at, id)? {
                Some(name) => {
                    self.names.insert(id, name);
                }
                None => ends.nameless.push(id),
            }
        }
        self.ends.insert(segment, ends);
        Ok(())
    }

    /// Segments that are missing at the beginning count as removed: nothing tells what they held.
    pub(super) fn give_up_beginning(&mut self, tail: &mut Tail) -> Result<(), OpenError> {
        let Some((&first, _)) = self.listed.range(self.oldest..).next() else {
            return Ok(());
        };
        if first == self.oldest {
            return Ok(());
        }
        let next = match self.heads.get(&first) {
            Some(head) => head.base_sequence,
            None => self.base_behind(first - 1)?.unwrap_or(0),
        };
        let (what, known) = match self.oldest {
            0 => (Defect::Missing, SEQUENCE_FIRST),
            _ => (Defect::Gone, next),
        };
        self.repair.uncounted |= what == Defect::Gone;
        for segment in self.oldest..first {
            let first = if segment == self.oldest { known } else { next };
            self.missing(what, segment, first..next);
        }
        self.repair.changes.push(Change::Given { first });
        self.oldest = first;
        tail.broken = true;
        Ok(())
    }

    /// The segments below: all are walked, for what is lost in them, and those that cannot be told by their ends are closed.
    pub(super) fn look_at_proven(&mut self, start: u64) -> Result<(), RepairError> {
        let mut due = None;
        let mut scan = self.scan(0);
        let mut subjects = Subjects::new(u32::MAX);
        let bytes = self.identity.segment_bytes;
        for segment in self.oldest..start {
            (self.progress)(segment * bytes, self.durable.position);
            let head = self.fitting(segment, due)?;
            let by_ends = match (head, self.ends.get(&segment)) {
                (Some(_), Some(ends))
                    if ends.nameless.iter().all(|id| self.names.contains_key(id)) =>
                {
                    Some((ends.next, ends.last_ns))
                }
                _ => None,
            };
            let head = match head {
                Some(head) => head,
                None => self.make_head(segment, due, scan.last_ns)?,
            };
            let closing = self.walk(head, &mut scan, &mut subjects)?;
            self.report(&closing);
            if let Some((next, last_ns)) = by_ends {
                // It stays as it is: readers are told what is damaged in it.
                (due, scan.last_ns) = (Some(next), last_ns);
                continue;
            }
            due = Some(closing.next_sequence);
            if self.needs_seal(&closing)? {
                self.closings.push(closing);
            }
        }
        // What was made of the last of them has to fit what comes next.
        self.fitting(start, due)?;
        Ok(())
    }
}
