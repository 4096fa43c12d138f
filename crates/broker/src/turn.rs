//! A worker's turn: what a batch of input made ready is written, made visible, delivered and acknowledged.

use std::cmp::Reverse;

use trunkline_log::Disk;
use trunkline_wire::{AckLevel, ErrorCode, Policy};

use crate::Now;
use crate::deliver::window_bytes;
use crate::delivery::{Delivery, Keeps, hold_id};
use crate::feed::{FeedState, wake};
use crate::out::Out;
use crate::policy;
use crate::shard::Shard;
use crate::slab::Key;

/// What a turn did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// How much; 0 means that another turn now would do nothing either.
    pub work: usize,
    /// The steady clock's time at which the next turn is due even if nothing else happens.
    pub next_deadline_ns: Option<u64>,
}

impl Shard {
    /// Writes, delivers and acknowledges what there is: once after a batch of the above, and when the deadline has come. Bounded; when
    /// `work` is not 0 there may be more to do.
    pub fn turn(&mut self, now: Now, disk: &mut impl Disk, out: &mut impl Out) -> Turn {
        let mut work = self.buffers.give_back(out);
        work += self.look_at_streams(now, disk, out);
        work += self.deliver(self.config.limits.turn_runs as usize, now, disk, out);
        work += self.answer_frames(out);
        work += self.time_out_calls(now, out);
        if self.cursors.is_due(now) {
            work += self.save_cursors(now);
        }
        self.reclaim(now, out);
        let deadlines = [
            self.log_due_ns,
            self.cursors.deadline_ns(),
            self.rpc.deadline_ns(),
            self.reclaim_due_ns,
        ];
        Turn {
            work,
            next_deadline_ns: deadlines.into_iter().flatten().min(),
        }
    }

    /// Flushes the logs that have something new or whose time has come, and finds out what that made visible.
    fn look_at_streams(&mut self, now: Now, disk: &mut impl Disk, out: &mut impl Out) -> usize {
        if self.log_due_ns.is_some_and(|due| due <= now.mono_ns) {
            self.log_due_ns = None;
            for (key, stream) in self.streams.iter_mut() {
                match stream.log.next_deadline_ns() {
                    Some(due) if due > now.mono_ns => {
                        self.log_due_ns = earlier(self.log_due_ns, Some(due));
                    }
                    Some(_) if !stream.listed => {
                        stream.listed = true;
                        self.attention.push(key);
                    }
                    _ => {}
                }
            }
        }
        let mut work = 0;
        let mut attention = core::mem::take(&mut self.attention);
        for key in attention.drain(..) {
            work += self.look_at_stream(key, now, disk, out);
        }
        // What came meanwhile is for the next turn.
        attention.append(&mut self.attention);
        self.attention = attention;
        work
    }

    fn look_at_stream(
        &mut self,
        key: Key,
        now: Now,
        disk: &mut impl Disk,
        out: &mut impl Out,
    ) -> usize {
        let Some(stream) = self.streams.at_mut(key) else {
            return 0;
        };
        stream.listed = false;
        stream.log.flush(now, disk);
        self.log_due_ns = earlier(self.log_due_ns, stream.log.next_deadline_ns());
        if stream.internal {
            let loaded =
                !self.cursors.is_ready() && self.cursors.load_more(&mut stream.log, now, disk);
            if loaded && self.cursors.is_ready() {
                for (_, stream) in self.streams.iter() {
                    self.cursors
                        .clamp(&stream.plan.name, stream.log.received().sequence);
                }
            }
            return usize::from(loaded);
        }
        let mut work = 0;
        let visible = stream.mark(stream.plan.visible);
        if visible != stream.visible {
            work += 1;
            stream.visible = visible;
            for feed in stream.idle.drain(..) {
                if let Some(feed) = self.feeds.at_mut(feed) {
                    feed.in_idle = false;
                    if feed.state != FeedState::Idle {
                        continue;
                    }
                }
                wake(&mut self.feeds, &mut self.ready, feed);
            }
            self.disconnect_hopeless(key, out);
        }
        work + self.wake_waiting(key)
    }

    /// Sessions whose first frame has got to its level, or never will.
    fn wake_waiting(&mut self, key: Key) -> usize {
        let Some(stream) = self.streams.at_mut(key) else {
            return 0;
        };
        let marks = [stream.log.stored().sequence, stream.log.synced().sequence];
        let poisoned = stream.is_poisoned();
        let mut work = 0;
        for (heap, mark) in stream.waits.iter_mut().zip(marks) {
            while let Some(Reverse((upto, _))) = heap.peek() {
                if *upto >= mark && !poisoned {
                    break;
                }
                if let Some(Reverse((_, session))) = heap.pop() {
                    self.ack_ready.push(session);
                    work += 1;
                }
            }
        }
        work
    }

