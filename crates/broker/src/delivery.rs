//! Deliveries that are on their way, and what each keeps from being reused.

use trunkline_log::Hold;

use crate::out::{HoldId, Out, SessionId};
use crate::slab::{Key, Slab};

/// A delivery that was handed over and is not sent yet.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) session: Key,
    pub(crate) id: SessionId,
    pub(crate) channel: Key,
    pub(crate) stream: Key,
    pub(crate) bytes: u32,
    /// Data records of these sequences; `last < first` when it has none.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// When it was handed over.
    pub(crate) at_ns: u64,
    pub(crate) keeps: Keeps,
}

/// What a delivery keeps.
#[derive(Debug)]
pub(crate) enum Keeps {
    /// A stretch of the stream's tail from this position.
    Tail {
        position: u64,
        hold: Hold,
        reclaimed: bool,
    },
    /// A buffer.
    Buffer(u32),
    /// Nothing: it was copied.
    Nothing,
}

/// How many deliveries lie in each buffer, one more while it is being read from.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    uses: Vec<(u32, u32)>,
    /// Free, to be given back.
    done: Vec<u32>,
}

impl Buffers {
    pub(crate) fn acquire(&mut self, buffer: u32) {
        match self.uses.iter_mut().find(|(id, _)| *id == buffer) {
            Some((_, count)) => *count += 1,
            None => self.uses.push((buffer, 1)),
        }
    }

    pub(crate) fn release(&mut self, buffer: u32) {
        if let Some(at) = self.uses.iter().position(|(id, _)| *id == buffer) {
            self.uses[at].1 -= 1;
            if self.uses[at].1 == 0 {
                self.uses.swap_remove(at);
                self.done.push(buffer);
            }
        }
    }

    /// Gives back what is free; how many those were.
    pub(crate) fn give_back(&mut self, out: &mut impl Out) -> usize {
        let count = self.done.len();
        for buffer in self.done.drain(..) {
            out.release_buffer(buffer);
        }
        count
    }
}

/// The name of a delivery outside.
pub(crate) fn hold_id(key: Key) -> HoldId {
    HoldId(key.to_u64())
}

pub(crate) fn key_of(hold: HoldId) -> Key {
    Key::from_u64(hold.0)
}

pub(crate) type Deliveries = Slab<Delivery>;
