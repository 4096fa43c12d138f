//! Subscriptions: who gets what, from where on.

use std::collections::HashMap;

use trunkline_log::{Cursor, Seek, Storage};
use trunkline_route::Pattern;
use trunkline_wire::{
    Body, ErrorBody, ErrorCode, FrameFlags, FrameHeader, GapReason, Opcode, Policy, Start,
    Subscribe, Subscribed,
};

use crate::Now;
use crate::channel::Channel;
use crate::feed::{Feed, FeedState, Filter, Matches, wake, wake_parked};
use crate::out::{Out, SessionId};
use crate::ranges::Ranges;
use crate::refusal::Refusal;
use crate::session::Subscription;
use crate::shard::Shard;
use crate::slab::Key;
use crate::stream::Stream;

impl Shard {
    /// Opens a channel for each stream of this shard that the pattern can match, and tells each with Subscribed. Returns how many:
    /// the owner adds those of all shards up and answers with an Ack.
    ///
    /// # Errors
    /// What is wrong; nothing was opened.
    pub fn subscribe(
        &mut self,
        session: SessionId,
        subscribe: &Subscribe<'_>,
        now: Now,
        out: &mut impl Out,
    ) -> Result<u32, Refusal> {
        let limits = self.config.limits;
        let key = self.session_key(session).ok_or_else(no_session)?;
        let subscription = parse(subscribe)?;
        if !self.is_ready() && !subscription.cursor.is_empty() {
            return Err(Refusal::new(
                ErrorCode::TOO_MANY,
                "durable cursors are still being read: try again",
            ));
        }
        let Some(state) = self.sessions.at_mut(key) else {
            return Err(no_session());
        };
        if state
            .subscriptions
            .iter()
            .any(|other| other.number == subscription.number)
        {
            return Err(Refusal::new(
                ErrorCode::EXISTS,
                "the session has a subscription of this number",
            ));
        }
        if state.subscriptions.len() >= limits.session_subscriptions as usize {
            return Err(Refusal::new(
                ErrorCode::TOO_MANY,
                "the session has as many subscriptions as it may",
            ));
        }
        if subscription.is_responder() {
            self.rpc
                .add_responder(key, session, subscription.number, &subscription.pattern)?;
            state.subscriptions.push(subscription);
            return Ok(0);
        }
        let streams: Vec<Key> = self
            .streams
            .iter()
            .filter(|(_, stream)| captures(&subscription, stream))
            .map(|(key, _)| key)
            .collect();
        let of_session = state.channel_count() + streams.len();
        let room = self.channels.room().min(self.feeds.room()) as usize;
        if of_session > self.session_channels_max() || streams.len() > room {
            return Err(Refusal::new(
                ErrorCode::TOO_MANY,
                "as many channels are open as may be",
            ));
        }
        if !subscription.cursor.is_empty() && streams.len() > self.cursors.room() {
            return Err(Refusal::new(
                ErrorCode::TOO_MANY,
                "there are as many durable cursors as there may be",
            ));
        }
        let Some(state) = self.sessions.at_mut(key) else {
            return Err(no_session());
        };
        state.subscriptions.push(subscription.clone());
        // The place in a stream that comes later is none that the client can know.
        let positions: HashMap<&str, u64> = match &*subscription.cursor {
            "" => subscribe.positions.iter().collect(),
            _ => HashMap::new(),
        };
        for stream in &streams {
            let name = self.streams.at(*stream).map(|stream| &*stream.plan.name);
            let next = name.and_then(|name| positions.get(name));
            let subscription = Subscription {
                start: next.map_or(subscription.start, |next| Start::Sequence(*next)),
                ..subscription.clone()
            };
            self.open_channel(key, &subscription, *stream, now, out);
        }
        Ok(streams.len() as u32)
    }

