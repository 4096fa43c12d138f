//! Records as they come, for one thread to take.

use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkline_wire::{Confirm, Gap, Kind, RawRecord};

use super::queue::{self, Entry, Log, Queue};
use super::shared::Shared;
use crate::connection::{damaged, out_of_order, undefined};
use crate::error::Error;
use crate::message::{Message, OwnedMessage};
use crate::names::Names;
use crate::subscription::Subscription;

/// What a subscription gives.
#[derive(Clone, Copy, Debug)]
pub enum Delivery<'a> {
    /// A record.
    Message(Message<'a>),
    /// Records of a stream will not come.
    Gap {
        /// The stream.
        stream: &'a str,
        /// Which, and why.
        gap: Gap,
    },
}

/// The records of a subscription, in the order of their streams. Credit is given as records are taken, so a subscriber that is slow is
/// sent no more than it asked for. Dropped, it unsubscribes.
///
/// It is an iterator over copies; [`next_timeout`](Self::next_timeout) and [`next_delivery`](Self::next_delivery) lend
/// records where they lie, and allocate nothing.
#[derive(Debug)]
pub struct Subscriber {
    shared: Arc<Shared>,
    id: u64,
    queue: Arc<Queue>,
    /// What was taken from the queue; `at` is where the next entry starts.
    bytes: Vec<u8>,
    at: usize,
    /// The rest of the run that is being gone through.
    run: std::ops::Range<usize>,
    run_channel: usize,
    channels: Vec<Channel>,
    streams: Vec<Stream>,
    grant_bytes: u64,
    in_group: bool,
    has_cursor: bool,
    missed: u64,
}

#[derive(Debug)]
struct Channel {
    number: u16,
    generation: u64,
    stream: usize,
    names: Names,
    /// Bytes that were taken since credit was given.
    used: u64,
}

#[derive(Debug)]
struct Stream {
    name: Box<str>,
    /// Records before it were given out.
    next: u64,
    /// What was behind the name when its newest channel was opened.
    log: Log,
}

/// Where in `bytes` something was found that is to be given out.
enum Found {
    Record {
        channel: usize,
        range: std::ops::Range<usize>,
    },
    Gap {
        stream: usize,
        gap: Gap,
    },
}

impl Subscriber {
    pub(super) fn new(
        shared: Arc<Shared>,
        id: u64,
        queue: Arc<Queue>,
        subscription: &Subscription,
    ) -> Self {
        Self {
            shared,
            id,
            queue,
            bytes: Vec::new(),
            at: 0,
            run: 0..0,
            run_channel: 0,
            channels: Vec::new(),
            streams: Vec::new(),
            grant_bytes: (subscription.credit_bytes / 2).max(1),
            in_group: !subscription.group.is_empty(),
            has_cursor: !subscription.cursor.is_empty(),
            missed: 0,
        }
    }

