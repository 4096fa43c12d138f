//! What is subscribed to, and from where.

use trunkline_wire::{Policy, Positions, Start, Subscribe, SubscribeFlags};

/// A pattern and everything that may be said about how its records are to come.
#[derive(Clone, Debug)]
pub struct Subscription {
    pub(crate) pattern: Box<str>,
    pub(crate) start: Start,
    pub(crate) policy: Policy,
    pub(crate) group: Box<str>,
    pub(crate) cursor: Box<str>,
    pub(crate) stream: Box<str>,
    pub(crate) explicit_confirms: bool,
    pub(crate) responder: bool,
    pub(crate) credit_bytes: u64,
}

impl Subscription {
    /// What is published to subjects that match `pattern` from now on. A subscriber that is slow continues from the
    /// log ([`Policy::Spill`]).
    pub fn new(pattern: &str) -> Self {
        Self {
            pattern: pattern.into(),
            start: Start::New,
            policy: Policy::Spill,
            group: "".into(),
            cursor: "".into(),
            stream: "".into(),
            explicit_confirms: false,
            responder: false,
            credit_bytes: CREDIT_BYTES_DEFAULT,
        }
    }

    /// Where it starts; [`Start::New`] unless said.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// What happens when it does not keep up; [`Policy::Spill`] unless said.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Shares the records with the other members of this group, who are those with the same pattern. The server keeps a group's place as long as it has a
    /// member. When all of them have lost their connections, it goes on behind the last record of the first one that is back, so that what others had got after
    /// that comes again. With a [`cursor`](Self::cursor) the server keeps the place.
    #[must_use]
    pub fn group(mut self, group: &str) -> Self {
        self.group = group.into();
        self
    }

    /// Keeps its place in the server under this name, and starts there. Without a group a cursor has one reader: another subscription that names it
    /// takes it over, and this one ends with an error.
    #[must_use]
    pub fn cursor(mut self, cursor: &str) -> Self {
        self.cursor = cursor.into();
        self.start = Start::Cursor;
        self
    }

    /// Looks in this stream only.
    #[must_use]
    pub fn stream(mut self, stream: &str) -> Self {
        self.stream = stream.into();
        self
    }

    /// Records count as processed when they are confirmed, not when they were sent.
    #[must_use]
    pub fn explicit_confirms(mut self) -> Self {
        self.explicit_confirms = true;
        self
    }

    /// Bytes that may be under way on each channel, and the memory that a slow subscriber costs; 1 MiB unless said, at
    /// least 4 KiB.
    #[must_use]
    pub fn credit_bytes(mut self, bytes: u64) -> Self {
        self.credit_bytes = bytes.max(4096);
        self
    }

    pub(crate) fn responder(mut self) -> Self {
        self.responder = true;
        self
    }

    pub(crate) fn body(&self, number: u16) -> Subscribe<'_> {
        let mut flags = SubscribeFlags::empty();
        flags.set(SubscribeFlags::EXPLICIT_CONFIRMS, self.explicit_confirms);
        flags.set(SubscribeFlags::RESPONDER, self.responder);
        Subscribe {
            subscription: number,
            start: self.start,
            policy: self.policy,
            flags,
            credit_bytes: if self.responder { 0 } else { self.credit_bytes },
            pattern: &self.pattern,
            group: &self.group,
            cursor: &self.cursor,
            stream: &self.stream,
            positions: Positions::NONE,
        }
    }
}

const CREDIT_BYTES_DEFAULT: u64 = 1 << 20;