    /// Ends a subscription.
    ///
    /// # Errors
    /// When there is none of this number.
    pub fn unsubscribe(
        &mut self,
        session: SessionId,
        subscription: u16,
        now: Now,
        out: &mut impl Out,
    ) -> Result<(), Refusal> {
        let key = self.session_key(session).ok_or_else(no_session)?;
        let Some(state) = self.sessions.at_mut(key) else {
            return Err(no_session());
        };
        let Some(at) = state
            .subscriptions
            .iter()
            .position(|other| other.number == subscription)
        else {
            return Err(Refusal::new(ErrorCode::NOT_FOUND, "no such subscription"));
        };
        let removed = state.subscriptions.swap_remove(at);
        let channels = state.channels.clone();
        if removed.is_responder() {
            self.remove_responders(key, Some(subscription), out);
            return Ok(());
        }
        for channel in channels {
            if self
                .channels
                .at(channel)
                .is_some_and(|channel| channel.subscription == subscription)
            {
                self.close_channel(channel, now);
            }
        }
        Ok(())
    }

    /// Lets the channel have more bytes.
    ///
    /// # Errors
    /// When there is none of this number.
    pub fn credit(&mut self, session: SessionId, channel: u16, bytes: u64) -> Result<(), Refusal> {
        let key = self.channel_key(session, channel)?;
        if let Some(channel) = self.channels.at_mut(key) {
            channel.grant(bytes);
            wake_parked(&mut self.feeds, &mut self.ready, channel.feed);
        }
        Ok(())
    }

    /// Records of the channel are processed; `first` = 0: everything up to `last`.
    ///
    /// # Errors
    /// When there is none of this number.
    pub fn confirm(
        &mut self,
        session: SessionId,
        channel: u16,
        first: u64,
        last: u64,
        now: Now,
    ) -> Result<(), Refusal> {
        let key = self.channel_key(session, channel)?;
        if let Some(channel) = self
            .channels
            .at_mut(key)
            .filter(|channel| channel.tracks && channel.explicit)
        {
            channel.unconfirmed.remove(first, last);
            if let Some(feed) = self.feeds.at(channel.feed) {
                self.cursors.touch(feed.durable, now);
            }
            wake_parked(&mut self.feeds, &mut self.ready, channel.feed);
        }
        Ok(())
    }

    /// How many channels a session may have here: as many as have numbers.
    fn session_channels_max(&self) -> usize {
        let workers = usize::from(self.config.workers.max(1));
        (self.config.limits.session_channels as usize).min(65_536 / workers - 1)
    }

    fn channel_key(&self, session: SessionId, channel: u16) -> Result<Key, Refusal> {
        let workers = u16::from(self.config.workers.max(1));
        let ordinal = usize::from(channel / workers);
        self.session_key(session)
            .and_then(|key| self.sessions.at(key))
            .filter(|_| channel % workers == u16::from(self.config.worker))
            .and_then(|session| session.channels.get(ordinal))
            .filter(|key| **key != Key::NONE)
            .copied()
            .ok_or_else(|| Refusal::new(ErrorCode::NOT_FOUND, "no such channel"))
    }

    /// Opens a channel and tells so. There is room for it.
    pub(crate) fn open_channel(
        &mut self,
        session: Key,
        subscription: &Subscription,
        stream_key: Key,
        now: Now,
        out: &mut impl Out,
    ) {
        let durable = self.bind_cursor(subscription, stream_key, now, out);
        let Some(stream) = self.streams.at_mut(stream_key) else {
            return;
        };
        let joined = stream.feeds.iter().copied().find(|key| {
            !subscription.group.is_empty()
                && self.feeds.at(*key).is_some_and(|feed| {
                    feed.group == subscription.group
                        && feed.durable == durable
                        && feed.pattern == subscription.pattern
                })
        });
        let feed_key = match joined {
            Some(key) => key,
            None => {
                let confirmed = self.cursors.next(durable);
                let feed = new_feed(stream_key, stream, subscription, durable, confirmed);
                let Ok(key) = self.feeds.insert(feed) else {
                    return;
                };
                stream.feeds.push(key);
                stream.disconnecting += u32::from(subscription.policy == Policy::Disconnect);
                self.ready.push_back(key);
                self.cursors.set_feed(durable, key);
                key
            }
        };
        let Some(state) = self.sessions.at_mut(session) else {
            return;
        };
        let ordinal = state.free_ordinal();
        let workers = usize::from(self.config.workers.max(1));
        let number = (ordinal * workers + usize::from(self.config.worker)) as u16;
        let channel = Channel {
            session,
            id: state.id,
            number,
            subscription: subscription.number,
            feed: feed_key,
            credit: 0,
            definitions: 0,
            tracks: !subscription.group.is_empty() || durable != Key::NONE,
            explicit: subscription.is_explicit(),
            unconfirmed: Ranges::default(),
            hopeless: false,
        };
        let Ok(key) = self.channels.insert(channel) else {
            return;
        };
        state.set_channel(ordinal, key);
        if let Some(channel) = self.channels.at_mut(key) {
            channel.grant(subscription.credit_bytes);
        }
        let Some(feed) = self.feeds.at_mut(feed_key) else {
            return;
        };
        feed.members.push(key);
        if joined.is_none() && durable != Key::NONE {
            self.cursors.set_next(durable, feed.cursor.sequence());
            self.cursors.touch(durable, now);
        }
        let subscribed = Subscribed {
            subscription: subscription.number,
            stream: stream.log.id().0,
            next: feed.cursor.sequence(),
            first: stream.log.first().sequence,
            last: stream.visible.sequence.saturating_sub(1),
            name: &stream.plan.name,
        };
        let mut body = [0; 512];
        if let Ok(len) = subscribed.encode(&mut body) {
            let header = FrameHeader {
                opcode: Opcode::Subscribed,
                flags: FrameFlags::empty(),
                sequence: number,
                length: len as u32,
            };
            out.frame(state.id, header, &body[..len]);
        }
        wake_parked(&mut self.feeds, &mut self.ready, feed_key);
    }

