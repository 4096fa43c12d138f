//! What one session has on this shard.

use trunkline_route::Pattern;
use trunkline_wire::{Policy, Start, SubscribeFlags};

use crate::acks::AckQueue;
use crate::limits::Limits;
use crate::out::SessionId;
use crate::publish::OpenFrame;
use crate::slab::Key;
use crate::subjects::SubjectTable;

/// A session, of this worker or of another.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) subjects: SubjectTable,
    /// The Publish frame that is coming in.
    pub(crate) frame: Option<OpenFrame>,
    pub(crate) acks: AckQueue,
    pub(crate) subscriptions: Vec<Subscription>,
    /// By ordinal; [`Key::NONE`] where there is none.
    pub(crate) channels: Vec<Key>,
    /// Bytes handed over that are not sent.
    pub(crate) in_flight_bytes: u64,
    /// One of its channels waits for `in_flight_bytes` to go down.
    pub(crate) waits: bool,
    /// Calls that it waits for.
    pub(crate) calls: u32,
    /// Where to look for the next correlation of a call that goes to it.
    pub(crate) correlation: u16,
}

/// What a session subscribed to.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) number: u16,
    pub(crate) pattern: Pattern,
    pub(crate) start: Start,
    pub(crate) policy: Policy,
    pub(crate) flags: SubscribeFlags,
    pub(crate) credit_bytes: u64,
    pub(crate) group: Box<str>,
    pub(crate) cursor: Box<str>,
    /// The only stream to look in, or empty.
    pub(crate) stream: Box<str>,
}

impl Session {
    pub(crate) fn new(id: SessionId, seed: u64, limits: &Limits) -> Self {
        Self {
            id,
            subjects: SubjectTable::new(
                seed,
                limits.session_subjects,
                limits.session_subject_bytes,
            ),
            frame: None,
            acks: AckQueue::default(),
            subscriptions: Vec::new(),
            channels: Vec::new(),
            in_flight_bytes: 0,
            waits: false,
            calls: 0,
            correlation: 0,
        }
    }

    /// The lowest ordinal that is free.
    pub(crate) fn free_ordinal(&self) -> usize {
        self.channels
            .iter()
            .position(|key| *key == Key::NONE)
            .unwrap_or(self.channels.len())
    }

    pub(crate) fn set_channel(&mut self, ordinal: usize, key: Key) {
        if ordinal == self.channels.len() {
            self.channels.push(key);
        } else {
            self.channels[ordinal] = key;
        }
    }

    pub(crate) fn channel_count(&self) -> usize {
        self.channels
            .iter()
            .filter(|key| **key != Key::NONE)
            .count()
    }
}

impl Subscription {
    pub(crate) fn is_responder(&self) -> bool {
        self.flags.contains(SubscribeFlags::RESPONDER)
    }

    pub(crate) fn is_explicit(&self) -> bool {
        self.flags.contains(SubscribeFlags::EXPLICIT_CONFIRMS)
    }
}
