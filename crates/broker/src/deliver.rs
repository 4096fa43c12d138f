//! What goes out: from a feed's place in its stream to one of its members.
//!
//! A **visit** hands one run to one member. Where the pattern takes everything that the stream captures, the run is a stretch of the tail
//! or of a buffer that was read, handed over without a look at its records. Otherwise its records are looked at, a bit each, and stretches that
//! match are handed over as they are if they are long, or copied together into one frame if they are short.

use std::collections::VecDeque;

use trunkline_log::{Disk, Fetched, FetchedRun, Log, LogId, Loss, ReadDone, Run, Seek, Token};
use trunkline_wire::record::{self, PREFIX_BYTES};
use trunkline_wire::{
    Body, FrameFlags, FrameHeader, Gap, GapReason, Kind, Opcode, Stamp, record_bytes,
};

use crate::Now;
use crate::channel::Channel;
use crate::delivery::{Deliveries, Delivery, Keeps, hold_id, key_of};
use crate::feed::{Feed, FeedState, Filter, Reading};
use crate::limits::Limits;
use crate::out::{HoldId, Out, Source, Span};
use crate::policy;
use crate::session::Session;
use crate::shard::Shard;
use crate::slab::{Key, Slab};
use crate::stream::Stream;

/// Stretches of matching records that are shorter are copied together.
const COPY_BELOW: u32 = 2048;
/// Bytes of a frame that is copied together.
const COPY_BYTES: usize = 64 << 10;
/// Bytes of definitions handed over in one visit.
const DEFINITION_BYTES: usize = 16 << 10;
/// Subjects looked at in one visit.
const SUBJECTS_A_VISIT: usize = 4096;

/// Matching records within a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    offset: u32,
    len: u32,
    records: u32,
    first: u64,
}

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
        error: trunkline_log::DiskError,
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
        result: Result<u32, trunkline_log::DiskError>,
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

    /// What a delivery hands over, if that lies in a tail: to be copied before [`on_copied`](Self::on_copied).
    pub fn bytes_of(&self, hold: HoldId) -> Option<&[u8]> {
        let delivery = self.deliveries.at(key_of(hold))?;
        let Keeps::Tail { position, .. } = delivery.keeps else {
            return None;
        };
        let stream = self.streams.at(delivery.stream)?;
        Some(stream.log.bytes(position, delivery.bytes))
    }

    /// A delivery was copied out of its tail, where nothing keeps its place any more. [`on_sent`](Self::on_sent) is still to come.
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

    /// A delivery has left, or will never leave. Buffers that it gives back are released by the next turn.
    pub fn on_sent(&mut self, hold: HoldId) {
        let Some(delivery) = self.deliveries.remove(key_of(hold)) else {
            return;
        };
        match delivery.keeps {
            Keeps::Tail { hold, .. } => {
                if let Some(stream) = self.streams.at_mut(delivery.stream) {
                    stream.log.release(hold);
                }
            }
            Keeps::Buffer(buffer) => self.buffers.release(buffer),
            Keeps::Nothing => {}
        }
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
    }
}

/// A run that was found in a tail or in a buffer.
struct Found {
    source: Source,
    /// Position in the stream, or offset in the buffer.
    start: u64,
    len: u32,
    records: u32,
    first: u64,
}

/// Everything that is touched to hand something to one member.
struct Hand<'a, O> {
    key: Key,
    stream: Key,
    channel: &'a mut Channel,
    session: &'a mut Session,
    deliveries: &'a mut Deliveries,
    now: Now,
    out: &'a mut O,
}

impl<'a, O: Out> Hand<'a, O> {
    fn new(
        key: Key,
        stream: Key,
        channels: &'a mut Slab<Channel>,
        sessions: &'a mut Slab<Session>,
        deliveries: &'a mut Deliveries,
        now: Now,
        out: &'a mut O,
    ) -> Option<Self> {
        let channel = channels.at_mut(key)?;
        let session = sessions.at_mut(channel.session)?;
        Some(Self {
            key,
            stream,
            channel,
            session,
            deliveries,
            now,
            out,
        })
    }

    fn gap(&mut self, first: u64, last: u64, reason: GapReason) {
        if last < first {
            return;
        }
        let mut body = [0; 32];
        let gap = Gap {
            first,
            last,
            reason,
        };
        if let Ok(len) = gap.encode(&mut body) {
            let header = FrameHeader {
                opcode: Opcode::Gap,
                flags: FrameFlags::empty(),
                sequence: self.channel.number,
                length: len as u32,
            };
            self.out.frame(self.channel.id, header, &body[..len]);
        }
    }

