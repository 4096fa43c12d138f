//! Files that cannot be the segment that their name says: of another length, from elsewhere, or not to be read.

use std::ops::{ControlFlow, Range};

use super::{Seen, SegmentReport, Verifier};
use crate::files::Files;
use crate::index::Index;
use crate::layout::{BLOCK_BYTES, SEGMENT_RECORD_BYTES};
use crate::marks::{Identity, SegmentHead};
use crate::open::{Defect, OpenError};
use crate::scan::Scan;
use crate::subjects::Subjects;
use crate::walk;

use super::present::is_gone;

impl<F, P, V> Verifier<'_, F, P, V>
where
    F: Files,
    P: FnMut(u64, u64),
    V: FnMut(Seen<'_>, &Subjects) -> ControlFlow<()>,
{
    /// Why a file cannot be the segment that its name says, and which of its bytes are affected. A server never makes such a one, nor for a moment.
    pub(super) fn misfit(&self, segment: u64, bytes: u64) -> Option<(Defect, Range<u64>)> {
        if let Some(what) = self.misfits.get(&segment) {
            return Some((*what, 0..bytes));
        }
        let length = *self.listed.get(&segment)?;
        (length != bytes).then_some((Defect::Length { bytes: length }, length..bytes))
    }

    /// Takes a file that cannot be read out of those that are looked at. What else went wrong is handed back.
    pub(super) fn set_aside(
        &mut self,
        segment: u64,
        error: OpenError,
    ) -> Result<Defect, OpenError> {
        let OpenError::Io {
            segment: Some(unread),
            error: ref refused,
            ..
        } = error
        else {
            return Err(error);
        };
        if unread != segment {
            return Err(error);
        }
        let what = Defect::unread(refused);
        self.misfits.insert(segment, what);
        self.listed.remove(&segment);
        Ok(what)
    }

    /// Opens the files that are too short for a segment record, and reads nothing: what is no regular file may have any length. Returns the first error.
    pub(super) fn open_short(&mut self) -> Option<OpenError> {
        let mut first = None;
        let short = |(_, bytes): &(&u64, &u64)| **bytes < SEGMENT_RECORD_BYTES;
        for (&segment, _) in self.listed.iter().filter(short) {
            match self.files.read(segment, 0, &mut []) {
                Err(error) if !is_gone(&error) => {
                    let OpenError::Io {
                        error: ref refused, ..
                    } = error
                    else {
                        continue;
                    };
                    self.misfits.insert(segment, Defect::unread(refused));
                    first.get_or_insert(error);
                }
                _ => {}
            }
        }
        first
    }

    /// Verifies a segment whose file has another length, as if it had the right one: what was cut off is lost, and nothing else. False: it is not such a segment,
    /// or its own record does not tell where it begins.
    pub(super) fn misshapen(
        &mut self,
        segment: u64,
        identity: Identity,
        ended: bool,
        scan: &mut Scan,
        subjects: &mut Subjects,
    ) -> Result<bool, OpenError> {
        let bytes = identity.segment_bytes;
        let Some(&length) = self.listed.get(&segment) else {
            return Ok(false);
        };
        let due = scan.next.sequence;
        let fits = |head: &&SegmentHead| ended || due == 0 || due == head.base_sequence;
        let Some(head) = self.heads.get(&segment).filter(fits).copied() else {
            return Ok(false);
        };
        let image = self.files.padded(&self.listed, segment, bytes)?;
        let mut index = Index::new(BLOCK_BYTES);
        let next = self.heads.get(&(segment + 1));
        let next_base = next.map(|next| next.base_sequence);
        subjects.excuse(walk::listed(&image, &head));
        let mut walked = walk::walk(
            &head,
            &image,
            self.durable,
            next_base,
            scan,
            subjects,
            &mut index,
        );
        let held = match walked.damages.pop_if(|last| last.end > length) {
            Some(cut) => cut.first..cut.last + 1,
            None => {
                let end = scan.next.sequence;
                end..next_base.unwrap_or(end).max(end)
            }
        };
        let seen = Seen::Segment {
            image: &image,
            end: walked.end,
            damages: &walked.damages,
        };
        self.stopped |= (self.visit)(seen, &*subjects).is_break();
        self.found.segments.push(SegmentReport {
            index: segment,
            first: head.base_sequence,
            next: held.start,
            records: walked.records,
            first_ns: head.base_ns,
            last_ns: scan.last_ns,
            bytes: walked.end,
            sealed: walked.sealed,
        });
        self.found.damages.extend(walked.damages);
        if self.stopped {
            return Ok(true);
        }
        scan.next.sequence = held.end;
        self.note(
            Defect::Length { bytes: length },
            segment,
            length..bytes,
            held,
            subjects,
        );
        Ok(true)
    }
}
