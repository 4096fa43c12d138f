//! A buffer that is too short.

use core::fmt;

/// The buffer is too short for what was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    /// Bytes that it would have taken; `usize::MAX` for what the format cannot hold at all.
    pub needed: usize,
}

impl Short {
    /// No buffer would do: the format has no room for it.
    pub const NEVER: Self = Self { needed: usize::MAX };
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER {
            write!(f, "longer than the format allows")
        } else {
            write!(f, "buffer is too short: {} bytes are needed", self.needed)
        }
    }
}

impl core::error::Error for Short {}
