//! One connection's incoming half: its protocol state, and what waits because a stream is full.

use trunkline_wire as wire;

use super::relay::Routes;

/// What comes in on one connection.
pub(super) struct Inlet {
    pub(super) wire: wire::Session<wire::Server>,
    pub(super) stall: Option<Stall>,
    /// Where its records go; empty when there is one worker.
    pub(super) routes: Routes,
}

/// Input that was received and not yet processed. While there is one, nothing more is received.
pub(super) struct Stall {
    /// What the stream had no room for.
    pub(super) held: Held,
    /// What came behind it.
    pub(super) input: Vec<u8>,
}

/// The step of a frame that waits.
pub(super) enum Held {
    /// The rest of a run.
    Run {
        frame: wire::FrameHeader,
        last: bool,
        bytes: Vec<u8>,
    },
    /// The end of a frame with a record over the limit.
    Oversized(wire::Oversized),
}

impl Inlet {
    pub(super) fn new(limits: wire::Limits) -> Self {
        Self {
            wire: wire::Session::new(limits),
            stall: None,
            routes: Routes::default(),
        }
    }
}
