//! The turn: what is handed to the disk, and what its answers change.

use crate::config::Durability;
use crate::disk::{Disk, DiskError, DiskErrorKind, Request, Token};
use crate::log::{Log, State};
use crate::mark::{Mark, Now};
use crate::room::Purpose;
use crate::writer::{TokenClass, WRITE_BYTES_MAX, WriteOp, Written};

/// The next segment's preparation.
#[derive(Debug, Default)]
pub(crate) struct Preparation {
    in_flight: Option<Token>,
    /// When it is tried again after a failure, and how long was waited.
    retry_at_ns: u64,
    backoff_ns: u64,
}

impl Preparation {
    /// After a failure: when it is tried again, if it is not being tried.
    fn next_try_ns(&self) -> Option<u64> {
        let failed = self.backoff_ns > 0 && self.in_flight.is_none();
        failed.then_some(self.retry_at_ns)
    }
}

/// First wait after a failed preparation, doubled each time up to the second.
const BACKOFF_NS: (u64, u64) = (100_000_000, 5_000_000_000);
/// Idle for so long after a sync, a mark tells that it succeeded.
const FRONTIER_NS: u64 = 50_000_000;

impl Log {
    /// One turn: hands to `disk` what is new, within the limits on requests in flight. Call it after a batch of appends, after
    /// completions, and when [`next_deadline_ns`](Self::next_deadline_ns) has come.
    pub fn flush(&mut self, now: Now, disk: &mut impl Disk) {
        self.retain(now);
        if self.is_volatile() {
            return;
        }
        self.prepare(now, disk);
        self.write_out(now, disk);
        self.remove_next(now, disk);
    }

