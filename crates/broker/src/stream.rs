//! A stream: a log, the subjects that it captures, and who reads it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use trunkline_log::{Log, LogId, Mark, State, Storage, Token};
use trunkline_route::Pattern;
use trunkline_wire::AckLevel;

use crate::damage::Damage;
use crate::slab::Key;

/// What a stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPlan {
    /// Its name, unique in the server.
    pub name: Box<str>,
    /// The subjects that it captures. No two streams overlap.
    pub patterns: Vec<Pattern>,
    /// What Publish frames that ask for the stream's own level are acknowledged at.
    pub level: AckLevel,
    /// What a record must have reached for subscribers to see it: usually `level`; [`AckLevel::Received`] is the faster
    /// exception, by which subscribers may act on what a crash takes back.
    pub visible: AckLevel,
}

/// A stream and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// What it is.
    pub plan: StreamPlan,
    /// The log's id on this worker.
    pub log: LogId,
    /// Whether it has files.
    pub storage: Storage,
    /// Whether it takes records.
    pub state: State,
    /// Retention by age does not believe the wall clock yet: it went forward by more than it can have.
    pub clock_held: bool,
    /// Records that it holds.
    pub records: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// Distinct subjects.
    pub subjects: u64,
    /// Sequence of the oldest record; one above `last_sequence` if there is none.
    pub first_sequence: u64,
    /// Sequence of the newest record; one below `first_sequence` if there is none.
    pub last_sequence: u64,
    /// Time of the newest record, nanoseconds since 1970.
    pub last_timestamp_ns: u64,
    /// Records before it are in memory: the next sequence and position.
    pub received: Mark,
    /// Records before it survive the end of this process. None in memory, where nothing does.
    pub stored: Option<Mark>,
    /// Records before it survive a power loss. None in memory.
    pub synced: Option<Mark>,
    /// Channels that read it.
    pub subscribers: u32,
    /// Durable cursors on it.
    pub cursors: u32,
    /// Records that readers could not be given because the files are damaged, first and last of each range: what was met since the stream was opened
    /// and retention has not removed, 64 ranges at most.
    pub damaged: Vec<(u64, u64)>,
    /// Records that were passed over for subscribers that were too slow, of whatever subject, once for each subscriber, since the stream was opened. They
    /// are counted when the subscriber takes records again.
    pub skipped: u64,
    /// Subscribers that were disconnected because they were too slow, since the stream was opened.
    pub disconnected: u64,
}

/// A stream of a shard.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) plan: StreamPlan,
    pub(crate) log: Log,
    /// Keeps no subjects for users: the shard's own records are in it.
    pub(crate) internal: bool,
    /// What subscribers see, as of the last turn.
    pub(crate) visible: Mark,
    /// Everybody who reads it.
    pub(crate) feeds: Vec<Key>,
    /// Feeds that wait for more to become visible.
    pub(crate) idle: Vec<Key>,
    /// Feeds that wait for a read to be possible.
    pub(crate) busy: Vec<Key>,
    /// Reads in flight, and whose they are.
    pub(crate) reads: Vec<(Token, Key)>,
    /// All subjects' ids in the order in which they became known.
    pub(crate) journal: Vec<u32>,
    /// Sessions whose oldest frame waits for a sequence, by level (stored, synced).
    pub(crate) waits: [BinaryHeap<Reverse<(u64, Key)>>; 2],
    /// Feeds whose policy is to disconnect.
    pub(crate) disconnecting: u32,
    /// The tail has the stream's bytes from here on.
    pub(crate) opened_at: u64,
    /// An append found no room since the last turn.
    pub(crate) pressed: bool,
    /// It is in the list of streams that the next turn looks at.
    pub(crate) listed: bool,
    /// What readers came upon.
    pub(crate) damage: Damage,
    /// Records passed over for subscribers that were too slow.
    pub(crate) skipped: u64,
    /// Subscribers disconnected for the same.
    pub(crate) disconnected: u64,
}

impl Stream {
    pub(crate) fn new(plan: StreamPlan, log: Log, internal: bool) -> Self {
        let mut stream = Self {
            plan,
            internal,
            visible: Mark::default(),
            feeds: Vec::new(),
            idle: Vec::new(),
            busy: Vec::new(),
            reads: Vec::new(),
            journal: Vec::new(),
            waits: [BinaryHeap::new(), BinaryHeap::new()],
            disconnecting: 0,
            opened_at: if log.config().storage == Storage::Memory {
                0
            } else {
                log.received().position
            },
            pressed: false,
            listed: false,
            damage: Damage::default(),
            skipped: 0,
            disconnected: 0,
            log,
        };
        let mut id = 0;
        while stream.journal.len() < stream.log.subjects() {
            if stream.log.subject(id).is_some() {
                stream.journal.push(id);
            }
            id += 1;
        }
        stream.visible = stream.mark(stream.plan.visible);
        stream
    }

    /// The number of a subject, a new one if need be.
    pub(crate) fn intern(&mut self, name: &str) -> Option<u32> {
        if let Some(id) = self.log.subject_id(name) {
            return Some(id);
        }
        let id = self.log.define(name).ok()?;
        self.journal.push(id);
        Some(id)
    }

    /// What has reached a level.
    #[inline]
    pub(crate) fn mark(&self, level: AckLevel) -> Mark {
        match level {
            AckLevel::Received => self.log.received(),
            AckLevel::Stored => self.log.stored(),
            AckLevel::Synced => self.log.synced(),
            AckLevel::Stream => match self.plan.level {
                AckLevel::Stream | AckLevel::Stored => self.log.stored(),
                AckLevel::Received => self.log.received(),
                AckLevel::Synced => self.log.synced(),
            },
        }
    }

    /// A write or a sync failed: what is not at a level yet never will be.
    #[inline]
    pub(crate) fn is_poisoned(&self) -> bool {
        matches!(self.log.state(), State::Poisoned(_))
    }

    /// Whether what is in it can get to a level: nothing of a stream in memory survives anything, whatever its log counts.
    #[inline]
    pub(crate) fn can_give(&self, level: AckLevel) -> bool {
        level <= AckLevel::Received || self.log.config().storage == Storage::Files
    }

    /// The level that a frame asks for.
    #[inline]
    pub(crate) fn level(&self, asked: AckLevel) -> AckLevel {
        match (asked, self.plan.level) {
            (AckLevel::Stream, _) if !self.can_give(AckLevel::Stored) => AckLevel::Received,
            (AckLevel::Stream, AckLevel::Stream) => AckLevel::Stored,
            (AckLevel::Stream, own) => own,
            (asked, _) => asked,
        }
    }

    pub(crate) fn info(&self, subscribers: u32, cursors: u32) -> StreamInfo {
        let (first, next) = (self.log.first(), self.log.received());
        let survives = self.can_give(AckLevel::Stored);
        StreamInfo {
            plan: self.plan.clone(),
            log: self.log.id(),
            storage: self.log.config().storage,
            state: self.log.state(),
            clock_held: self.log.stats().clock_held,
            records: next.sequence - first.sequence,
            bytes: self.log.bytes_kept(),
            subjects: self.log.subjects() as u64,
            first_sequence: first.sequence,
            last_sequence: next.sequence.saturating_sub(1),
            last_timestamp_ns: self.log.last_timestamp_ns(),
            received: next,
            stored: survives.then(|| self.log.stored()),
            synced: survives.then(|| self.log.synced()),
            subscribers,
            cursors,
            damaged: self.damage.since(first.sequence),
            skipped: self.skipped,
            disconnected: self.disconnected,
        }
    }
}