    /// Tells the client subjects that it does not know yet and may need. False: there may be more of them.
    #[inline]
    fn definitions(&mut self, feed: &mut Feed, stream: &Stream, scratch: &mut Vec<u8>) -> bool {
        if self.channel.definitions >= stream.journal.len() {
            return true;
        }
        self.define(feed, stream, scratch)
    }

    #[cold]
    fn define(&mut self, feed: &mut Feed, stream: &Stream, scratch: &mut Vec<u8>) -> bool {
        if let Filter::Some(matches) = &mut feed.filter
            && !matches.look(
                &feed.pattern,
                &stream.journal,
                &stream.log,
                SUBJECTS_A_VISIT,
            )
        {
            return false;
        }
        scratch.clear();
        let upto = stream
            .journal
            .len()
            .min(self.channel.definitions + SUBJECTS_A_VISIT);
        while self.channel.definitions < upto && scratch.len() < DEFINITION_BYTES {
            let id = stream.journal[self.channel.definitions];
            self.channel.definitions += 1;
            let wanted = match &feed.filter {
                Filter::Whole => true,
                Filter::Some(matches) => matches.has(id),
            };
            let Some(name) = stream.log.subject(id).filter(|_| wanted) else {
                continue;
            };
            let start = scratch.len();
            scratch.resize(start + record::body_record_bytes(name.len()), 0);
            let stamp = Stamp {
                kind: Kind::Definition,
                subject_id: id,
                ..Stamp::DATA
            };
            if record::encode(&mut scratch[start..], &stamp, name.as_bytes()).is_err() {
                scratch.truncate(start);
            }
        }
        if !scratch.is_empty() {
            self.copied(scratch, 0, 1, 0);
        }
        self.channel.definitions >= stream.journal.len()
    }

    /// Hands over a whole run.
    #[inline]
    fn whole(&mut self, run: &Found, log: &mut Log) {
        if run.records == 0 {
            return;
        }
        let last = run.first + u64::from(run.records) - 1;
        let keeps = match run.source {
            Source::Tail(_) => Keeps::Tail {
                position: run.start,
                hold: log.hold(run.start, run.len),
                reclaimed: false,
            },
            Source::Buffer(buffer) => Keeps::Buffer(buffer),
        };
        let span = Span {
            source: run.source,
            position: run.start,
            len: run.len,
        };
        self.span(span, run.records, run.first, last, keeps);
        self.track(run.first, last);
    }

    /// Hands over the stretches that match; `bytes` are the run's unless it lies in the tail.
    fn stretches(
        &mut self,
        run: &Found,
        bytes: Option<&[u8]>,
        log: &mut Log,
        stretches: &mut Vec<Stretch>,
        scratch: &mut Vec<u8>,
    ) {
        scratch.clear();
        let (mut records, mut first, mut last) = (0, 1, 0);
        for stretch in stretches.drain(..) {
            let stretch_last = stretch.first + u64::from(stretch.records) - 1;
            self.track(stretch.first, stretch_last);
            let long = stretch.len >= COPY_BELOW;
            if !scratch.is_empty() && (long || scratch.len() + stretch.len as usize > COPY_BYTES) {
                self.copied(scratch, records, first, last);
                scratch.clear();
                records = 0;
            }
            let start = run.start + u64::from(stretch.offset);
            if long {
                let keeps = match run.source {
                    Source::Tail(_) => Keeps::Tail {
                        position: start,
                        hold: log.hold(start, stretch.len),
                        reclaimed: false,
                    },
                    Source::Buffer(buffer) => Keeps::Buffer(buffer),
                };
                let span = Span {
                    source: run.source,
                    position: start,
                    len: stretch.len,
                };
                self.span(span, stretch.records, stretch.first, stretch_last, keeps);
                continue;
            }
            scratch.extend_from_slice(match bytes {
                Some(bytes) => {
                    &bytes[stretch.offset as usize..(stretch.offset + stretch.len) as usize]
                }
                None => log.bytes(start, stretch.len),
            });
            if records == 0 {
                first = stretch.first;
            }
            records += stretch.records;
            last = stretch_last;
        }
        if !scratch.is_empty() {
            self.copied(scratch, records, first, last);
        }
    }

    fn span(&mut self, span: Span, records: u32, first: u64, last: u64, keeps: Keeps) {
        if let Some(hold) = self.begin(span.len, first, last, keeps) {
            self.out
                .deliver(self.channel.id, self.channel.number, span, records, hold);
        }
    }

    fn copied(&mut self, body: &[u8], records: u32, first: u64, last: u64) {
        if let Some(hold) = self.begin(body.len() as u32, first, last, Keeps::Nothing) {
            self.out
                .deliver_copied(self.channel.id, self.channel.number, body, records, hold);
        }
    }