    /// Records that will not come, as far as was told.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// The next record, or `None` when none came in time, or when the client is closed.
    ///
    /// # Errors
    /// A record that came is damaged, or came after a later one; the next call goes on behind it. [`Error::Refused`] when the server has ended
    /// the subscription: another one took its durable cursor over (code 17), or it was refused after a reconnect. That is told once, behind all
    /// that came before; after it there is nothing but `None`.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Message<'_>>, Error> {
        self.next_message(Some(timeout))
    }

    /// The next record, however long it takes; `None` when the client is closed.
    ///
    /// # Errors
    /// As [`next_timeout`](Self::next_timeout).
    pub fn next_message(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Option<Message<'_>>, Error> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            match self.find(deadline)? {
                None => return Ok(None),
                Some(Found::Gap { .. }) => {}
                Some(Found::Record { channel, range }) => {
                    return self.message(channel, range).map(Some);
                }
            }
        }
    }

    /// The next record or gap, or `None` when none came in time, or when the client is closed.
    ///
    /// # Errors
    /// As [`next_timeout`](Self::next_timeout).
    pub fn next_delivery(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Option<Delivery<'_>>, Error> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Ok(match self.find(deadline)? {
            None => None,
            Some(Found::Gap { stream, gap }) => Some(Delivery::Gap {
                stream: &self.streams[stream].name,
                gap,
            }),
            Some(Found::Record { channel, range }) => {
                Some(Delivery::Message(self.message(channel, range)?))
            }
        })
    }

    /// Says that everything of a stream up to `last` is processed. For subscriptions with explicit confirms.
    pub fn confirm(&self, stream: &str, last: u64) {
        self.confirm_range(stream, 0, last);
    }

    /// Says that these records of a stream are processed.
    pub fn confirm_range(&self, stream: &str, first: u64, last: u64) {
        // The newest channel of the stream; on an older connection's it would mean nothing.
        let channel = self
            .channels
            .iter()
            .rev()
            .find(|channel| *self.streams[channel.stream].name == *stream);
        if let Some(channel) = channel {
            let confirm = Confirm { first, last };
            self.shared
                .confirm(self.id, channel.generation, channel.number, &confirm);
        }
    }

    /// Goes forward to what is to be given out next.
    fn find(&mut self, deadline: Option<Instant>) -> Result<Option<Found>, Error> {
        loop {
            while !self.run.is_empty() {
                if let Some(found) = self.next_of_run()? {
                    return Ok(Some(found));
                }
            }
            if self.at == self.bytes.len() {
                if !self.refill(deadline)? {
                    return Ok(None);
                }
                self.at = 0;
            }
            let Some((entry, len)) = queue::read(&self.bytes[self.at..]) else {
                unreachable!("the queue holds what was written")
            };
            let end = self.at + len;
            self.at = end;
            match entry {
                Entry::Run { channel, records } => {
                    self.run = end - records.len()..end;
                    // The newest: numbers are given anew on each connection.
                    match self
                        .channels
                        .iter()
                        .rposition(|known| known.number == channel)
                    {
                        Some(index) => {
                            self.run_channel = index;
                            self.channels[index].used += records.len() as u64;
                        }
                        None => self.run = end..end,
                    }
                }
                Entry::Opened {
                    generation,
                    channel,
                    next,
                    stream,
                    log,
                } => {
                    let stream = match self.streams.iter().position(|known| *known.name == *stream)
                    {
                        Some(index) => index,
                        None => {
                            self.streams.push(Stream {
                                name: stream.into(),
                                next: 0,
                                log,
                            });
                            self.streams.len() - 1
                        }
                    };
                    self.streams[stream].reopen(log, next, self.has_cursor);
                    self.channels
                        .retain(|known| known.generation == generation && known.number != channel);
                    let names = Names::default();
                    self.channels.push(Channel {
                        number: channel,
                        generation,
                        stream,
                        names,
                        used: 0,
                    });
                }
                Entry::Gap {
                    channel,
                    first,
                    last,
                    reason,
                } => {
                    self.missed += last - first + 1;
                    if let Some(channel) =
                        self.channels.iter().rfind(|known| known.number == channel)
                    {
                        let gap = Gap {
                            first,
                            last,
                            reason,
                        };
                        return Ok(Some(Found::Gap {
                            stream: channel.stream,
                            gap,
                        }));
                    }
                }
                Entry::Call { .. } => {}
            }
        }
    }

    /// The next record of the run, if it is one to be given out.
    #[inline]
    fn next_of_run(&mut self) -> Result<Option<Found>, Error> {
        let start = self.run.start;
        let Ok(Some(raw)) = RawRecord::peek(&self.bytes[self.run.clone()], u32::MAX) else {
            unreachable!("the session has checked the framing")
        };
        self.run.start += raw.len();
        let channel = &mut self.channels[self.run_channel];
        let mut found = Ok(None);
        match raw.kind() {
            Kind::Data => {
                let stream = &mut self.streams[channel.stream];
                if self.in_group || raw.sequence() >= stream.next {
                    stream.next = raw.sequence() + 1;
                    found = Ok(Some(Found::Record {
                        channel: self.run_channel,
                        range: start..self.run.start,
                    }));
                } else if !self.has_cursor {
                    // Only a cursor may, after a reconnect, start before what was given out already.
                    found = Err(out_of_order(&stream.name, raw.sequence(), stream.next - 1));
                }
            }
            Kind::Definition => {
                raw.verify().map_err(damaged)?;
                if !channel.names.define(&raw) {
                    return Err(undefined());
                }
            }
            _ => {}
        }
        if self.run.is_empty() && channel.used >= self.grant_bytes {
            let used = std::mem::take(&mut channel.used);
            self.shared
                .credit(self.id, channel.generation, channel.number, used);
        }
        found
    }

    #[inline]
    fn message(&self, channel: usize, range: std::ops::Range<usize>) -> Result<Message<'_>, Error> {
        let Ok(Some(raw)) = RawRecord::peek(&self.bytes[range], u32::MAX) else {
            unreachable!("it was found")
        };
        let record = raw.verify().map_err(damaged)?;
        let channel = &self.channels[channel];
        let subject = channel.names.name(raw.subject_id()).ok_or_else(undefined)?;
        Ok(Message {
            stream: &self.streams[channel.stream].name,
            subject,
            record,
        })
    }

    #[cold]
    #[inline(never)]
    fn refill(&mut self, deadline: Option<Instant>) -> Result<bool, Error> {
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let strategy = self.shared.options.idle.strategy();
        self.at = 0;
        match self.queue.exchange(&mut self.bytes, strategy, timeout) {
            Some(true) => Ok(true),
            Some(false) => self.queue.take_failure().map_or(Ok(false), Err),
            None => Ok(false),
        }
    }
}

impl Stream {
    /// A channel was opened on it that starts with `next`. Records that were given out are left out from now on only as far as
    /// they are the same ones.
    fn reopen(&mut self, log: Log, next: u64, has_cursor: bool) {
        let another = log.epoch == self.log.epoch && log.number != self.log.number;
        self.next = if another || !has_cursor {
            // Another stream under the same name, or one that has lost what was given out: numbers that were seen come again.
            self.next.min(next)
        } else {
            // A cursor starts before what was given out and not confirmed. What is behind the end was lost, and is not what it was.
            self.next.min(log.last.saturating_add(1))
        };
        self.log = log;
    }
}

impl Iterator for Subscriber {
    type Item = Result<OwnedMessage, Error>;

    /// The next record, however long it takes; `None` when the client is closed.
    fn next(&mut self) -> Option<Self::Item> {
        self.next_message(None)
            .map(|message| message.map(|message| message.to_owned()))
            .transpose()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.shared.unsubscribe(self.id);
    }
}