    /// Ends a channel. What it had not confirmed goes to the other members of its group; a feed without members ends.
    pub(crate) fn close_channel(&mut self, key: Key, now: Now) {
        let Some(mut channel) = self.channels.remove(key) else {
            return;
        };
        let workers = u16::from(self.config.workers.max(1));
        if let Some(session) = self.sessions.at_mut(channel.session) {
            session.set_channel(usize::from(channel.number / workers), Key::NONE);
        }
        let Some(feed) = self.feeds.at_mut(channel.feed) else {
            return;
        };
        feed.members.retain(|member| *member != key);
        for (first, last) in channel.unconfirmed.iter() {
            feed.again.insert(first, last);
        }
        channel.unconfirmed.clear();
        self.cursors.touch(feed.durable, now);
        if !feed.members.is_empty() {
            // Also when it is idle: there may be something to deliver again.
            wake(&mut self.feeds, &mut self.ready, channel.feed);
            return;
        }
        self.remove_feed(channel.feed);
    }

    /// Ends a feed that has no members.
    pub(crate) fn remove_feed(&mut self, key: Key) {
        self.save_progress(key);
        let Some(mut feed) = self.feeds.remove(key) else {
            return;
        };
        self.cursors.set_feed(feed.durable, Key::NONE);
        if let Some(stream) = self.streams.at_mut(feed.stream) {
            feed.drop_hold(&mut stream.log);
            stream.feeds.retain(|other| *other != key);
            stream.idle.retain(|other| *other != key);
            stream.busy.retain(|other| *other != key);
            stream.disconnecting -= u32::from(feed.policy == Policy::Disconnect);
        }
    }

    /// The durable cursor of a subscription on a stream. A reader that has it, unless it is of the same group, loses it: the newest wins,
    /// so that a client that comes back does not wait for its old connection to be found dead.
    fn bind_cursor(
        &mut self,
        subscription: &Subscription,
        stream: Key,
        now: Now,
        out: &mut impl Out,
    ) -> Key {
        if subscription.cursor.is_empty() {
            return Key::NONE;
        }
        let Some(name) = self
            .streams
            .at(stream)
            .map(|stream| stream.plan.name.clone())
        else {
            return Key::NONE;
        };
        let durable = self.cursors.bind(&name, &subscription.cursor);
        let Some(feed) = self.feeds.at(self.cursors.feed(durable)) else {
            return durable;
        };
        let same_group = !subscription.group.is_empty()
            && feed.group == subscription.group
            && feed.pattern == subscription.pattern;
        if same_group {
            return durable;
        }
        for member in feed.members.clone() {
            if let Some(channel) = self.channels.at(member) {
                let error = ErrorBody {
                    // The frame answers nothing, so this is what names the subscription.
                    producer_sequence: channel.subscription.into(),
                    ..ErrorBody::new(
                        ErrorCode::EXISTS,
                        "another subscription took the durable cursor over",
                    )
                };
                out.refused(channel.id, 0, &error);
            }
            self.close_channel(member, now);
        }
        durable
    }
}

