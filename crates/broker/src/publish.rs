//! What comes in: runs of records.

use trunkline_wire::{AckLevel, FrameFlags, FrameHeader};

/// The Publish frame that a run belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishFrame {
    /// Its sequence, which names it in its Ack.
    pub sequence: u16,
    /// What its records are to have survived when it is acknowledged.
    pub level: AckLevel,
    /// Whether it is acknowledged. Refusals are told in any case.
    pub expects_ack: bool,
    /// Whether the frame ends with this run.
    pub last: bool,
}

impl PublishFrame {
    /// From the header of the frame and whether the run is its last.
    pub fn new(header: FrameHeader, last: bool) -> Self {
        Self {
            sequence: header.sequence,
            level: header.flags.ack_level(),
            expects_ack: header.flags.contains(FrameFlags::EXPECTS_RESPONSE),
            last,
        }
    }
}

/// How far publishing came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Bytes of the run that were taken.
    pub bytes: usize,
    /// Not all of it: call again with the rest after a later turn, and with nothing else of this session before.
    pub full: bool,
}