    /// The steady clock's time at which [`flush`](Self::flush) has something to do even if nothing else happens.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        if matches!(self.state, State::Poisoned(_)) {
            return None;
        }
        let ageing = self.config.retention.age_ns_max.is_some()
            && (self.segments.count() > 1 || self.is_volatile() || self.stats.clock_held);
        [
            self.writer.sync_due_ns.filter(|_| self.writer.is_dirty()),
            self.writer.frontier_due_ns,
            // Where there was no room to tell of a removal, nothing else says when there is.
            (ageing || self.wants_removal_told()).then(|| self.keeper.next_look_ns()),
            self.preparation.next_try_ns(),
            self.keeper.next_try_ns(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Takes the answer to any request but a read; see [`on_read`](Self::on_read) for those. What can go out now goes out at once.
    pub fn on_completion(
        &mut self,
        token: Token,
        result: Result<u32, DiskError>,
        now: Now,
        disk: &mut impl Disk,
    ) {
        match TokenClass::of(token) {
            Some(TokenClass::Write) => self.on_written(token, result, now, disk),
            Some(TokenClass::Sync) => self.on_synced(token, result, now),
            Some(TokenClass::Prepare) => self.on_prepared(token, result, now),
            Some(TokenClass::Remove) => {
                self.on_removed(token, result, now);
                // Space has come free: it is taken before somebody else does.
                if matches!(self.state, State::NoSpace(_)) {
                    self.preparation.retry_at_ns = now.mono_ns;
                    self.prepare(now, disk);
                }
            }
            Some(TokenClass::Read) | None => {
                debug_assert!(false, "not a token of a completion: {token:?}")
            }
        }
        self.write_out(now, disk);
        self.remove_next(now, disk);
    }

    fn on_written(
        &mut self,
        token: Token,
        result: Result<u32, DiskError>,
        now: Now,
        disk: &mut impl Disk,
    ) {
        let synced = self.writer.synced_position;
        match self.writer.on_write(token, result) {
            Written::Done if self.writer.synced_position > synced => self.after_sync(now),
            Written::Done | Written::Unknown => {}
            Written::Again(op) => {
                self.stats.writes_again += 1;
                self.submit_write(op, disk);
            }
            Written::Failed(error) => self.fail(error),
        }
    }

    fn on_synced(&mut self, token: Token, result: Result<u32, DiskError>, now: Now) {
        let Some((_, target)) = self.writer.sync.take_if(|(waiting, _)| *waiting == token) else {
            return;
        };
        match result {
            Ok(_) => {
                self.writer.synced = target;
                self.writer.synced_position = target.position;
                if self
                    .writer
                    .commit
                    .is_some_and(|commit| commit.position <= target.position)
                {
                    self.writer.commit = None;
                }
                self.after_sync(now);
            }
            // Also when interrupted: a sync that is asked again may succeed without having synced.
            Err(error) => self.fail(error),
        }
    }

    fn after_sync(&mut self, now: Now) {
        self.stats.syncs += 1;
        let writer = &mut self.writer;
        writer.sync_due_ns = writer
            .is_dirty()
            .then_some(now.mono_ns + self.config.sync_interval_ns);
        writer.frontier_due_ns = Some(now.mono_ns + FRONTIER_NS);
    }

    fn fail(&mut self, error: DiskError) {
        self.stats.last_error = Some(error);
        if !matches!(self.state, State::Poisoned(_)) {
            self.poison(error);
        }
    }

    /// Has the next segment made once a quarter of the one in use is used.
    fn prepare(&mut self, now: Now, disk: &mut impl Disk) {
        let used = self.next.position - self.segments.active_start();
        let wanted = !self.segments.is_next_prepared() && used >= self.identity.segment_bytes / 4;
        let possible =
            self.preparation.in_flight.is_none() && now.mono_ns >= self.preparation.retry_at_ns;
        if !wanted || !possible || matches!(self.state, State::Poisoned(_)) {
            return;
        }
        let token = self.writer.token(TokenClass::Prepare);
        self.preparation.in_flight = Some(token);
        let request = Request::Prepare {
            segment: self.segments.active_index() + 1,
            bytes: self.identity.segment_bytes,
        };
        disk.submit(self.id, token, request);
    }

    fn on_prepared(&mut self, token: Token, result: Result<u32, DiskError>, now: Now) {
        if self.preparation.in_flight != Some(token) {
            return;
        }
        self.preparation.in_flight = None;
        let poisoned = matches!(self.state, State::Poisoned(_));
        match result {
            Ok(_) => {
                self.segments.on_prepared();
                self.preparation = Preparation::default();
                if !poisoned {
                    self.state = State::Ok;
                }
            }
            Err(error) => {
                self.stats.prepares_failed += 1;
                self.stats.last_error = Some(error);
                let waited = self.preparation.backoff_ns;
                self.preparation.backoff_ns = (waited * 2).clamp(BACKOFF_NS.0, BACKOFF_NS.1);
                self.preparation.retry_at_ns = now.mono_ns + self.preparation.backoff_ns;
                if !poisoned && error.kind != DiskErrorKind::Interrupted {
                    self.state = State::NoSpace(error);
                }
            }
        }
    }

    fn write_out(&mut self, now: Now, disk: &mut impl Disk) {
        if self.is_volatile() || matches!(self.state, State::Poisoned(_)) {
            return;
        }
        if self.wants_removal_told() {
            self.tell_removal();
        }
        match self.config.durability {
            Durability::Stored => self.write_stored(now, disk),
            Durability::Synced => self.write_synced(now, disk),
        }
    }

    /// Everything goes out as it comes; syncs follow behind, one at a time.
    fn write_stored(&mut self, now: Now, disk: &mut impl Disk) {
        if self.writer.is_dirty() && self.writer.sync_due_ns.is_none() {
            self.writer.sync_due_ns = Some(now.mono_ns + self.config.sync_interval_ns);
        }
        let waited_for = self.writer.wanted.min(self.next.sequence) > self.writer.synced.sequence
            || self.keeper.is_telling();
        let overdue = self.writer.is_dirty()
            && self
                .writer
                .sync_due_ns
                .is_some_and(|due| due <= now.mono_ns);
        // A commit that waits for its writes is not moved on: it would never be reached.
        if (waited_for || overdue) && self.writer.commit.is_none() && self.writer.sync.is_none() {
            self.close_page();
        }
        self.tell_frontier(now);
        while !self.writer.is_full() && self.writer.submitted < self.next.position {
            let segment_end = self.segments.end_of(self.writer.submitted);
            let op = self.writer.cut(self.next, segment_end, false);
            self.submit_write(op, disk);
        }
        self.sync_commit(disk);
    }

    /// Everything that is there goes with the next sync: a mark to the end of the page, if there is anything since the last one.
    fn close_page(&mut self) {
        let own = self.breaks.last_end() == Some(self.next.position);
        if !(own && self.next.position.is_multiple_of(crate::layout::PAGE_BYTES)) {
            self.write_mark(Purpose::Commit);
        }
        self.writer.commit = Some(self.next);
    }

    fn sync_commit(&mut self, disk: &mut impl Disk) {
        let Some(commit) = self.writer.commit else {
            return;
        };
        if self.writer.sync.is_some() {
            return;
        }
        // A sync is of one file: a commit that reaches over several goes file by file.
        let end = self.segments.end_of(self.writer.synced_position);
        let target = if commit.position <= end {
            commit
        } else {
            match self.segments.after_position(self.writer.synced_position) {
                Some(start) => Mark {
                    position: end,
                    ..start
                },
                None => commit,
            }
        };
        if target.position <= self.writer.synced_position {
            self.writer.commit = None;
        } else if target.position <= self.writer.stored_position {
            let token = self.writer.token(TokenClass::Sync);
            self.writer.sync = Some((token, target));
            let (segment, _) = self.segments.locate(target.position - 1);
            disk.submit(self.id, token, Request::Sync { segment });
        }
    }

    /// One synced write is in flight; all that came meanwhile goes with the next one.
    fn write_synced(&mut self, now: Now, disk: &mut impl Disk) {
        if !self.writer.is_idle() {
            return;
        }
        self.writer.commit = None;
        if self.writer.is_dirty() {
            // A mark that was written without a sync goes again: a synced write covers its own bytes only.
            self.writer.submitted = self.writer.synced_position;
            if self.next.position - self.writer.submitted <= WRITE_BYTES_MAX {
                self.close_page();
            }
            let segment_end = self.segments.end_of(self.writer.submitted);
            let op = self.writer.cut(self.next, segment_end, true);
            self.submit_write(op, disk);
            return;
        }
        self.tell_frontier(now);
        if self.writer.submitted < self.next.position {
            let segment_end = self.segments.end_of(self.writer.submitted);
            let op = self.writer.cut(self.next, segment_end, false);
            self.submit_write(op, disk);
        }
    }

    /// After a while without records, a mark says how far the last sync came, so that damage to what it synced is known as such.
    fn tell_frontier(&mut self, now: Now) {
        if self
            .writer
            .frontier_due_ns
            .is_none_or(|due| due > now.mono_ns)
        {
            return;
        }
        self.writer.frontier_due_ns = None;
        if !self.writer.is_dirty() && self.writer.told.position < self.writer.synced_position {
            self.write_mark(Purpose::Frontier);
        }
    }

    fn submit_write(&mut self, op: WriteOp, disk: &mut impl Disk) {
        let (segment, offset) = self.segments.locate(op.start);
        let len = (op.end - op.start) as u32;
        self.stats.writes += 1;
        self.stats.write_bytes += u64::from(len);
        disk.submit(
            self.id,
            op.token,
            Request::Write {
                segment,
                offset,
                position: op.start,
                len,
                sync: op.sync,
            },
        );
    }
}
