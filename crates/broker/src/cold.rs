//! Records that have left the tail: what a read from the files brought, handed on as far as there is credit.

use trunkline_log::{Disk, DiskError, Fetched, FetchedRun, LogId, ReadDone, Seek, Token};

use crate::Now;
use crate::deliver::{bytes_max, deliveries_needed, lost, pick, spend};
use crate::feed::{FeedState, Reading, wake};
use crate::hand::{COPY_BELOW, Hand};
use crate::out::{Out, Source};
use crate::shard::Shard;
use crate::slab::Key;
use crate::stretch::{Found, look};

impl Shard {
    #[allow(
        clippy::too_many_arguments,
        reason = "the answer to a read has this many parts"
    )]
    /// Takes the answer to a read: `buffer` holds `bytes` and is the shard's until [`Out::release_buffer`], which may come from within.
    pub fn on_read(
        &mut self,
        log: LogId,
        token: Token,
        buffer: u32,
        bytes: &[u8],
        now: Now,
        _disk: &mut impl Disk,
        out: &mut impl Out,
    ) {
        self.buffers.acquire(buffer);
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.read_done(log, token, Ok(len), Some((buffer, bytes)), now, out);
        self.buffers.release(buffer);
        self.buffers.give_back(out);
    }

    /// Takes the failure of a read, for which there is no buffer.
    pub fn on_read_failed(
        &mut self,
        log: LogId,
        token: Token,
        error: DiskError,
        now: Now,
        _disk: &mut impl Disk,
        out: &mut impl Out,
    ) {
        self.read_done(log, token, Err(error), None, now, out);
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "the answer to a read has this many parts"
    )]
    fn read_done(
        &mut self,
        log: LogId,
        token: Token,
        result: Result<u32, DiskError>,
        buffer: Option<(u32, &[u8])>,
        now: Now,
        out: &mut impl Out,
    ) {
        let Some(&stream_key) = self.by_log.get(&log.0) else {
            return;
        };
        let Some(stream) = self.streams.at_mut(stream_key) else {
            return;
        };
        let done = stream.log.on_read(token, result);
        if !stream.listed {
            stream.listed = true;
            self.attention.push(stream_key);
        }
        for waiting in stream.busy.drain(..) {
            wake(&mut self.feeds, &mut self.ready, waiting);
        }
        if stream.internal {
            self.cursors
                .on_read(&mut stream.log, token, done, buffer.map(|(_, bytes)| bytes));
            return;
        }
        let Some(at) = stream
            .reads
            .iter()
            .position(|(waiting, _)| *waiting == token)
        else {
            return;
        };
        let (_, key) = stream.reads.swap_remove(at);
        let Some(feed) = self.feeds.at_mut(key) else {
            return;
        };
        let Some(reading) = feed.reading.take_if(|reading| reading.token == token) else {
            return;
        };
        feed.state = FeedState::Ready;
        self.ready.push_back(key);
        match (done, buffer) {
            (ReadDone::Fetched(fetched), Some((buffer, bytes))) => {
                self.hand_over_fetched(key, reading, &fetched, buffer, bytes, now, out);
            }
            (
                ReadDone::Lost {
                    first,
                    last,
                    why,
                    next,
                },
                _,
            ) => {
                let limits = self.config.limits;
                let member = pick(feed, &self.channels, &mut self.sessions, &limits);
                let hand = member.and_then(|member| {
                    let (channels, sessions) = (&mut self.channels, &mut self.sessions);
                    Hand::new(
                        member,
                        stream_key,
                        channels,
                        sessions,
                        &mut self.deliveries,
                        now,
                        out,
                    )
                });
                // Nobody to tell: it is read again when there is.
                let Some(mut hand) = hand else { return };
                lost(feed, stream, &mut hand, (first, last), why, reading.again);
                if !reading.again {
                    feed.cursor = next;
                }
                self.cursors.touch(feed.durable, now);
            }
            _ => {}
        }
    }

    /// What a read brought, as far as there is credit; the rest is read again.
    #[allow(
        clippy::too_many_arguments,
        reason = "the answer to a read has this many parts"
    )]
    fn hand_over_fetched(
        &mut self,
        key: Key,
        reading: Reading,
        fetched: &Fetched,
        buffer: u32,
        bytes: &[u8],
        now: Now,
        out: &mut impl Out,
    ) {
        let limits = self.config.limits;
        let Some(feed) = self.feeds.at_mut(key) else {
            return;
        };
        let Some(stream) = self.streams.at_mut(feed.stream) else {
            return;
        };
        let visible = stream.visible;
        let mut cursor = reading.cursor;
        let wanted = if reading.again {
            feed.again.front()
        } else {
            None
        };
        if reading.again && wanted.is_none() {
            return;
        }
        loop {
            if self.deliveries.room() < deliveries_needed(&limits) {
                break;
            }
            let Some(member) = pick(feed, &self.channels, &mut self.sessions, &limits) else {
                break;
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
                break;
            };
            if !hand.definitions(feed, stream, &mut self.scratch) || hand.channel.credit <= 0 {
                break;
            }
            let behind = visible.position.saturating_sub(cursor.position());
            let bytes_max = bytes_max(feed, hand.channel, behind, reading.again, &limits);
            match stream
                .log
                .read_fetched(fetched, bytes, &cursor, visible, bytes_max)
            {
                FetchedRun::Run {
                    offset,
                    len,
                    records,
                    first,
                    next,
                } => {
                    let run = Found {
                        source: Source::Buffer(buffer),
                        start: u64::from(offset),
                        len,
                        records,
                        first,
                    };
                    let part = &bytes[offset as usize..(offset + len) as usize];
                    self.buffers.acquire(buffer);
                    let uses = &mut self.buffers;
                    let end = match wanted {
                        Some((_, last)) => last,
                        None => next.sequence() - 1,
                    };
                    let reached = if feed.is_whole() && wanted.is_none() {
                        uses.acquire(buffer);
                        hand.whole(&run, &mut stream.log);
                        None
                    } else {
                        let reached = look(
                            part,
                            &run,
                            end,
                            feed,
                            hand.channel,
                            &limits,
                            &mut self.stretches,
                        );
                        for stretch in &self.stretches {
                            if stretch.len >= COPY_BELOW {
                                uses.acquire(buffer);
                            }
                        }
                        hand.stretches(
                            &run,
                            Some(part),
                            &mut stream.log,
                            &mut self.stretches,
                            &mut self.scratch,
                        );
                        reached
                    };
                    uses.release(buffer);
                    if let Some((first, last)) = wanted {
                        feed.redelivered(
                            first,
                            reached.unwrap_or(next.sequence()).min(last + 1),
                            next,
                        );
                        // The next range may lie elsewhere.
                        self.cursors.touch(feed.durable, now);
                        return;
                    }
                    let from = feed.cursor.position();
                    match reached.map(|sequence| stream.log.seek(sequence)) {
                        Some(Seek::At(at)) => {
                            feed.cursor = at;
                            spend(feed, from);
                            break;
                        }
                        _ => cursor = next,
                    }
                    feed.cursor = cursor;
                    spend(feed, from);
                }
                FetchedRun::Done { next } => {
                    if reading.again {
                        feed.again_at = Some(next);
                    } else {
                        feed.cursor = next;
                    }
                    break;
                }
                FetchedRun::Lost {
                    first,
                    last,
                    why,
                    next,
                } => {
                    lost(feed, stream, &mut hand, (first, last), why, reading.again);
                    if reading.again {
                        return;
                    }
                    cursor = next;
                    feed.cursor = next;
                }
            }
        }
        self.cursors.touch(feed.durable, now);
    }
}
