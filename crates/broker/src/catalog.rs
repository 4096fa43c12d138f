//! Streams that come and go while a shard runs.

use std::cmp::Reverse;

use trunkline_log::Log;
use trunkline_wire::{AckLevel, ErrorBody, ErrorCode};

use crate::Now;
use crate::out::Out;
use crate::refusal::Refusal;
use crate::shard::Shard;
use crate::slab::Key;
use crate::stream::{Stream, StreamInfo, StreamPlan};
use crate::subscribe::{NAME_BYTES_MAX, captures};

impl Shard {
    /// A stream by its name.
    pub fn stream_info(&self, name: &str) -> Option<StreamInfo> {
        self.stream_key(name)
            .and_then(|key| self.streams.at(key))
            .map(|stream| self.info(stream))
    }

    /// All streams.
    pub fn streams(&self) -> Vec<StreamInfo> {
        let users = self.streams.iter().filter(|(_, stream)| !stream.internal);
        users.map(|(_, stream)| self.info(stream)).collect()
    }

    /// Takes in a stream. Live subscriptions whose patterns it matches get a channel.
    ///
    /// # Errors
    /// When there is one of this name or with this log's id, or one that captures the same subjects; the log comes back.
    #[allow(
        clippy::result_large_err,
        reason = "a rare command; the log must not be lost"
    )]
    pub fn add_stream(
        &mut self,
        plan: StreamPlan,
        log: Log,
        now: Now,
        out: &mut impl Out,
    ) -> Result<(), (Refusal, Log)> {
        if let Err(refusal) = self.check_stream(&plan, &log) {
            return Err((refusal, log));
        }
        let stream = Stream::new(plan, log, false);
        let key = self
            .insert_stream(stream)
            .map_err(|(refusal, stream)| (refusal, stream.log))?;
        let Some(stream) = self.streams.at(key) else {
            return Ok(());
        };
        for pattern in &stream.plan.patterns {
            self.routes.insert(pattern, key);
        }
        self.epoch = self.epoch.wrapping_add(1);
        self.cursors
            .clamp(&stream.plan.name, stream.log.received().sequence);
        let mut wanted = Vec::new();
        for (session, state) in self.sessions.iter() {
            let matching = state
                .subscriptions
                .iter()
                .filter(|subscription| captures(subscription, stream));
            wanted.extend(matching.map(|subscription| (session, subscription.clone())));
        }
        for (session, subscription) in wanted {
            let room = self.sessions.at(session).map_or(0, |state| {
                (self.config.limits.session_channels as usize).saturating_sub(state.channel_count())
            });
            if room == 0 || self.channels.is_full() || self.feeds.is_full() {
                let id = self.sessions.at(session).map(|state| state.id);
                if let Some(id) = id {
                    let message = "a new stream matches a subscription, but as many channels are open as may be";
                    out.refused(id, 0, &ErrorBody::new(ErrorCode::TOO_MANY, message));
                }
                continue;
            }
            self.open_channel(session, &subscription, key, now, out);
        }
        self.look_at(key);
        Ok(())
    }

    /// Takes in the log that durable cursors are kept in, before any session is opened. Without one, they are forgotten at the end.
    ///
    /// # Errors
    /// When there is one already, or a stream has this log's id; the log comes back.
    #[allow(
        clippy::result_large_err,
        reason = "a rare command; the log must not be lost"
    )]
    pub fn add_cursors(&mut self, log: Log) -> Result<(), (Refusal, Log)> {
        if self.cursors.stream != Key::NONE || self.by_log.contains_key(&log.id().0) {
            return Err((
                Refusal::new(
                    ErrorCode::EXISTS,
                    "there is a log of this id, or a log of cursors",
                ),
                log,
            ));
        }
        let plan = StreamPlan {
            name: "$sys.cursors".into(),
            patterns: Vec::new(),
            level: AckLevel::Stored,
            visible: AckLevel::Stored,
        };
        let key = self
            .insert_stream(Stream::new(plan, log, true))
            .map_err(|(refusal, stream)| (refusal, stream.log))?;
        if let Some(stream) = self.streams.at_mut(key) {
            self.cursors.load(key, &mut stream.log);
        }
        self.look_at(key);
        Ok(())
    }

    /// Gives a stream's log up. Its channels end, their sessions are told with Error 16; publishes that wait for it are refused; its durable
    /// cursors are forgotten. Bytes of its tail may still be on their way: keep the log's memory [pinned](Log::pin) until they are sent.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn remove_stream(
        &mut self,
        name: &str,
        now: Now,
        out: &mut impl Out,
    ) -> Result<Log, Refusal> {
        let missing = || Refusal::new(ErrorCode::NOT_FOUND, format!("there is no stream {name}"));
        let key = self.stream_key(name).ok_or_else(missing)?;
        let feeds = self
            .streams
            .at(key)
            .map(|stream| stream.feeds.clone())
            .unwrap_or_default();
        let message = format!("stream {name} was removed");
        for feed in feeds {
            let members = self
                .feeds
                .at(feed)
                .map(|feed| feed.members.clone())
                .unwrap_or_default();
            for member in members {
                if let Some(channel) = self.channels.at(member) {
                    out.refused(
                        channel.id,
                        0,
                        &ErrorBody::new(ErrorCode::NOT_FOUND, &message),
                    );
                }
                self.close_channel(member, now);
            }
        }
        for cursor in self.cursors.of_stream(name) {
            self.forget_cursor(cursor, now);
        }
        let stream = self.streams.remove(key).ok_or_else(missing)?;
        self.by_log.remove(&stream.log.id().0);
        for pattern in &stream.plan.patterns {
            self.routes.remove(pattern, |other| *other == key);
        }
        self.epoch = self.epoch.wrapping_add(1);
        for heap in &stream.waits {
            self.ack_ready
                .extend(heap.iter().map(|Reverse((_, session))| *session));
        }
        Ok(stream.log)
    }

    fn stream_key(&self, name: &str) -> Option<Key> {
        self.streams
            .iter()
            .find(|(_, stream)| !stream.internal && *stream.plan.name == *name)
            .map(|(key, _)| key)
    }

    fn info(&self, stream: &Stream) -> StreamInfo {
        let members = stream
            .feeds
            .iter()
            .filter_map(|feed| self.feeds.at(*feed))
            .map(|feed| feed.members.len());
        stream.info(
            members.sum::<usize>() as u32,
            self.cursors.count_of(&stream.plan.name),
        )
    }

    fn check_stream(&self, plan: &StreamPlan, log: &Log) -> Result<(), Refusal> {
        let name = &plan.name;
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
            let message = format!("a stream's name has 1 to {NAME_BYTES_MAX} printable bytes");
            return Err(Refusal::new(ErrorCode::MALFORMED, message));
        }
        if plan.patterns.is_empty() {
            return Err(Refusal::new(
                ErrorCode::MALFORMED,
                format!("stream {name} captures no subjects"),
            ));
        }
        if self.by_log.contains_key(&log.id().0) {
            return Err(Refusal::new(
                ErrorCode::EXISTS,
                format!("there is a log of id {}", log.id().0),
            ));
        }
        for (_, other) in self.streams.iter().filter(|(_, other)| !other.internal) {
            if other.plan.name == *name {
                return Err(Refusal::new(
                    ErrorCode::EXISTS,
                    format!("there is a stream {name}"),
                ));
            }
            for (ours, theirs) in plan
                .patterns
                .iter()
                .flat_map(|a| other.plan.patterns.iter().map(move |b| (a, b)))
            {
                if ours.overlaps(theirs) {
                    let message = format!(
                        "{ours} has subjects in common with {theirs}, which stream {} captures",
                        other.plan.name
                    );
                    return Err(Refusal::new(ErrorCode::EXISTS, message));
                }
            }
        }
        Ok(())
    }

    #[allow(clippy::result_large_err, reason = "the stream comes back")]
    fn insert_stream(&mut self, stream: Stream) -> Result<Key, (Refusal, Stream)> {
        let id = stream.log.id().0;
        match self.streams.insert(stream) {
            Ok(key) => {
                self.by_log.insert(id, key);
                Ok(key)
            }
            Err(stream) => Err((
                Refusal::new(
                    ErrorCode::TOO_MANY,
                    "there are as many streams as there may be",
                ),
                stream,
            )),
        }
    }
}

/// How the subjects start that belong to the server: it answers calls to them, and nobody publishes to them.
pub const SYSTEM_PREFIX: &str = "$sys.";
