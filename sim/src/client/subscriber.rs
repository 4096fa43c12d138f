//! A client that subscribes, and checks that it gets exactly what it asked for.

use std::collections::BTreeMap;

use trunkline_wire::{
    Credit, Event, Gap, GapReason, Kind, Policy, Positions, Record, Run, Start, Subscribe,
    SubscribeFlags, Subscribed,
};

use super::{Desk, Next, control};
use crate::faults::Fault;
use crate::invariant::{Invariant, Violation};
use crate::model::StreamModel;
use crate::net::Link;

/// What a subscriber knows of its connection.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pattern: &'static str,
    policy: Policy,
    start: Start,
    window_bytes: u64,
    channels: BTreeMap<u16, Channel>,
    /// It grants no credit until then.
    stingy_until_ns: u64,
    /// Records that it got over all connections.
    pub received: u64,
}

/// A channel and what it was told so far.
#[derive(Debug)]
struct Channel {
    /// The stream's number.
    stream: usize,
    /// Everything before was delivered, told as a gap, or does not match.
    next: u64,
    /// Older records were not asked for.
    not_before_ns: u64,
    /// The first record of the time that was asked for may still be looked for: what is removed meanwhile is as if it had been
    /// removed before the subscription.
    seeking: bool,
    /// Bytes that came since credit was given.
    used: u64,
    names: BTreeMap<u32, String>,
}

impl Subscriber {
    /// One that subscribes to a pattern.
    pub(crate) fn new(pattern: &'static str) -> Self {
        Self {
            pattern,
            policy: Policy::Block,
            start: Start::New,
            window_bytes: 16 << 10,
            channels: BTreeMap::new(),
            stingy_until_ns: 0,
            received: 0,
        }
    }

    /// Chooses what to ask for, and asks.
    pub(super) fn connected(&mut self, out: &mut Vec<u8>, desk: &mut Desk<'_>) {
        self.channels.clear();
        let rng = &mut *desk.rng;
        self.policy = match rng.below(5) {
            0 => Policy::Block,
            1 => Policy::DropNewest,
            2 => Policy::DropOldest,
            3 => Policy::Disconnect,
            _ => Policy::Spill,
        };
        let model = &desk.models[rng.below(desk.models.len() as u64) as usize];
        let some = 1 + rng.below(model.next());
        self.start = match rng.below(6) {
            0 => Start::New,
            1 => Start::First,
            2 => Start::Last,
            3 => Start::Sequence(some),
            4 => Start::Time(model.get(some).map_or(0, |entry| entry.timestamp_ns)),
            _ => Start::Sequence(model.next().saturating_sub(rng.below(20))),
        };
        self.window_bytes = 1 << (10 + rng.below(7));
        let subscribe = Subscribe {
            subscription: 1,
            start: self.start,
            policy: self.policy,
            flags: SubscribeFlags::empty(),
            credit_bytes: self.window_bytes,
            pattern: self.pattern,
            group: "",
            cursor: "",
            stream: "",
            positions: Positions::NONE,
        };
        control(out, &subscribe, 1);
        desk.trace.event(
            desk.now_ns,
            "subscribe",
            &[self.policy as u64, some, self.window_bytes],
        );
    }

    pub(super) fn disconnected(&mut self) {
        self.channels.clear();
    }

    pub(super) fn act(&mut self, out: &mut Vec<u8>, desk: &mut Desk<'_>) {
        if desk.faults.strikes(Fault::SlowReader) {
            let ns = desk.faults.below(Fault::SlowReader, 5_000_000_000);
            self.stingy_until_ns = desk.now_ns + ns;
        }
        if desk.faults.is_calm() {
            self.stingy_until_ns = 0;
        }
        if desk.now_ns < self.stingy_until_ns {
            return;
        }
        for (number, channel) in &mut self.channels {
            if channel.used > self.window_bytes / 2 {
                control(
                    out,
                    &Credit {
                        bytes: channel.used,
                    },
                    *number,
                );
                channel.used = 0;
            }
        }
    }

