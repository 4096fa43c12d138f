//! A place in a stream, and the channels that read from it: one, or the members of a queue group.

use std::collections::VecDeque;

use trunkline_log::{Cursor, Hold, Log, Seek, Token};
use trunkline_route::Pattern;
use trunkline_wire::{GapReason, Policy};

use crate::ranges::Ranges;
use crate::slab::{Key, Slab};

/// A reader of a stream.
///
/// ```text
///           visible moves / credit / sent / confirmed
///    Idle ─────────────────────────────────────────────► Ready ──► a visit: one run to one member
///    Parked (no member can take anything)                  │
///    Busy   (no read is possible yet)                      └─► Reading (cold) ──► on_read
/// ```
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) stream: Key,
    pub(crate) pattern: Pattern,
    pub(crate) policy: Policy,
    /// The queue group, or empty.
    pub(crate) group: Box<str>,
    /// The durable cursor that it moves, or [`Key::NONE`].
    pub(crate) durable: Key,
    pub(crate) members: Vec<Key>,
    /// Whose turn it is.
    pub(crate) next_member: usize,
    pub(crate) cursor: Cursor,
    pub(crate) state: FeedState,
    /// It is in its stream's list of idle feeds.
    pub(crate) in_idle: bool,
    /// It has caught up once: from then on its policy holds.
    pub(crate) live: bool,
    /// Which subjects it is for.
    pub(crate) filter: Filter,
    /// What members that left had not confirmed.
    pub(crate) again: Ranges,
    /// How far the search for the first of them has come.
    pub(crate) again_at: Option<Cursor>,
    /// Records before its start that were asked for and are gone.
    pub(crate) owed_gap: Option<(u64, u64, GapReason)>,
    /// `drop-newest`: what may still be read before the rest is left out.
    pub(crate) budget: Option<u64>,
    /// `block`: the block of the tail that it keeps, and how.
    pub(crate) hold: Option<(u64, Hold)>,
    pub(crate) reading: Option<Reading>,
}

/// What a feed does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FeedState {
    Ready,
    Idle,
    Parked,
    Busy,
    Reading,
}

/// A cold read that is in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) token: Token,
    pub(crate) cursor: Cursor,
    /// It is for what is delivered again, not for what comes next.
    pub(crate) again: bool,
}

/// Which of a stream's subjects match.
#[derive(Debug)]
pub(crate) enum Filter {
    /// All that the stream captures: runs need no look.
    Whole,
    /// Those whose bit is set.
    Some(Matches),
}

/// One bit for each subject id of the stream.
#[derive(Debug, Default)]
pub(crate) struct Matches {
    bits: Vec<u64>,
    /// How much of the stream's journal has been looked at.
    seen: usize,
    /// How many of them match.
    matching: usize,
}

impl Feed {
    /// Whether runs can be handed out without looking at their records.
    pub(crate) fn is_whole(&self) -> bool {
        match &self.filter {
            Filter::Whole => true,
            // A run is read only when all subjects have been looked at: see `Hand::definitions`.
            Filter::Some(matches) => matches.matching == matches.seen,
        }
    }

    /// Where to read what is delivered again, from the sequence `first` on.
    pub(crate) fn seek_again(&self, log: &Log, first: u64) -> Seek {
        match self.again_at.filter(|cursor| cursor.sequence() == first) {
            Some(cursor) => Seek::At(cursor),
            None => log.seek(first),
        }
    }

    /// What was to be delivered again has been from `first` up to before `end`; reading goes on at `next`.
    pub(crate) fn redelivered(&mut self, first: u64, end: u64, next: Cursor) {
        self.again_at = Some(next);
        // A run may hold nothing but a definition.
        if end > first {
            self.again.remove(first, end - 1);
        }
    }

    /// Keeps the tail from overtaking it if its policy says so. `opened_at` is the position from which the tail has the stream's bytes.
    pub(crate) fn update_hold(&mut self, log: &mut Log, opened_at: u64) {
        if self.policy != Policy::Block || !self.live {
            return;
        }
        // The byte before keeps the same block, except at a block's very start, where the byte itself may not exist yet.
        let position = self.cursor.position();
        let place = if position.is_multiple_of(HOLD_BLOCK) {
            position.checked_sub(1)
        } else {
            Some(position)
        };
        let Some(place) = place.filter(|place| *place >= opened_at) else {
            return;
        };
        let block = place / HOLD_BLOCK;
        if self.hold.as_ref().is_some_and(|(held, _)| *held == block) {
            return;
        }
        let hold = log.hold(place, 1);
        if let Some((_, old)) = self.hold.replace((block, hold)) {
            log.release(old);
        }
    }

    pub(crate) fn drop_hold(&mut self, log: &mut Log) {
        if let Some((_, hold)) = self.hold.take() {
            log.release(hold);
        }
    }
}

impl Matches {
    #[inline]
    pub(crate) fn has(&self, subject: u32) -> bool {
        self.bits
            .get(subject as usize / 64)
            .is_some_and(|word| word >> (subject % 64) & 1 == 1)
    }

    /// Looks at up to `most` subjects that are new in the journal. True when all have been looked at.
    pub(crate) fn look(
        &mut self,
        pattern: &Pattern,
        journal: &[u32],
        log: &Log,
        most: usize,
    ) -> bool {
        let upto = journal.len().min(self.seen + most);
        for &id in &journal[self.seen..upto] {
            if log
                .subject(id)
                .is_some_and(|name| pattern.matches_str(name))
            {
                let word = id as usize / 64;
                if word >= self.bits.len() {
                    self.bits.resize(word + 1, 0);
                }
                self.bits[word] |= 1 << (id % 64);
                self.matching += 1;
            }
        }
        self.seen = upto;
        upto == journal.len()
    }
}

/// The tail is reused in blocks of this many bytes.
const HOLD_BLOCK: u64 = 64 << 10;

/// Puts a feed into the queue unless it is there or waits for a read.
pub(crate) fn wake(feeds: &mut Slab<Feed>, ready: &mut VecDeque<Key>, key: Key) {
    if let Some(feed) = feeds.at_mut(key)
        && !matches!(feed.state, FeedState::Ready | FeedState::Reading)
    {
        feed.state = FeedState::Ready;
        ready.push_back(key);
    }
}

/// The same for one that waits for a member to be able to take something.
pub(crate) fn wake_parked(feeds: &mut Slab<Feed>, ready: &mut VecDeque<Key>, key: Key) {
    if feeds
        .at(key)
        .is_some_and(|feed| feed.state == FeedState::Parked)
    {
        wake(feeds, ready, key);
    }
}
