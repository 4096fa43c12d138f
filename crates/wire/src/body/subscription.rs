//! What a client asks for, and the channels that it is told of.

use super::positions::Positions;
use crate::field::{Fields, Malformed, Out};

/// Where a subscription starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With what is published from now on.
    #[default]
    New,
    /// With the first record that the stream still holds.
    First,
    /// With the last record that the stream holds.
    Last,
    /// With this sequence.
    Sequence(u64),
    /// With the first record at or after this time, in nanoseconds since 1970.
    Time(u64),
    /// Where the durable cursor stands.
    Cursor,
}

impl Start {
    fn parts(self) -> (u8, u64) {
        match self {
            Self::New => (0, 0),
            Self::First => (1, 0),
            Self::Last => (2, 0),
            Self::Sequence(sequence) => (3, sequence),
            Self::Time(ns) => (4, ns),
            Self::Cursor => (5, 0),
        }
    }

    /// `None` when there is no such start, or a value where none belongs.
    fn from_parts(start: u8, value: u64) -> Option<Self> {
        Some(match (start, value) {
            (0, 0) => Self::New,
            (1, 0) => Self::First,
            (2, 0) => Self::Last,
            (3, sequence) => Self::Sequence(sequence),
            (4, ns) => Self::Time(ns),
            (5, 0) => Self::Cursor,
            _ => return None,
        })
    }
}

/// The last of the numbers that [`Start`] has in a body.
const START_MAX: u8 = 5;

/// What happens when a subscriber does not keep up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Policy {
    /// Its records wait in the stream; retention may overtake it.
    #[default]
    Block = 0,
    /// What arrives while it is behind is left out.
    DropNewest = 1,
    /// What is oldest is left out.
    DropOldest = 2,
    /// Its connection ends.
    Disconnect = 3,
    /// It continues from the log.
    Spill = 4,
}

impl Policy {
    /// The policy with this number.
    pub const fn from_u8(policy: u8) -> Option<Self> {
        Some(match policy {
            0 => Self::Block,
            1 => Self::DropNewest,
            2 => Self::DropOldest,
            3 => Self::Disconnect,
            4 => Self::Spill,
            _ => return None,
        })
    }
}

bitflags::bitflags! {
    /// Flags of a subscription. All other bits must be zero.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct SubscribeFlags: u32 {
        /// The client confirms what it has processed.
        const EXPLICIT_CONFIRMS = 1;
        /// The client answers calls to the pattern, and gets no records.
        const RESPONDER = 1 << 1;
    }
}

/// Asks for the records whose subjects match a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Chosen by the client, unique in its session.
    pub subscription: u16,
    /// Where it starts.
    pub start: Start,
    /// What happens when it does not keep up.
    pub policy: Policy,
    /// What else it is.
    pub flags: SubscribeFlags,
    /// Bytes of Deliver bodies that each of its channels may be sent at first.
    pub credit_bytes: u64,
    /// What subjects must match.
    pub pattern: &'a str,
    /// The queue group, or empty.
    pub group: &'a str,
    /// The durable cursor, or empty.
    pub cursor: &'a str,
    /// The only stream to look in, or empty.
    pub stream: &'a str,
    /// Where it starts in streams that the client knows.
    pub positions: Positions<'a>,
}

impl<'a> Subscribe<'a> {
    /// Reads the body of a Subscribe frame.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(body);
        let subscription = fields.u16("subscription")?;
        let start = fields.one_of("start", Fields::u8, |start| {
            (start <= START_MAX).then_some(start)
        })?;
        let policy = fields.one_of("policy", Fields::u8, Policy::from_u8)?;
        let flags = fields.one_of("flags", Fields::u32, SubscribeFlags::from_bits)?;
        let start = fields.one_of("value", Fields::u64, |value| {
            Start::from_parts(start, value)
        })?;
        Ok(Self {
            subscription,
            start,
            policy,
            flags,
            credit_bytes: fields.u64("credit_bytes")?,
            pattern: fields.text("pattern")?,
            group: fields.text("group")?,
            cursor: fields.text("cursor")?,
            stream: fields.text("stream")?,
            positions: Positions::decode(fields)?,
        })
    }

    pub(super) fn fields<'o>(&self, out: Out<'o>) -> Out<'o> {
        let (start, value) = self.start.parts();
        out.u16(self.subscription)
            .u8(start)
            .u8(self.policy as u8)
            .u32(self.flags.bits())
            .u64(value)
            .u64(self.credit_bytes)
            .text(self.pattern)
            .text(self.group)
            .text(self.cursor)
            .text(self.stream)
            .bytes(self.positions.bytes())
    }
}

/// A channel was opened; the frame's sequence is its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed<'a> {
    /// The subscription that it belongs to.
    pub subscription: u16,
    /// The server's number of the stream.
    pub stream: u32,
    /// The first sequence that may be delivered.
    pub next: u64,
    /// The first sequence that the stream holds.
    pub first: u64,
    /// The last sequence that the stream holds.
    pub last: u64,
    /// The stream's name.
    pub name: &'a str,
}

impl<'a> Subscribed<'a> {
    /// Reads the body of a Subscribed frame.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(body);
        let subscription = fields.u16("subscription")?;
        fields.reserved(2)?;
        let subscribed = Self {
            subscription,
            stream: fields.u32("stream")?,
            next: fields.u64("next")?,
            first: fields.u64("first")?,
            last: fields.u64("last")?,
            name: fields.text("name")?,
        };
        fields.finish(subscribed)
    }

    pub(super) fn fields<'o>(&self, out: Out<'o>) -> Out<'o> {
        out.u16(self.subscription)
            .u16(0)
            .u32(self.stream)
            .u64(self.next)
            .u64(self.first)
            .u64(self.last)
            .text(self.name)
    }
}

/// Ends a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// The client's number of it.
    pub subscription: u16,
}

impl Unsubscribe {
    /// Reads the body of an Unsubscribe frame.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(body);
        let unsubscribe = Self {
            subscription: fields.u16("subscription")?,
        };
        fields.finish(unsubscribe)
    }

    pub(super) fn fields<'o>(&self, out: Out<'o>) -> Out<'o> {
        out.u16(self.subscription)
    }
}
