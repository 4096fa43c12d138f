//! What readers of a stream could not be given because its files are damaged: told to the owner once, whoever reads it and however often.

use crate::ranges::Ranges;

/// Damaged records that readers have come upon, as ranges of sequences.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    ranges: Ranges,
}

impl Damage {
    /// Notes `first..=last`, of a stream that begins with `oldest` now. True: this is news.
    pub(crate) fn note(&mut self, first: u64, last: u64, oldest: u64) -> bool {
        if first > last || self.ranges.contains(first, last) {
            return false;
        }
        if let Some(gone) = oldest.checked_sub(1) {
            self.ranges.remove(0, gone);
        }
        // When there are more, what is listed is enough to know what to do.
        let room = self.ranges.len() < RANGES_MAX;
        if room {
            self.ranges.insert(first, last);
        }
        room
    }

    /// What is still in a stream that begins with `oldest`.
    pub(crate) fn since(&self, oldest: u64) -> Vec<(u64, u64)> {
        let ranges = self.ranges.iter().filter(|(_, last)| *last >= oldest);
        ranges
            .map(|(first, last)| (first.max(oldest), last))
            .collect()
    }
}

/// Of one stream.
const RANGES_MAX: usize = 64;
