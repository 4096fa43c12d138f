//! The segments that reach above the durable frontier: recovery verifies every record of them, and refuses what is damaged.

use std::collections::BTreeSet;

use trunkline_wire::record::PREFIX_BYTES;

use super::close::Closing;
use super::plan::Planner;
use super::{Change, RepairError, Step};
use crate::files::Files;
use crate::layout::{PAGE_BYTES, SEGMENT_RECORD_BYTES};
use crate::mark::Mark;
use crate::marks::{self, Evidence, SegmentHead};
use crate::open::{Damage, Defect};
use crate::scan::Ending;
use crate::subjects::Subjects;
use crate::walk::Walked;

/// The segments that reach above the durable frontier, and how they end.
pub(super) struct Tail {
    pub(super) segments: Vec<Closing>,
    /// The stream cannot be opened with them.
    pub(super) broken: bool,
    /// The segment behind them is missing, and nothing tells what it held.
    pub(super) cut_off: bool,
    /// Where the stream goes on if it is: the segment, and what comes next in it.
    pub(super) next_segment: u64,
    pub(super) next_sequence: u64,
    pub(super) last_ns: u64,
}

impl<F: Files, P: FnMut(u64, u64)> Planner<'_, F, P> {
    /// Walks the segments that recovery would verify record by record, going on where it would refuse.
    pub(super) fn walk_tail(&mut self, start: u64) -> Result<Tail, RepairError> {
        let bytes = self.identity.segment_bytes;
        let before = start.checked_sub(1).and_then(|at| self.ends.get(&at));
        let before = before.map(|ends| (ends.next, ends.last_ns));
        let mut due = before.map(|(next, _)| next);
        let told = self
            .heads
            .range(..=start)
            .map(|(_, head)| head.evidence.first_segment);
        self.oldest = told.max().unwrap_or(0);
        let mut scan = self.scan(before.map_or(0, |(_, last_ns)| last_ns));
        scan.next = Mark {
            sequence: self.durable.sequence,
            position: start * bytes,
        };
        let mut subjects = Subjects::new(u32::MAX);
        let mut tail = Tail {
            segments: Vec::new(),
            broken: false,
            cut_off: false,
            next_segment: start,
            next_sequence: 0,
            last_ns: 0,
        };
        loop {
            let segment = tail.next_segment;
            let synced = segment * bytes < self.durable.position;
            let there = self.listed.contains_key(&segment);
            let cut = self.is_cut(segment);
            let head = match self.fitting(segment, due) {
                Ok(Some(head)) => head,
                // No crash cuts a file, so something was in it.
                Ok(None) if cut => self.make_head(segment, due, scan.last_ns)?,
                Err(contradiction) if synced => return Err(contradiction),
                // The log ends at the segment's start.
                Ok(None) | Err(_) if !synced => {
                    tail.cut_off = !there;
                    tail.broken |= !there;
                    break;
                }
                Ok(None) | Err(_) => self.make_head(segment, due, scan.last_ns)?,
            };
            let closing = self.walk(head, &mut scan, &mut subjects)?;
            let stale = self.needs_seal(&closing)?;
            let open = closing.walked.ending == Ending::Open;
            tail.broken |= stale || cut || !closing.walked.damages.is_empty();
            self.report(&closing);
            due = Some(closing.next_sequence);
            tail.segments.push(closing);
            tail.next_segment += 1;
            if open {
                break;
            }
        }
        self.oldest = self.oldest.max(scan.evidence.first_segment);
        tail.next_sequence = scan.next.sequence.max(self.durable.sequence);
        tail.last_ns = scan.last_ns;
        Ok(tail)
    }

    /// Closes what has to be closed, and lets the stream go on in a segment above it all.
    pub(super) fn end_tail(&mut self, tail: Tail) -> Result<(), RepairError> {
        let bytes = self.identity.segment_bytes;
        let mut next_sequence = tail.next_sequence;
        for closing in tail.segments {
            let segment = closing.head.index;
            let open = closing.walked.ending == Ending::Open;
            let stop = if open { closing.walked.lost_end } else { bytes };
            let durable = self.durable.position / PAGE_BYTES * PAGE_BYTES;
            let start = durable.saturating_sub(segment * bytes);
            if start < stop && self.listed.get(&segment) == Some(&bytes) {
                self.repair.steps.push(Step::Again {
                    segment,
                    start,
                    end: stop,
                });
            }
            if open {
                next_sequence = closing.next_sequence;
            }
            if open || self.needs_seal(&closing)? {
                self.closings.push(closing);
            }
        }
        let mut segment = tail.next_segment;
        if tail.cut_off {
            next_sequence = self.fill(segment, next_sequence, tail.last_ns)?;
            segment += 1;
        }
        if self.listed.contains_key(&segment) {
            let image = self.image(segment)?;
            self.repair.keep(segment, &image, 0..bytes);
        } else {
            self.repair.steps.push(Step::Prepare { segment });
        }
        let head = SegmentHead {
            identity: self.identity,
            index: segment,
            base_sequence: next_sequence,
            base_ns: tail.last_ns,
            evidence: Evidence {
                durable: Mark {
                    sequence: next_sequence,
                    position: segment * bytes,
                },
                first_segment: self.oldest,
            },
        };
        self.repair.steps.push(Step::Begin {
            segment,
            page: marks::first_page(&head).to_vec(),
        });
        self.repair.changes.push(Change::Begin {
            segment,
            sequence: next_sequence,
        });
        Ok(())
    }

    /// Puts a file in the place of the last segment, of which nothing tells what it held: none of the sequences that it can have held comes again. Returns
    /// the one behind them.
    fn fill(&mut self, segment: u64, due: u64, last_ns: u64) -> Result<u64, RepairError> {
        let bytes = self.identity.segment_bytes;
        let next_sequence = due + bytes / PREFIX_BYTES as u64;
        self.missing(Defect::Gone, segment, due..due);
        self.repair.uncounted = true;
        let head = self.make_head(segment, Some(due), last_ns)?;
        let unknown = Damage {
            what: Defect::Records,
            segment,
            start: SEGMENT_RECORD_BYTES,
            end: bytes,
            first: due,
            last: next_sequence - 1,
        };
        self.closings.push(Closing {
            head,
            walked: Walked {
                ending: Ending::Sealed,
                sealed: false,
                end: unknown.start,
                lost_end: unknown.end,
                records: 0,
                damages: vec![unknown],
            },
            places: Vec::new(),
            nameless: BTreeSet::new(),
            index: Vec::new(),
            due: next_sequence,
            next_sequence,
            last_ns,
        });
        Ok(next_sequence)
    }
}