    fn begin(&mut self, bytes: u32, first: u64, last: u64, keeps: Keeps) -> Option<HoldId> {
        self.channel.credit -= i64::from(bytes);
        self.session.in_flight_bytes += u64::from(bytes);
        let delivery = Delivery {
            session: self.channel.session,
            id: self.channel.id,
            channel: self.key,
            stream: self.stream,
            bytes,
            first,
            last,
            at_ns: self.now.mono_ns,
            keeps,
        };
        let key = self.deliveries.insert(delivery);
        debug_assert!(
            key.is_ok(),
            "room for what a visit can hand over was checked before it"
        );
        key.ok().map(hold_id)
    }

    #[inline]
    fn track(&mut self, first: u64, last: u64) {
        if self.channel.tracks {
            self.channel.unconfirmed.insert(first, last);
        }
    }
}

/// The member whose turn it is among those that can take something.
fn pick(
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
fn bytes_max(feed: &Feed, channel: &Channel, behind: u64, again: bool, limits: &Limits) -> u32 {
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
fn deliveries_needed(limits: &Limits) -> u32 {
    2 * (limits.run_bytes / COPY_BELOW) + 4
}

/// `drop-newest`: what was read since `from` is no longer to be read.
fn spend(feed: &mut Feed, from: u64) {
    if let Some(budget) = &mut feed.budget {
        *budget = budget.saturating_sub(feed.cursor.position().saturating_sub(from));
    }
}

/// Finds the stretches of a run that match, data up to the sequence `last`. Returns the sequence at which it stopped because of the
/// channel's credit, `None` when it came to the end.
fn look(
    bytes: &[u8],
    run: &Found,
    last: u64,
    feed: &Feed,
    channel: &Channel,
    limits: &Limits,
    stretches: &mut Vec<Stretch>,
) -> Option<u64> {
    stretches.clear();
    let mut most = usize::MAX;
    if channel.tracks {
        most = (limits.unconfirmed_ranges as usize)
            .saturating_sub(channel.unconfirmed.len())
            .max(1);
    }
    let credit = u64::try_from(channel.credit).unwrap_or(0).max(1);
    let (mut sequence, mut offset, mut total) = (run.first, 0, 0);
    // The stretch that goes on, if the record before matched.
    let mut open: Option<Stretch> = None;
    while offset < bytes.len() {
        let Some((is_data, subject, len)) = head(&bytes[offset..]) else {
            break;
        };
        if !is_data {
            offset += len;
            // A definition ends a stretch: the client has it already.
            stretches.extend(open.take());
            continue;
        }
        if sequence > last {
            break;
        }
        let matches = match &feed.filter {
            Filter::Whole => true,
            Filter::Some(matches) => matches.has(subject),
        };
        if matches {
            if total >= credit || open.is_none() && stretches.len() >= most {
                stretches.extend(open.take());
                return Some(sequence);
            }
            total += len as u64;
            match &mut open {
                Some(stretch) => {
                    stretch.len += len as u32;
                    stretch.records += 1;
                }
                None => {
                    open = Some(Stretch {
                        offset: offset as u32,
                        len: len as u32,
                        records: 1,
                        first: sequence,
                    });
                }
            }
        } else {
            stretches.extend(open.take());
        }
        sequence += 1;
        offset += len;
    }
    stretches.extend(open.take());
    None
}

/// Whether the record at the start of `bytes` is data, its subject and its length. The log wrote or verified it.
#[inline]
fn head(bytes: &[u8]) -> Option<(bool, u32, usize)> {
    let prefix = bytes.get(..PREFIX_BYTES)?;
    let word = |at: usize| {
        u32::from_le_bytes([prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]])
    };
    Some((
        prefix[5] == Kind::Data as u8,
        word(32),
        record_bytes(word(24)),
    ))
}

/// Tells a member that records will not come.
fn lost<O: Out>(
    feed: &mut Feed,
    stream: &Stream,
    hand: &mut Hand<'_, O>,
    (first, mut last): (u64, u64),
    why: Loss,
    again: bool,
) {
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
    hand.gap(first, last, reason);
}

/// Puts a feed into the queue unless it is there or waits for a read.
pub(crate) fn wake(feeds: &mut Slab<Feed>, ready: &mut VecDeque<Key>, key: Key) {
    if let Some(feed) = feeds.at_mut(key)
        && !matches!(feed.state, FeedState::Ready | FeedState::Reading)
    {
        feed.state = FeedState::Ready;
        ready.push_back(key);
    }
}

/// The same for one that waits for a member to be able to take something.
pub(crate) fn wake_parked(feeds: &mut Slab<Feed>, ready: &mut VecDeque<Key>, key: Key) {
    if feeds
        .at(key)
        .is_some_and(|feed| feed.state == FeedState::Parked)
    {
        wake(feeds, ready, key);
    }
}
