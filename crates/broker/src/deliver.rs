//! What goes out: from a feed's place in its stream to one of its members.
//!
//! A **visit** hands one run to one member. Where the pattern takes everything that the stream captures, the run is a stretch of the tail
//! or of a buffer that was read, handed over without a look at its records. Otherwise its records are looked at, a bit each, and stretches that
//! match are handed over as they are if they are long, or copied together into one frame if they are short.

use trunkline_log::{Disk, Log, Loss, Run, Seek};
use trunkline_wire::GapReason;

use crate::Now;
use crate::channel::Channel;
use crate::feed::{Feed, FeedState, Reading};
use crate::hand::{COPY_BELOW, Hand};
use crate::limits::Limits;
use crate::out::{Out, Source};
use crate::policy;
use crate::session::Session;
use crate::shard::Shard;
use crate::slab::{Key, Slab};
use crate::stream::Stream;
use crate::stretch::{Found, look};

impl Shard {
    /// Hands over what there is, round after round over the feeds that have something, up to `most` visits.
    pub(crate) fn deliver(
        &mut self,
        most: usize,
        now: Now,
        disk: &mut impl Disk,
        out: &mut impl Out,
    ) -> usize {
        let mut work = 0;
        for _ in 0..most {
            let Some(feed) = self.ready.pop_front() else {
                break;
            };
            work += self.visit(feed, now, disk, out);
        }
        work
    }

    /// One run to one member. The feed is not in the queue.
    fn visit(&mut self, key: Key, now: Now, disk: &mut impl Disk, out: &mut impl Out) -> usize {
        let limits = self.config.limits;
        let Some(feed) = self
            .feeds
            .at_mut(key)
            .filter(|feed| feed.state == FeedState::Ready)
        else {
            return 0;
        };
        let Some(stream) = self.streams.at_mut(feed.stream) else {
            return 0;
        };
        if self.deliveries.room() < deliveries_needed(&limits) {
            feed.state = FeedState::Parked;
            self.starved.push(key);
            return 0;
        }
        let Some(member) = pick(feed, &self.channels, &mut self.sessions, &limits) else {
            feed.state = FeedState::Parked;
            return 0;
        };
        let Some(mut hand) = Hand::new(
            member,
            feed.stream,
            &mut self.channels,
            &mut self.sessions,
            &mut self.deliveries,
            now,
            out,
        ) else {
            return 0;
        };
        if let Some((first, last, reason)) = feed.owed_gap.take() {
            hand.gap(first, last, reason);
        }
        if !hand.definitions(feed, stream, &mut self.scratch) || hand.channel.credit <= 0 {
            self.ready.push_back(key);
            return 1;
        }
        let visible = stream.visible;
        let again = feed.again.front();
        let cursor = match again {
            Some((first, last)) => match feed.seek_again(&stream.log, first) {
                Seek::At(cursor) => cursor,
                Seek::OutOfRange { first: kept, .. } => {
                    let gone = last.min(kept.max(first + 1) - 1);
                    feed.again.remove(first, gone);
                    hand.gap(first, gone, GapReason::Retention);
                    self.ready.push_back(key);
                    return 1;
                }
            },
            None => {
                let window = window_bytes(&limits, &stream.log);
                if let Some((first, last)) = policy::leave_out(feed, &stream.log, visible, window) {
                    stream.skipped += last - first + 1;
                    hand.gap(first, last, GapReason::SlowConsumer);
                }
                feed.cursor
            }
        };
        let behind = visible.position.saturating_sub(cursor.position());
        let bytes_max = bytes_max(feed, hand.channel, behind, again.is_some(), &limits);
        match stream.log.read(&cursor, visible, bytes_max, disk) {
            Run::Hot {
                position,
                len,
                records,
                first,
                next,
            } => {
                let source = Source::Tail(stream.log.id());
                let run = Found {
                    source,
                    start: position,
                    len,
                    records,
                    first,
                };
                let end = match again {
                    Some((_, last)) => last,
                    None => next.sequence() - 1,
                };
                let reached = if feed.is_whole() && again.is_none() {
                    hand.whole(&run, &mut stream.log);
                    None
                } else {
                    let bytes = stream.log.bytes(position, len);
                    let reached = look(
                        bytes,
                        &run,
                        end,
                        feed,
                        hand.channel,
                        &limits,
                        &mut self.stretches,
                    );
                    hand.stretches(
                        &run,
                        None,
                        &mut stream.log,
                        &mut self.stretches,
                        &mut self.scratch,
                    );
                    reached
                };
                match again {
                    Some((first, last)) => {
                        feed.redelivered(
                            first,
                            reached.unwrap_or(next.sequence()).min(last + 1),
                            next,
                        );
                    }
                    None => {
                        let from = feed.cursor.position();
                        feed.cursor = match reached.map(|sequence| stream.log.seek(sequence)) {
                            Some(Seek::At(cursor)) => cursor,
                            _ => next,
                        };
                        spend(feed, from);
                        feed.update_hold(&mut stream.log, stream.opened_at);
                    }
                }
                self.cursors.touch(feed.durable, now);
                self.ready.push_back(key);
            }
            Run::Cold { token } => {
                stream.reads.push((token, key));
                feed.reading = Some(Reading {
                    token,
                    cursor,
                    again: again.is_some(),
                });
                feed.state = FeedState::Reading;
            }
            Run::Busy => {
                feed.state = FeedState::Busy;
                stream.busy.push(key);
                return 0;
            }
            Run::CaughtUp => {
                feed.state = FeedState::Idle;
                if again.is_none() {
                    // Who waits for a time that has not come yet is not behind: no policy holds for what it passes over.
                    feed.live |= !feed.cursor.is_seeking();
                    feed.budget = None;
                    feed.update_hold(&mut stream.log, stream.opened_at);
                }
                if !feed.in_idle {
                    feed.in_idle = true;
                    stream.idle.push(key);
                }
                return 0;
            }
            Run::Lost {
                first,
                last,
                why,
                next,
            } => {
                lost(feed, stream, &mut hand, (first, last), why, again.is_some());
                if again.is_none() {
                    feed.cursor = next;
                }
                self.cursors.touch(feed.durable, now);
                self.ready.push_back(key);
            }
        }
        1
    }
}