    /// Answers Publish frames, and notes what the first unanswered one of each session waits for.
    fn answer_frames(&mut self, out: &mut impl Out) -> usize {
        let mut work = 0;
        let mut ready = core::mem::take(&mut self.ack_ready);
        for key in ready.drain(..) {
            let Some(session) = self.sessions.at_mut(key) else {
                continue;
            };
            let streams = &self.streams;
            let (answered, wait) =
                session
                    .acks
                    .answer(session.id, |stream| streams.at(stream), &self.unopened, out);
            work += answered;
            session.acks.listed = false;
            let Some(wait) = wait else { continue };
            session.acks.listed = true;
            let sessions = self.sessions.len() as usize;
            if let Some(stream) = self.streams.at_mut(wait.stream) {
                let heap = &mut stream.waits[usize::from(wait.level == AckLevel::Synced)];
                if heap.len() > 2 * sessions + 64 {
                    // Sessions that closed while they waited.
                    let alive = &self.sessions;
                    heap.retain(|Reverse((_, key))| alive.at(*key).is_some());
                }
                heap.push(Reverse((wait.upto, key)));
            }
        }
        self.ack_ready = ready;
        work
    }

    /// Closes sessions whose policy says so.
    fn disconnect_hopeless(&mut self, key: Key, out: &mut impl Out) {
        let Some(stream) = self.streams.at_mut(key) else {
            return;
        };
        if stream.disconnecting == 0 {
            return;
        }
        let window = window_bytes(&self.config.limits, &stream.log);
        for feed in &stream.feeds {
            let Some(feed) = self.feeds.at(*feed) else {
                continue;
            };
            if !policy::is_hopeless(feed, stream.visible, window) {
                continue;
            }
            let channels = &mut self.channels;
            let reads = |member: &Key| channels.at(*member).is_some_and(|one| one.credit > 0);
            if feed.members.iter().any(reads) {
                continue;
            }
            for member in &feed.members {
                let Some(channel) = channels.at_mut(*member).filter(|one| !one.hopeless) else {
                    continue;
                };
                channel.hopeless = true;
                stream.disconnected += 1;
                out.close(
                    channel.id,
                    ErrorCode::SLOW_CONSUMER,
                    "the subscriber is further behind than its window",
                );
            }
        }
    }

    /// Asks for stretches of tails back that publishers have been waiting for.
    fn reclaim(&mut self, now: Now, out: &mut impl Out) {
        if !self.pressed {
            return;
        }
        let due = *self
            .reclaim_due_ns
            .get_or_insert(now.mono_ns + self.config.reclaim_after_ns);
        if due > now.mono_ns {
            return;
        }
        self.pressed = false;
        self.reclaim_due_ns = None;
        for delivery in self.deliveries.keys() {
            let Some(Delivery {
                id,
                channel,
                stream,
                at_ns,
                keeps:
                    Keeps::Tail {
                        position,
                        reclaimed,
                        ..
                    },
                ..
            }) = self.deliveries.at_mut(delivery)
            else {
                continue;
            };
            let Some(stream) = self.streams.at(*stream).filter(|stream| stream.pressed) else {
                continue;
            };
            let config = stream.log.config();
            let soon = stream.log.received().position
                + u64::from(config.record_bytes_max)
                + IN_THE_WAY_BYTES;
            let in_the_way = *position + config.tail_bytes < soon;
            let old = now.mono_ns.saturating_sub(*at_ns) >= self.config.reclaim_after_ns;
            let feed = self
                .channels
                .at(*channel)
                .and_then(|channel| self.feeds.at(channel.feed));
            let keeps = feed.is_some_and(|feed| feed.policy == Policy::Block);
            if in_the_way && old && !keeps && !*reclaimed {
                *reclaimed = true;
                out.reclaim(*id, hold_id(delivery));
            }
        }
        for stream in self.streams.values_mut() {
            stream.pressed = false;
        }
    }
}

fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    [a, b].into_iter().flatten().min()
}

/// What lies this close before the end of the tail's room is in the way of the next records.
const IN_THE_WAY_BYTES: u64 = 256 << 10;
