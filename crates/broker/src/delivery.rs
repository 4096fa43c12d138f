//! Deliveries that are on their way, what each keeps from being reused, and what becomes free when it has left.

use trunkline_log::Hold;

use crate::deliver::deliveries_needed;
use crate::feed::wake_parked;
use crate::out::{HoldId, Out, SessionId};
use crate::shard::Shard;
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

impl Shard {
    /// What a delivery hands over, if that lies in a tail: to be copied before [`on_copied`](Self::on_copied).
    pub fn bytes_of(&self, hold: HoldId) -> Option<&[u8]> {
        let delivery = self.deliveries.at(key_of(hold))?;
        let Keeps::Tail { position, .. } = delivery.keeps else {
            return None;
        };
        let stream = self.streams.at(delivery.stream)?;
        Some(stream.log.bytes(position, delivery.bytes))
    }

    /// A delivery was copied out of its tail, where nothing keeps its place any more. [`on_sent`](Self::on_sent) or [`on_dropped`](Self::on_dropped) is still to come.
    pub fn on_copied(&mut self, hold: HoldId) {
        let Some(delivery) = self.deliveries.at_mut(key_of(hold)) else {
            return;
        };
        if let Keeps::Tail { hold, .. } = std::mem::replace(&mut delivery.keeps, Keeps::Nothing)
            && let Some(stream) = self.streams.at_mut(delivery.stream)
        {
            stream.log.release(hold);
        }
    }

    /// A delivery has left. That confirms its records, where nobody confirms them by a frame. Buffers that it gives back are released by the next turn.
    pub fn on_sent(&mut self, hold: HoldId) {
        let Some(delivery) = self.let_go(hold) else {
            return;
        };
        if let Some(channel) = self.channels.at_mut(delivery.channel)
            && channel.tracks
            && !channel.explicit
            && delivery.first <= delivery.last
        {
            channel.unconfirmed.remove(delivery.first, delivery.last);
            let feed = channel.feed;
            if let Some(feed) = self.feeds.at(feed) {
                self.cursors.touch_soon(feed.durable);
            }
            // It may have as many ranges as it may.
            wake_parked(&mut self.feeds, &mut self.ready, feed);
        }
    }

    /// A delivery will never leave, because its session ends. Its records stay unconfirmed: they go to another member of the group, or to who comes next with
    /// the cursor, when [`close_session`](Self::close_session) comes. Buffers are given back as by [`on_sent`](Self::on_sent).
    pub fn on_dropped(&mut self, hold: HoldId) {
        self.let_go(hold);
    }

    /// Ends a delivery: what it kept is free, and there is room for others.
    fn let_go(&mut self, hold: HoldId) -> Option<Delivery> {
        let mut delivery = self.deliveries.remove(key_of(hold))?;
        match std::mem::replace(&mut delivery.keeps, Keeps::Nothing) {
            Keeps::Tail { hold, .. } => {
                if let Some(stream) = self.streams.at_mut(delivery.stream) {
                    stream.log.release(hold);
                }
            }
            Keeps::Buffer(buffer) => self.buffers.release(buffer),
            Keeps::Nothing => {}
        }
        if let Some(session) = self.sessions.at_mut(delivery.session) {
            session.in_flight_bytes -= u64::from(delivery.bytes);
            if session.waits && session.in_flight_bytes < self.config.limits.session_in_flight_bytes
            {
                session.waits = false;
                for channel in &session.channels {
                    if let Some(channel) = self.channels.at(*channel) {
                        wake_parked(&mut self.feeds, &mut self.ready, channel.feed);
                    }
                }
            }
        }
        if !self.starved.is_empty()
            && self.deliveries.room() >= deliveries_needed(&self.config.limits)
        {
            for key in self.starved.drain(..) {
                wake_parked(&mut self.feeds, &mut self.ready, key);
            }
        }
        Some(delivery)
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