/// The member whose turn it is among those that can take something.
pub(crate) fn pick(
    feed: &mut Feed,
    channels: &Slab<Channel>,
    sessions: &mut Slab<Session>,
    limits: &Limits,
) -> Option<Key> {
    let count = feed.members.len();
    for step in 0..count {
        let at = (feed.next_member + step) % count;
        let key = feed.members[at];
        let Some(channel) = channels.at(key) else {
            continue;
        };
        if channel.credit <= 0
            || channel.tracks && channel.unconfirmed.len() >= limits.unconfirmed_ranges as usize
        {
            continue;
        }
        let Some(session) = sessions.at_mut(channel.session) else {
            continue;
        };
        if session.in_flight_bytes >= limits.session_in_flight_bytes {
            session.waits = true;
            continue;
        }
        feed.next_member = (at + 1) % count;
        return Some(key);
    }
    None
}

/// How much may be read at once.
pub(crate) fn bytes_max(
    feed: &Feed,
    channel: &Channel,
    behind: u64,
    again: bool,
    limits: &Limits,
) -> u32 {
    let mut most = u64::from(limits.run_bytes);
    if feed.is_whole() && !again {
        most = most.min(u64::try_from(channel.credit).unwrap_or(0));
    }
    if let Some(budget) = feed.budget.filter(|_| !again) {
        most = most.min(budget);
    }
    if feed.members.len() > 1 {
        // So that each member gets a share of what there is.
        most = most.min(behind / feed.members.len() as u64);
    }
    u32::try_from(most).unwrap_or(u32::MAX).max(1)
}

/// A policy's window of a stream.
pub(crate) fn window_bytes(limits: &Limits, log: &Log) -> u64 {
    limits.window_bytes.min(log.config().tail_bytes / 4)
}

/// Deliveries that one visit can make: the long stretches of a run and what lies between them, and definitions.
pub(crate) fn deliveries_needed(limits: &Limits) -> u32 {
    2 * (limits.run_bytes / COPY_BELOW) + 4
}

/// `drop-newest`: what was read since `from` is no longer to be read.
pub(crate) fn spend(feed: &mut Feed, from: u64) {
    if let Some(budget) = &mut feed.budget {
        *budget = budget.saturating_sub(feed.cursor.position().saturating_sub(from));
    }
}

/// Tells a member that records will not come.
pub(crate) fn lost<O: Out>(
    feed: &mut Feed,
    stream: &mut Stream,
    hand: &mut Hand<'_, O>,
    (first, mut last): (u64, u64),
    why: Loss,
    again: bool,
) {
    if why == Loss::Damaged && stream.damage.note(first, last, stream.log.first().sequence) {
        hand.damaged(stream.log.id(), first, last);
    }
    let reason = match why {
        Loss::Damaged => GapReason::Damaged,
        Loss::Removed if stream.is_volatile() && feed.live => GapReason::SlowConsumer,
        Loss::Removed => GapReason::Retention,
    };
    if again {
        if let Some((_, end)) = feed.again.front() {
            last = last.min(end);
        }
        if first <= last {
            feed.again.remove(first, last);
        }
    }
    if reason == GapReason::SlowConsumer && first <= last {
        stream.skipped += last - first + 1;
    }
    hand.gap(first, last, reason);
}
