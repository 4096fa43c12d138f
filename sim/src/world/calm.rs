//! The end of a run: nothing goes wrong any more. Everything must come to its end, and everything must be there.

use trunkline_log::{Log, State};

use super::World;
use crate::client::Role;
use crate::clock::SECOND;
use crate::invariant::{Invariant, Violation};
use crate::model::StreamModel;

impl World {
    pub(super) fn calm(&mut self) -> Result<(), Violation> {
        self.faults.calm_down();
        self.stopped_until_ns = 0;
        for client in &mut self.clients {
            client.wake();
        }
        for link in self.links.values_mut() {
            link.reset();
        }
        if self.process.is_none() {
            self.start()?;
        }
        self.stay_full()?;
        self.settle()?;
        let ages = |model: &StreamModel| {
            !model.is_volatile() && model.config.retention.age_ns_max.is_some()
        };
        if self.models.iter().any(ages) {
            self.grow_old(60 * SECOND, |_| true)?;
        }
        for power in [false, true] {
            self.crash(power);
            self.start()?;
            self.settle()?;
        }
        let kept = self.process.as_ref().map_or(0, |process| {
            process.shard.deliveries_in_flight() + process.buffers_kept()
        });
        self.checks.check(Invariant::Memory, kept == 0, || {
            format!("{kept} deliveries and buffers are kept when nothing is under way")
        })?;
        // A poisoned stream has said so; only a start ends it.
        Ok(())
    }

    /// A disk that is full stays so for a while. What is too old goes nevertheless, and gives the stream its room back, unless another one takes it.
    /// Then the operator makes room for the rest.
    fn stay_full(&mut self) -> Result<(), Violation> {
        if !self.drive.is_full() {
            return Ok(());
        }
        self.grow_old(60 * SECOND, |log| matches!(log.state(), State::NoSpace(_)))?;
        self.drive.make_room();
        Ok(())
    }

    /// Nobody sends anything for so long that all that was sent is too old, whatever the clocks did before: it must go, from the streams that are asked for.
    fn grow_old(&mut self, ns: u64, must: impl Fn(&Log) -> bool) -> Result<(), Violation> {
        let end_ns = self.clock.now().mono_ns + ns;
        while self.clock.now().mono_ns < end_ns {
            self.restart_poisoned()?;
            self.turn()?;
            while self.disk_works()? {}
            self.clock.advance(SECOND / 4);
        }
        for number in 0..self.models.len() {
            let model = &self.models[number];
            let log = self
                .process
                .as_ref()
                .and_then(|process| process.log(number as u32));
            let Some(log) = log.filter(|log| must(log)) else {
                continue;
            };
            if model.is_volatile() || model.config.retention.age_ns_max.is_none() {
                continue;
            }
            let active = (log.received().position - 1) / model.config.segment_bytes;
            let files = self.drive.segments_before(number as u32, active);
            self.checks.check(Invariant::Retention, files == 0, || {
                format!(
                    "{} is {:?} and has {files} old segments, although all of its records are too old",
                    model.name,
                    log.state()
                )
            })?;
        }
        Ok(())
    }

    /// Everybody goes on until nobody waits for anything.
    fn settle(&mut self) -> Result<(), Violation> {
        let limit_ns = self.clock.now().mono_ns + 60 * SECOND;
        for client in &mut self.clients {
            if let Role::Publisher(publisher) = &mut client.role {
                publisher.begin_last_words();
            }
        }
        loop {
            if self.restart_poisoned()? {
                continue;
            }
            let mut busy = false;
            for nth in 0..self.clients.len() {
                self.client_acts(nth);
                busy |= self.client_talks(nth, 64 << 10)?;
            }
            for number in self
                .process
                .as_ref()
                .map_or(Vec::new(), |process| process.links())
            {
                busy |= self.connection_is_heard(number, 64 << 10)?;
                busy |= self.connection_is_answered(number, 64 << 10);
            }
            self.turn()?;
            while self.disk_works()? {
                busy = true;
            }
            let waiting = self.who_waits();
            if waiting.is_none() && !busy {
                return Ok(());
            }
            self.sweep()?;
            self.clock
                .advance(if busy { 1_000_000 } else { 20_000_000 });
            let now_ns = self.clock.now().mono_ns;
            self.checks
                .check(Invariant::Liveness, now_ns < limit_ns, || {
                    format!(
                        "a minute after the last fault: {}",
                        waiting.unwrap_or_default()
                    )
                })?;
        }
    }

    /// A poisoned stream says so and stays so until the server is started again.
    fn restart_poisoned(&mut self) -> Result<bool, Violation> {
        let Some(process) = &self.process else {
            return Ok(false);
        };
        let poisoned = process
            .shard
            .streams()
            .iter()
            .any(|stream| matches!(stream.state, State::Poisoned(_)));
        if poisoned {
            self.crash(false);
            self.start()?;
        }
        Ok(poisoned)
    }

    /// Somebody who waits, in words.
    fn who_waits(&self) -> Option<String> {
        for (nth, client) in self.clients.iter().enumerate() {
            let waits = match &client.role {
                _ if client.link.is_none() => Some("is not connected".into()),
                Role::Publisher(publisher) if !publisher.is_settled() => Some(format!(
                    "{} records are not answered",
                    publisher.open_records()
                )),
                Role::Publisher(_) => None,
                Role::Subscriber(subscriber) if !subscriber.is_subscribed() => {
                    Some("is not subscribed".into())
                }
                Role::Subscriber(subscriber) => subscriber
                    .lacks(&self.models, self.epoch)
                    .map(|what| format!("lacks {what}")),
            };
            if let Some(waits) = waits {
                return Some(format!("client {nth}: {waits}"));
            }
        }
        let process = self.process.as_ref()?;
        if process.shard.is_synced() && process.requests.is_empty() {
            return None;
        }
        Some(format!(
            "{} requests are open, synced: {}",
            process.requests.len(),
            process.shard.is_synced()
        ))
    }
}