fn parse(subscribe: &Subscribe<'_>) -> Result<Subscription, Refusal> {
    let pattern = Pattern::new(subscribe.pattern).map_err(|error| {
        Refusal::new(
            ErrorCode::SUBJECT,
            format!("pattern {:?}: {error}", subscribe.pattern),
        )
    })?;
    for (what, name) in [
        ("group", subscribe.group),
        ("cursor", subscribe.cursor),
        ("stream", subscribe.stream),
    ] {
        if name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
            let message =
                format!("{what} has an illegal name: at most {NAME_BYTES_MAX} printable bytes");
            return Err(Refusal::new(ErrorCode::MALFORMED, message));
        }
    }
    if subscribe.start == Start::Cursor && subscribe.cursor.is_empty() {
        return Err(Refusal::new(
            ErrorCode::NOT_FOUND,
            "the start is a durable cursor, but none is named",
        ));
    }
    Ok(Subscription {
        number: subscribe.subscription,
        pattern,
        start: subscribe.start,
        policy: subscribe.policy,
        flags: subscribe.flags,
        credit_bytes: subscribe.credit_bytes,
        group: subscribe.group.into(),
        cursor: subscribe.cursor.into(),
        stream: subscribe.stream.into(),
    })
}

/// Whether the subscription may get records of the stream.
pub(crate) fn captures(subscription: &Subscription, stream: &Stream) -> bool {
    !stream.internal
        && !subscription.is_responder()
        && (subscription.stream.is_empty() || subscription.stream == stream.plan.name)
        && stream
            .plan
            .patterns
            .iter()
            .any(|pattern| pattern.overlaps(&subscription.pattern))
}

fn new_feed(
    key: Key,
    stream: &Stream,
    subscription: &Subscription,
    durable: Key,
    confirmed: Option<u64>,
) -> Feed {
    let whole = stream
        .plan
        .patterns
        .iter()
        .all(|pattern| subscription.pattern.contains(pattern));
    let (cursor, owed_gap) = start(stream, subscription.start, confirmed);
    Feed {
        stream: key,
        pattern: subscription.pattern.clone(),
        policy: subscription.policy,
        group: subscription.group.clone(),
        durable,
        members: Vec::new(),
        next_member: 0,
        cursor,
        state: FeedState::Ready,
        in_idle: false,
        live: false,
        filter: if whole {
            Filter::Whole
        } else {
            Filter::Some(Matches::default())
        },
        again: Ranges::default(),
        again_at: None,
        owed_gap,
        budget: None,
        hold: None,
        reading: None,
    }
}

/// Where a subscription starts, and which records it asked for that are gone.
fn start(
    stream: &Stream,
    start: Start,
    confirmed: Option<u64>,
) -> (Cursor, Option<(u64, u64, GapReason)>) {
    let log = &stream.log;
    let sequence = match start {
        Start::New => return (log.seek_end(), None),
        Start::First => return (log.seek_first(), None),
        Start::Time(ns) => return (log.seek_time(ns), None),
        Start::Last => stream
            .visible
            .sequence
            .saturating_sub(1)
            .max(log.first().sequence),
        Start::Sequence(sequence) => sequence,
        // A cursor that is new begins with what there is.
        Start::Cursor => match confirmed {
            Some(next) => next,
            None => return (log.seek_first(), None),
        },
    };
    match log.seek(sequence) {
        Seek::At(cursor) => (cursor, None),
        Seek::OutOfRange { first, .. } if sequence < first => {
            // Sequences start at 1: nothing is missing before.
            let gap = (sequence.max(1) < first)
                .then(|| (sequence.max(1), first - 1, GapReason::Retention));
            (log.seek_first(), gap)
        }
        Seek::OutOfRange { .. } => (log.seek_end(), None),
    }
}

pub(crate) fn no_session() -> Refusal {
    Refusal::new(ErrorCode::NOT_FOUND, "the session is not open")
}

/// Longest name of a group, a cursor or a stream.
pub(crate) const NAME_BYTES_MAX: usize = 255;

impl Stream {
    pub(crate) fn is_volatile(&self) -> bool {
        self.log.config().storage == Storage::Memory
    }
}
