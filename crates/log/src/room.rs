//! What is kept free at the end of a segment, and which marks may take it.
//!
//! The next segment may be refused for as long as the disk is full. Until it comes, everything that has to be written fits the one in use:
//!
//! ```text
//!            data_end        commit_end                        seal_start     end
//! ───────────────┼────────────────┼──────────┬──────────┬─ … ───┬──┼──────────┤
//!  data, marks   │ the page that  │ frontier │ removal  │       │  │   seal   │
//!                │ the data begun │          │          │       │  │          │
//! ───────────────┴────────────────┴──────────┴──────────┴─ … ───┴──┴──────────┘
//!                                  one page  each, and a rest of less than one
//! ```
//!
//! Why a full stream cannot get stuck, with `r` pages for removals:
//!
//! 1. No data starts behind `data_end`, and every mark but a stride's ends a page. So behind `data_end` there is at most one place that does not end a page, and one
//!    mark, the commit's, that ends it: at `commit_end` or before.
//! 2. Behind `commit_end`, a frontier's mark is written only to tell that *records* are synced which no mark has told so far. No record comes any more,
//!    so that is one page at most.
//! 3. A removal's mark behind `commit_end` waits until all records are synced, and so tells that as well: it never takes the frontier's page. It tells that one
//!    sealed segment or more are gone, so `r` pages are room for `r` removals at least.
//! 4. The last page waits until nothing more can become removable while no record comes: until all sealed segments may go, where there is a limit of age, which alone goes on without records.
//!    So whatever retention may remove goes, at the latest with all the rest.
//! 5. When the next segment is prepared, from space that a removal gave or somebody else, nothing waits for a mark: the seal and the next segment's record tell of
//!    removals, and all the room is there again.
//!
//! A mark that a crash takes is overwritten in its place, so a crash takes no room. Recovery ends the page of the last record and writes one mark that tells what it found synced:
//! these are the commit's and the frontier's.

use crate::layout::{self, BATCH_BYTES, PAGE_BYTES};

/// Kept free behind data, in the tail too, so that a mark that fills its page always fits.
pub(crate) const MARK_ROOM: u64 = PAGE_BYTES + BATCH_BYTES;

/// The room at the end of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Data ends here at the latest.
    pub(crate) data_end: u64,
    /// A mark that only repeats what is known, or that makes way for data, ends here at the latest.
    pub(crate) commit_end: u64,
    /// The seal starts here at the latest.
    pub(crate) seal_start: u64,
}

impl Room {
    /// Of a segment that ends at `end` and defines so many subjects.
    pub(crate) fn new(end: u64, segment_bytes: u64, subjects: u64) -> Self {
        let seal_start = end.saturating_sub(layout::seal_bytes(segment_bytes, subjects));
        let pages = 1 + removals(segment_bytes);
        let commit_end = seal_start.saturating_sub(pages * PAGE_BYTES);
        Self {
            data_end: commit_end.saturating_sub(MARK_ROOM),
            commit_end,
            seal_start,
        }
    }

    /// Whether a removal's mark that ends at `end` leaves no room for another one.
    pub(crate) fn is_last(&self, end: u64) -> bool {
        end + PAGE_BYTES > self.seal_start
    }
}

/// Marks of removals that there is room for: an eighth of the smallest segment, next to nothing of a large one.
const fn removals(segment_bytes: u64) -> u64 {
    let share = segment_bytes / (32 * PAGE_BYTES);
    if share < 2 {
        2
    } else if share > 16 {
        16
    } else {
        share
    }
}

/// What a mark is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It stands between records, 64 KiB behind the one before.
    Stride,
    /// It ends the page of what is going to be synced.
    Commit,
    /// It tells how far the last sync came.
    Frontier,
    /// It tells that segments are gone.
    Removal,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_left_for_every_mark_that_a_full_stream_has_to_write() {
        for segment_bytes in [64 << 10, 1 << 20, 64 << 20, 1 << 30] {
            for subjects in [0, 1, 1000] {
                let room = Room::new(7 * segment_bytes, segment_bytes, subjects);
                for position in (room.data_end - 2 * PAGE_BYTES..=room.data_end).step_by(8) {
                    // The commit's mark, the frontier's, and those of removals.
                    let commit = (position + BATCH_BYTES).next_multiple_of(PAGE_BYTES);
                    assert!(commit <= room.commit_end);
                    let mut end = commit + PAGE_BYTES;
                    for _ in 0..removals(segment_bytes) {
                        end += PAGE_BYTES;
                    }
                    assert!(end <= room.seal_start, "{segment_bytes}, {position}");
                }
            }
        }
    }

    #[test]
    fn little_of_a_segment_is_kept_free() {
        let share = |segment_bytes: u64| {
            let room = Room::new(segment_bytes, segment_bytes, 0);
            (segment_bytes - room.data_end) * 100 / segment_bytes
        };
        assert_eq!(
            (share(64 << 10), share(1 << 20), share(64 << 20)),
            (25, 3, 0)
        );
    }
}
