//! What is said about a channel.

use crate::field::{Fields, Malformed, Out};

/// Lets the server send more on the channel that the frame names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Bytes of Deliver bodies, on top of what is left.
    pub bytes: u64,
}

impl Credit {
    /// Reads the body of a Credit frame.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(body);
        let credit = Self {
            bytes: fields.u64("bytes")?,
        };
        fields.finish(credit)
    }

    pub(super) fn fields<'o>(&self, out: Out<'o>) -> Out<'o> {
        out.u64(self.bytes)
    }
}

/// Records of the channel that the frame names are processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirm {
    /// The first of them; 0 for everything up to `last`.
    pub first: u64,
    /// The last of them.
    pub last: u64,
}

impl Confirm {
    /// Reads the body of a Confirm frame.
    ///
    /// # Errors
    /// The field that is wrong: `last` is also wrong when it is before `first`.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(body);
        let first = fields.u64("first")?;
        let last = fields.one_of("last", Fields::u64, |last| (last >= first).then_some(last))?;
        fields.finish(Self { first, last })
    }

    pub(super) fn fields<'o>(&self, out: Out<'o>) -> Out<'o> {
        out.u64(self.first).u64(self.last)
    }
}

/// Why records will not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum GapReason {
    /// They were too old or too many for the stream's retention.
    Retention = 1,
    /// The subscription's slow-consumer policy left them out.
    SlowConsumer = 2,
    /// They are damaged on the disk.
    Damaged = 3,
}

impl GapReason {
    /// The reason with this number.
    pub const fn from_u8(reason: u8) -> Option<Self> {
        Some(match reason {
            1 => Self::Retention,
            2 => Self::SlowConsumer,
            3 => Self::Damaged,
            _ => return None,
        })
    }
}

/// Records will not come on the channel that the frame names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first of them.
    pub first: u64,
    /// The last of them.
    pub last: u64,
    /// Why.
    pub reason: GapReason,
}

impl Gap {
    /// Reads the body of a Gap frame.
    ///
    /// # Errors
    /// The field that is wrong: `last` is also wrong when it is before `first`.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(body);
        let first = fields.u64("first")?;
        let last = fields.one_of("last", Fields::u64, |last| (last >= first).then_some(last))?;
        let reason = fields.one_of("reason", Fields::u8, GapReason::from_u8)?;
        fields.finish(Self {
            first,
            last,
            reason,
        })
    }

    pub(super) fn fields<'o>(&self, out: Out<'o>) -> Out<'o> {
        out.u64(self.first).u64(self.last).u8(self.reason as u8)
    }
}