    pub(super) fn on_event(
        &mut self,
        event: &Event<'_>,
        link: &Link,
        _out: &mut Vec<u8>,
        desk: &mut Desk<'_>,
    ) -> Result<Next, Violation> {
        match event {
            Event::Records { frame, run, .. } => self.on_records(frame.sequence, *run, link, desk),
            Event::Subscribed(frame, subscribed) if !link.tampered => {
                self.on_subscribed(frame.sequence, subscribed, desk)
            }
            Event::Gap(frame, gap) if !link.tampered => {
                self.on_gap(frame.sequence, gap, link, desk)?;
                Ok(Next::Go)
            }
            // Too many channels, for one. It comes back.
            Event::Error(..) => Ok(Next::Leave),
            _ => Ok(Next::Go),
        }
    }

    fn on_subscribed(
        &mut self,
        number: u16,
        subscribed: &Subscribed<'_>,
        desk: &mut Desk<'_>,
    ) -> Result<Next, Violation> {
        let stream = desk
            .models
            .iter()
            .position(|model| model.name == subscribed.name);
        let known = self.channels.contains_key(&number);
        desk.checks
            .check(Invariant::Delivery, stream.is_some() && !known, || {
                format!("{subscribed:?} on channel {number}")
            })?;
        let (next, not_before_ns) = match self.start {
            // What is gone of it is told as a gap, from where it was asked for.
            Start::Sequence(sequence) => (sequence.min(subscribed.next), 0),
            Start::First => (subscribed.first, 0),
            Start::Time(ns) => (subscribed.next, ns),
            _ => (subscribed.next, 0),
        };
        let channel = Channel {
            stream: stream.unwrap_or(0),
            next,
            not_before_ns,
            seeking: not_before_ns > 0,
            used: 0,
            names: BTreeMap::new(),
        };
        self.channels.insert(number, channel);
        Ok(Next::Go)
    }

    fn on_records(
        &mut self,
        number: u16,
        run: Run<'_>,
        link: &Link,
        desk: &mut Desk<'_>,
    ) -> Result<Next, Violation> {
        for raw in run.records() {
            let (kind, subject_id) = (raw.kind(), raw.subject_id());
            let Ok(record) = raw.verify() else {
                desk.checks.check(Invariant::Delivery, link.tampered, || {
                    format!("a damaged record on channel {number}")
                })?;
                return Ok(Next::Leave);
            };
            if link.tampered {
                // The record's own checksum still holds for it.
                let known = kind != Kind::Data || desk.ledger.recognise(record.body()).is_some();
                desk.checks.check(Invariant::Phantom, known, || {
                    "a record was delivered that nobody sent".into()
                })?;
                continue;
            }
            let Some(channel) = self.channels.get_mut(&number) else {
                return desk
                    .checks
                    .check(Invariant::Delivery, false, || {
                        format!("records on channel {number}, which is not open")
                    })
                    .map(|()| Next::Go);
            };
            match kind {
                Kind::Definition => {
                    let name = String::from_utf8_lossy(record.body()).into_owned();
                    channel.names.insert(subject_id, name);
                }
                Kind::Data => {
                    let subject = channel.names.get(&subject_id).cloned();
                    on_record(
                        self.pattern,
                        channel,
                        &record,
                        subject.as_deref(),
                        link,
                        desk,
                    )?;
                    self.received += 1;
                }
                kind => desk.checks.check(Invariant::Delivery, false, || {
                    format!("a {kind:?} record on channel {number}")
                })?,
            }
        }
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.used += run.len() as u64;
        }
        Ok(Next::Go)
    }

    fn on_gap(
        &mut self,
        number: u16,
        gap: &Gap,
        link: &Link,
        desk: &mut Desk<'_>,
    ) -> Result<(), Violation> {
        let policy = self.policy;
        let Some(channel) = self.channels.get_mut(&number) else {
            return desk.checks.check(Invariant::Delivery, false, || {
                format!("{gap:?} on channel {number}, which is not open")
            });
        };
        let model = &desk.models[channel.stream];
        let allowed = match gap.reason {
            GapReason::Retention => link.epoch != desk.epoch || gap.last < model.first,
            GapReason::SlowConsumer => {
                matches!(policy, Policy::DropNewest | Policy::DropOldest) || model.is_volatile()
            }
            GapReason::Damaged => desk.misreads[channel.stream] > 0 || link.epoch != desk.epoch,
        };
        let first = model.first;
        desk.checks.check(Invariant::Delivery, allowed, || {
            format!("{gap:?} on a channel with {policy:?}; the stream starts at {first}")
        })?;
        let due = missing(self.pattern, channel, gap.first, link.epoch, desk.models);
        desk.checks.check(Invariant::Delivery, due.is_none(), || {
            format!("sequence {due:?} was left out before {gap:?}")
        })?;
        channel.next = channel.next.max(gap.last + 1);
        Ok(())
    }

    /// The first record that it should have by now and has not, in words.
    pub(crate) fn lacks(&self, models: &[StreamModel], epoch: u32) -> Option<String> {
        self.channels.values().find_map(|channel| {
            let model = &models[channel.stream];
            let due = missing(self.pattern, channel, model.next(), epoch, models)?;
            Some(format!(
                "sequence {due} of {} with {:?}",
                model.name, self.policy
            ))
        })
    }

    /// Whether its subscription was answered.
    pub(crate) fn is_subscribed(&self) -> bool {
        !self.channels.is_empty()
    }
}

