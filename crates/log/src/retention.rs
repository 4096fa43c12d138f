//! What is removed and when: whole segments, oldest first, never before it is durable that they are gone.

use crate::config::Storage;
use crate::disk::{Disk, DiskError, DiskErrorKind, Request, Token};
use crate::elapsed::Elapsed;
use crate::log::{Log, State};
use crate::mark::{Mark, Now};
use crate::room::Purpose;
use crate::wall::WallClock;
use crate::writer::TokenClass;

/// Which segments are to go, which are gone.
///
/// ```text
/// removed ≤ removable ≤ first_segment      a file may be removed once a mark that says so is synced
/// ```
#[derive(Debug)]
pub(crate) struct Keeper {
    /// The oldest segment that readers see.
    pub(crate) first_segment: u64,
    /// The oldest file that exists.
    removed: u64,
    /// Below this, it is durable that segments are gone.
    removable: u64,
    /// What the first mark after the last change says, and its end: not synced yet.
    telling: Option<(u64, u64)>,
    in_flight: Option<Token>,
    /// When a removal that failed is tried again.
    retry_at_ns: Option<u64>,
    /// Look at the limits at the next turn.
    pub(crate) due: bool,
    next_look_ns: u64,
    wall: WallClock,
    elapsed: Elapsed,
}

/// What is too old.
#[derive(Clone, Copy)]
struct Old {
    /// What has an earlier stamp.
    stamp_ns: u64,
    /// What lies before.
    position: u64,
}

/// Between two looks at the limits.
const LOOK_NS: u64 = 1_000_000_000;

impl Keeper {
    /// Of a log whose newest record is of `newest_ns`; 0 if it has none.
    pub(crate) fn new(first_segment: u64, newest_ns: u64) -> Self {
        Self {
            first_segment,
            removed: first_segment,
            removable: first_segment,
            telling: None,
            in_flight: None,
            retry_at_ns: None,
            due: true,
            next_look_ns: 0,
            wall: WallClock::new(newest_ns),
            elapsed: Elapsed::default(),
        }
    }

    pub(crate) fn on_mark(&mut self, first_segment: u64, end: u64) {
        if self.telling.is_none() && first_segment > self.removable {
            self.telling = Some((first_segment, end));
        }
    }

    /// Whether a sync is needed to go on with a removal.
    pub(crate) fn is_telling(&self) -> bool {
        self.telling.is_some()
    }

    pub(crate) fn next_look_ns(&self) -> u64 {
        self.next_look_ns
    }

    pub(crate) fn next_try_ns(&self) -> Option<u64> {
        self.retry_at_ns
    }
}

impl Log {
    /// Looks at the limits once a second and after each rotation, at the clock each time.
    pub(crate) fn retain(&mut self, now: Now) {
        let age_ns_max = self.config.retention.age_ns_max;
        let time_ns = age_ns_max.map(|age_ns| self.keeper.wall.look(now, age_ns));
        self.stats.clock_held = self.keeper.wall.is_held();
        if !self.keeper.due && now.mono_ns < self.keeper.next_look_ns {
            return;
        }
        self.keeper.due = false;
        self.keeper.next_look_ns = now.mono_ns + LOOK_NS;
        let end = self.next.position;
        let old = age_ns_max.zip(time_ns).map(|(age_ns, time_ns)| Old {
            stamp_ns: time_ns.saturating_sub(age_ns),
            position: self.keeper.elapsed.look(now.mono_ns, end, age_ns),
        });
        match self.config.storage {
            Storage::Memory => self.retain_in_memory(old),
            Storage::Files => self.retain_segments(old),
        }
    }

