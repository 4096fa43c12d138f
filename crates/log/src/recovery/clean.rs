//! What a crash left: what is kept becomes durable, what is not kept goes.

use super::{End, Recoverer};
use crate::files::Files;
use crate::layout::PAGE_BYTES;
use crate::mark::Mark;
use crate::marks::Identity;
use crate::open::{OpenError, Torn};

impl<F: Files> Recoverer<'_, F> {
    /// Makes what is kept durable and what is not kept zero.
    pub(super) fn clean(
        &mut self,
        identity: Identity,
        end: &End,
        durable: Mark,
    ) -> Result<(), OpenError> {
        let bytes = identity.segment_bytes;
        let stop = end.scan.next.position;
        // Also where only marks lie beyond D: what is synced next counts on them, and covers nothing but itself.
        let is_proven = stop <= durable.position;
        let from = if is_proven {
            stop
        } else {
            durable.position / PAGE_BYTES * PAGE_BYTES
        };
        let mut torn_bytes = 0;
        for (&segment, _) in self.listed.range(from / bytes..) {
            let base = segment * bytes;
            self.files.load(segment, bytes)?;
            let kept = stop.saturating_sub(base).min(bytes) as usize;
            let start = from.saturating_sub(base).min(kept as u64) as usize;
            let mut changed = false;
            if kept > start {
                self.files.write_image(segment, start, kept)?;
                self.report.rewritten_bytes += (kept - start) as u64;
                changed = true;
            }
            let zeroed = self.files.zero_image(segment, kept)?;
            torn_bytes += zeroed;
            if changed || zeroed > 0 {
                self.files
                    .doing("sync", segment, |files| files.sync(segment))?;
            }
        }
        if torn_bytes > 0 {
            let offset = stop - end.segment * bytes;
            self.report.torn = Some(Torn {
                segment: end.segment,
                offset,
                bytes: torn_bytes,
            });
        }
        Ok(())
    }

    /// Segments below the oldest that must exist, and those behind the next one, which are zero by now.
    pub(super) fn remove_leftovers(&mut self, oldest: u64, active: u64) -> Result<(), OpenError> {
        let stale: Vec<u64> = self
            .listed
            .keys()
            .copied()
            .filter(|segment| *segment < oldest || *segment > active + 1)
            .collect();
        for segment in stale {
            self.files
                .doing("remove", segment, |files| files.remove(segment))?;
            self.listed.remove(&segment);
            self.report.removed_segments += u64::from(segment < oldest);
        }
        Ok(())
    }
}
