//! The word that goes with each operation to the reactor and comes back with its completions: what it was for, in 64 bits.

use trunkline_broker::SessionId;

/// What an operation was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// Connections arriving at the listener of this number.
    Accept(u32),
    /// Bytes arriving for the session in this slot, of this generation.
    Receive(Peer),
    /// A send of the session.
    Send(Peer),
    /// The session's socket is gone.
    Closed(Peer),
    /// A request of a log, by its place among the pending ones.
    Disk(u32),
    /// A job of the pool, by its number.
    Job(u32),
}

/// A session's slot and the low bits of its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1;
const SEND: u64 = 2;
const CLOSED: u64 = 3;
const DISK: u64 = 4;
const JOB: u64 = 5;

const SLOT_BITS: u32 = 24;

impl Tag {
    /// The word. The kind has the low 4 bits.
    pub(super) fn word(self) -> u64 {
        match self {
            Tag::Accept(listener) => ACCEPT | u64::from(listener) << 4,
            Tag::Receive(peer) => RECEIVE | peer.word(),
            Tag::Send(peer) => SEND | peer.word(),
            Tag::Closed(peer) => CLOSED | peer.word(),
            Tag::Disk(slot) => DISK | u64::from(slot) << 4,
            Tag::Job(job) => JOB | u64::from(job) << 4,
        }
    }

    /// What [`Tag::word`] said. Words come only from there, so an unknown kind is a bug.
    pub(super) fn from_word(word: u64) -> Self {
        let low = (word as u32) >> 4;
        match word & 15 {
            ACCEPT => Tag::Accept(low),
            RECEIVE => Tag::Receive(Peer::from_word(word)),
            SEND => Tag::Send(Peer::from_word(word)),
            CLOSED => Tag::Closed(Peer::from_word(word)),
            DISK => Tag::Disk(low),
            JOB => Tag::Job(low),
            kind => unreachable!("operation of kind {kind}"),
        }
    }
}

impl Peer {
    /// The peer of a session of this worker.
    pub(super) fn of(id: SessionId) -> Self {
        Self {
            slot: id.slot(),
            generation: id.generation(),
        }
    }

    fn word(self) -> u64 {
        debug_assert!(self.slot < 1 << SLOT_BITS);
        u64::from(self.slot) << 4 | u64::from(self.generation) << 32
    }

    fn from_word(word: u64) -> Self {
        Self {
            slot: (word as u32) >> 4 & ((1 << SLOT_BITS) - 1),
            generation: (word >> 32) as u32,
        }
    }
}