fn on_record(
    pattern: &'static str,
    channel: &mut Channel,
    record: &Record<'_>,
    subject: Option<&str>,
    link: &Link,
    desk: &mut Desk<'_>,
) -> Result<(), Violation> {
    let sequence = record.sequence();
    let model = &desk.models[channel.stream];
    let name = model.name;
    let entry = model.get_in(sequence, link.epoch).copied();
    let recognised = desk.ledger.recognise(record.body());
    let same = entry.is_some_and(|entry| {
        recognised == Some(entry.id) && entry.timestamp_ns == record.timestamp_ns()
    });
    desk.checks.check(Invariant::Delivery, same, || {
        format!(
            "sequence {sequence} of {name} is delivered as record {recognised:?}, and is {entry:?}"
        )
    })?;
    let sent = recognised.and_then(|id| desk.ledger.get(id));
    let own = sent.map(|sent| sent.subject);
    let matches = own == subject && own.is_some_and(|own| pattern_matches(pattern, own));
    desk.checks.check(Invariant::Delivery, matches, || {
        format!(
            "sequence {sequence} of {name} has subject {own:?}, came as {subject:?} for {pattern}"
        )
    })?;
    let in_order = sequence >= channel.next && record.timestamp_ns() >= channel.not_before_ns;
    desk.checks.check(Invariant::Delivery, in_order, || {
        format!(
            "sequence {sequence} of {name} comes after {} or is too old",
            channel.next - 1
        )
    })?;
    let due = missing(pattern, channel, sequence, link.epoch, desk.models);
    desk.checks.check(Invariant::Delivery, due.is_none(), || {
        format!("sequence {due:?} of {name} was left out before {sequence}")
    })?;
    channel.next = sequence + 1;
    channel.seeking = false;
    let model = &mut desk.models[channel.stream];
    let promise = model.promise(model.visible, sequence, link.epoch);
    desk.checks.result(Invariant::Durability, promise)
}

/// The first record before `end` that the channel should have got.
fn missing(
    pattern: &str,
    channel: &Channel,
    end: u64,
    epoch: u32,
    models: &[StreamModel],
) -> Option<u64> {
    let model = &models[channel.stream];
    let next = if channel.seeking {
        channel.next.max(model.first)
    } else {
        channel.next
    };
    (next..end).find(|sequence| {
        model.get_in(*sequence, epoch).is_some_and(|entry| {
            entry.timestamp_ns >= channel.not_before_ns && pattern_matches(pattern, entry.subject)
        })
    })
}

/// Whether a pattern takes a subject: this world's own word for it.
fn pattern_matches(pattern: &str, subject: &str) -> bool {
    let mut words = subject.split('.');
    for token in pattern.split('.') {
        match (token, words.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (token, Some(word)) if token == word => {}
            _ => return false,
        }
    }
    words.next().is_none()
}