    fn retain_segments(&mut self, old: Option<Old>) {
        let retention = self.config.retention;
        let before = self.keeper.first_segment;
        while let Some(second) = self.segments.second().copied() {
            let start = second.index * self.identity.segment_bytes;
            let bytes = self.next.position - (start - self.identity.segment_bytes);
            let over_bytes = retention.bytes_max.is_some_and(|max| bytes > max);
            let over_age =
                old.is_some_and(|old| second.before_ns < old.stamp_ns || start <= old.position);
            let over_records = retention
                .records_max
                .is_some_and(|max| self.next.sequence - second.sequence >= max);
            if !(over_bytes || over_age || over_records) {
                break;
            }
            // What is not on the device yet is not thrown away either: recovery starts behind it.
            if start > self.writer.synced_position {
                self.keeper.due = true;
                break;
            }
            self.segments.remove_first();
            self.first = Mark {
                sequence: second.sequence,
                position: start,
            };
            self.keeper.first_segment = second.index;
        }
        if self.keeper.first_segment != before {
            self.index.remove_before(self.first.position);
        }
    }

    fn retain_in_memory(&mut self, old: Option<Old>) {
        let retention = self.config.retention;
        while let Some(second) = self.index.second().copied() {
            let over_bytes = retention
                .bytes_max
                .is_some_and(|max| self.next.position - self.first.position > max);
            let over_age = old.is_some_and(|old| {
                second.timestamp_ns < old.stamp_ns || second.position <= old.position
            });
            let over_records = retention
                .records_max
                .is_some_and(|max| self.next.sequence - second.sequence >= max);
            if !(over_bytes || over_age || over_records) {
                break;
            }
            self.index.pop_front();
            self.first = Mark {
                sequence: second.sequence,
                position: second.position,
            };
        }
    }

    /// Without files, what the tail gave up is gone.
    pub(crate) fn forget_overwritten(&mut self) {
        let oldest = self.tail.oldest();
        if self.first.position >= oldest {
            return;
        }
        self.index.remove_before(oldest);
        self.first = match self.index.front() {
            Some(entry) => Mark {
                sequence: entry.sequence,
                position: entry.position,
            },
            None => self.next,
        };
    }

    /// Whether a mark has to be synced before a removal can go on.
    pub(crate) fn wants_removal_told(&self) -> bool {
        self.keeper.removable < self.keeper.first_segment && self.keeper.telling.is_none()
    }

    /// Has the removals that are due told: by a mark, or, where there is no room for one, by the segment that comes next.
    pub(crate) fn tell_removal(&mut self) {
        if self.write_mark(Purpose::Removal) {
            self.writer.significant = self.next.position;
        } else if self.segments.is_next_prepared() {
            // When the tail is full, it is tried again once something was written.
            let _begun = self.rotate(0);
        }
    }

    /// Submits the next removal if it is durable that the segment is gone and nobody reads it.
    pub(crate) fn remove_next(&mut self, now: Now, disk: &mut impl Disk) {
        let segment = self.keeper.removed;
        if let Some((first_segment, _)) = self
            .keeper
            .telling
            .take_if(|(_, end)| *end <= self.writer.synced_position)
        {
            self.keeper.removable = first_segment;
        }
        self.keeper.retry_at_ns.take_if(|at| *at <= now.mono_ns);
        let waits = self.keeper.retry_at_ns.is_some();
        let busy = waits || self.keeper.in_flight.is_some() || self.reads.touch(segment);
        if segment == self.keeper.removable || busy || matches!(self.state, State::Poisoned(_)) {
            return;
        }
        let token = self.writer.token(TokenClass::Remove);
        self.keeper.in_flight = Some(token);
        disk.submit(self.id, token, Request::Remove { segment });
    }

    pub(crate) fn on_removed(&mut self, token: Token, result: Result<u32, DiskError>, now: Now) {
        if self.keeper.in_flight != Some(token) {
            return;
        }
        self.keeper.in_flight = None;
        match result {
            Ok(_) => {}
            Err(error) if error.kind == DiskErrorKind::NotFound => {}
            Err(error) => {
                self.keeper.retry_at_ns = Some(now.mono_ns + LOOK_NS);
                self.stats.removes_failed += 1;
                self.stats.last_error = Some(error);
                return;
            }
        }
        self.keeper.removed += 1;
        self.stats.segments_removed += 1;
    }
}
