//! One connection's outgoing half and its deadlines; and the table of all of a worker's. (What comes in is an
//! [`Inlet`](super::inlet::Inlet), kept apart so that a command that lies in the input may be answered while it is read.)

use std::net::SocketAddr;

use trunkline_broker::SessionId;
use trunkline_reactor::SocketId;

use super::ledger::Ledger;
use super::outbox::{Held, Outbox};
use super::tag::Peer;

/// One connection.
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) socket: SocketId,
    /// Of the client, for the log.
    pub(super) address: Option<SocketAddr>,

    pub(super) outbox: Outbox,
    pub(super) phase: Phase,
    pub(super) opened_ns: u64,
    /// When the peer last said something.
    pub(super) heard_ns: u64,
    /// When the peer last took bytes, or had none to take.
    pub(super) progress_ns: u64,
    /// Whether a Ping is out that nothing has answered yet.
    pub(super) pinged: bool,
    /// What it waits for from several workers; none when there is only one.
    pub(super) ledger: Option<Box<Ledger>>,
    /// Its send is being taken back, so that records which publishers wait for can be copied.
    pub(super) reclaiming: bool,
    /// What other workers lent it and want back, as it was there.
    pub(super) copies: Vec<(Held, Box<[u8]>)>,
    /// Whether it is in the worker's list of sessions with something to send.
    pub(super) listed: bool,
}

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Before the peer's Hello.
    Greeting,
    Open,
    /// What is queued is still sent, nothing is heard any more, until this time.
    Closing {
        until_ns: u64,
    },
    /// The socket is being closed; the slot is free when that is complete.
    Closed,
}

impl Session {
    pub(super) fn new(
        id: SessionId,
        socket: SocketId,
        address: Option<SocketAddr>,
        now_ns: u64,
    ) -> Self {
        Self {
            id,
            socket,
            address,
            outbox: Outbox::default(),
            phase: Phase::Greeting,
            opened_ns: now_ns,
            heard_ns: now_ns,
            progress_ns: now_ns,
            pinged: false,
            ledger: None,
            reclaiming: false,
            copies: Vec::new(),
            listed: false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Greeting | Phase::Open)
    }
}

/// The sessions of one worker, by slot.
pub(super) struct Sessions {
    worker: u8,
    slots: Vec<Slot>,
    free: Vec<u32>,
    count: usize,
    /// Slots of sessions with something to send.
    pub(super) listed: Vec<u32>,
}

struct Slot {
    generation: u32,
    session: Option<Box<Session>>,
}

impl Sessions {
    pub(super) fn new(worker: u8) -> Self {
        Self {
            worker,
            slots: Vec::new(),
            free: Vec::new(),
            count: 0,
            listed: Vec::new(),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Takes a session in; `make` gets its id.
    pub(super) fn insert(&mut self, make: impl FnOnce(SessionId) -> Session) -> Peer {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                session: None,
            });
            self.slots.len() as u32 - 1
        });
        let entry = &mut self.slots[slot as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.session = Some(Box::new(make(SessionId::new(
            self.worker,
            slot,
            entry.generation,
        ))));
        self.count += 1;
        Peer {
            slot,
            generation: entry.generation,
        }
    }

    pub(super) fn remove(&mut self, peer: Peer) -> Option<Box<Session>> {
        let entry = self
            .slots
            .get_mut(peer.slot as usize)
            .filter(|entry| entry.generation == peer.generation)?;
        let session = entry.session.take()?;
        self.free.push(peer.slot);
        self.count -= 1;
        Some(session)
    }

    #[inline]
    pub(super) fn peer(&mut self, peer: Peer) -> Option<&mut Session> {
        let entry = self.slots.get_mut(peer.slot as usize)?;
        if entry.generation == peer.generation {
            entry.session.as_deref_mut()
        } else {
            None
        }
    }

    /// The session with this id, unless it is gone or another worker's.
    #[inline]
    pub(super) fn get(&mut self, id: SessionId) -> Option<&mut Session> {
        debug_assert_eq!(id.worker(), self.worker);
        self.peer(Peer::of(id))
    }

    /// The session with this id as long as anything can be sent to it: also while it is closing.
    #[inline]
    pub(super) fn hearing(&mut self, id: SessionId) -> Option<&mut Session> {
        self.get(id)
            .filter(|session| session.phase != Phase::Closed)
    }

    /// Every session there is.
    pub(super) fn peers(&self) -> impl Iterator<Item = Peer> + '_ {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.session.is_some())
            .map(|(slot, entry)| Peer {
                slot: slot as u32,
                generation: entry.generation,
            })
    }

    /// Puts a session in the list of those with something to send.
    #[inline]
    pub(super) fn list(&mut self, slot: u32) {
        if let Some(session) = self.slots[slot as usize].session.as_deref_mut()
            && !session.listed
        {
            session.listed = true;
            self.listed.push(slot);
        }
    }

    /// The session in a slot, whatever its generation.
    pub(super) fn in_slot(&mut self, slot: u32) -> Option<(Peer, &mut Session)> {
        let entry = &mut self.slots[slot as usize];
        let peer = Peer {
            slot,
            generation: entry.generation,
        };
        entry.session.as_deref_mut().map(|session| (peer, session))
    }
}
