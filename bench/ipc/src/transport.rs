//! What a way between two threads is to this comparison. A new one is a file in `transports`, and a line in `main`.

use bench_harness::Failure;
use bench_harness::server::Server;

/// How both sides wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    Spin,
    Park,
}

/// Makes both ends.
pub trait Transport {
    type Link: Link;

    /// What both sides share before they meet on their threads.
    fn link(&self) -> Result<Self::Link, Failure>;
}

/// A way there and a way back.
pub trait Link: Sync {
    type End: End;

    /// One end, made on the thread that uses it: 0 begins, 1 answers. Nothing is sent before both are made.
    fn end(&self, side: usize) -> Result<Self::End, Failure>;

    /// A program that has a part in it, whose work is not that of others.
    fn between(&self) -> Option<&Server> {
        None
    }
}

/// One end. Both calls wait, in the way that was asked for.
pub trait End {
    fn send(&mut self, message: &[u8]) -> Result<(), Failure>;

    /// Fills the whole message.
    fn receive(&mut self, message: &mut [u8]) -> Result<(), Failure>;
}
