//! One step: somebody does something, or something goes wrong.

use trunkline_log::Request;

use super::World;
use crate::client::{Client, Desk, Role};
use crate::clock::SECOND;
use crate::faults::Fault;
use crate::invariant::{Invariant, Violation};
use crate::net::Link;

impl World {
    /// Does one thing that chance chooses.
    pub(super) fn step(&mut self) -> Result<(), Violation> {
        self.stats.steps += 1;
        self.clock.suffer(&mut self.faults);
        let now = self.clock.now();
        if self.faults.would_strike(Fault::Kill) {
            if self.process.is_some() {
                self.faults.count(Fault::Kill);
            }
            self.crash(false);
        }
        // The moments at which names are not certain are few and short.
        let delicate = self.drive.has_unsynced_names()
            && self.rng.below(12) == 0
            && self.faults.is_on(Fault::PowerLoss);
        if delicate {
            self.faults.count(Fault::PowerLoss);
        }
        if delicate || self.faults.strikes(Fault::PowerLoss) {
            self.crash(true);
        }
        if self.faults.strikes(Fault::Freeze) {
            self.stopped_until_ns = now.mono_ns + self.faults.below(Fault::Freeze, 20 * SECOND);
        }
        // A stream that has no file yet needs its first segment to be one.
        if self.process.is_some() && self.faults.strikes(Fault::DiskFull) {
            self.drive.fill_up();
            let steps = self.faults.below(Fault::DiskFull, 4000);
            self.room_comes_at_step = self.stats.steps + steps;
        }
        // Often nobody comes to make room before the end.
        if self.stats.steps == self.room_comes_at_step {
            self.drive.make_room();
        }
        if self.faults.strikes(Fault::StandStill) {
            let steps = self.faults.below(Fault::StandStill, 800);
            self.disk_resumes_at_step = self.stats.steps + steps;
        }
        if self.faults.strikes(Fault::Surge) {
            let steps = self.faults.below(Fault::Surge, 400);
            self.surge_ends_at_step = self.stats.steps + steps;
        }
        if self.process.is_none() && self.rng.below(5) == 0 {
            self.start()?;
        }
        self.try_second_process()?;
        if self.rng.below(120) == 0 {
            let power = self.rng.below(3) > 0;
            self.try_crash(power, Invariant::Durability)?;
        }
        self.try_damage()?;
        match self.rng.below(100) {
            0..=14 => self.a_client_acts(),
            15..=36 => self.a_client_talks()?,
            37..=54 => self.a_connection_is_heard()?,
            55..=68 => self.a_connection_is_answered()?,
            69..=80 => self.turn()?,
            81..=94 if self.stats.steps < self.disk_resumes_at_step => {
                self.everybody_presses_on()?;
            }
            81..=94 if self.stats.steps < self.surge_ends_at_step => {
                for _ in 0..4 {
                    self.everybody_presses_on()?;
                    while self.disk_works()? {}
                }
            }
            81..=94 => {
                for _ in 0..1 + self.rng.below(6) {
                    self.disk_works()?;
                }
            }
            95..=96 => self.sweep()?,
            _ => self.time_passes(),
        }
        self.clock.advance(self.rng.below(50_000));
        Ok(())
    }

    /// Clients send as much as they may: what is not written, or not delivered, must be kept somewhere or left with them.
    fn everybody_presses_on(&mut self) -> Result<(), Violation> {
        for nth in 0..self.clients.len() {
            self.client_acts(nth);
            self.client_talks(nth, 64 << 10)?;
            if let Some(number) = self.clients[nth].link
                && self.is_running()
            {
                self.connection_is_heard(number, 64 << 10)?;
                if matches!(self.clients[nth].role, Role::Publisher(_)) {
                    self.connection_is_answered(number, 64 << 10);
                }
            }
        }
        self.turn()
    }

    fn is_running(&self) -> bool {
        self.process.is_some() && self.clock.now().mono_ns >= self.stopped_until_ns
    }

    fn a_client_acts(&mut self) {
        let nth = self.rng.below(self.clients.len() as u64) as usize;
        self.client_acts(nth);
    }

    pub(super) fn client_acts(&mut self, nth: usize) {
        let now_ns = self.clock.now().mono_ns;
        match self.clients[nth].link {
            Some(number) => {
                if self.faults.strikes(Fault::Vanish) {
                    // Whoever is gone does not say so.
                    if let Some(link) = self.links.get_mut(&number) {
                        link.go_silent(true);
                    }
                    self.with_client(nth, |client, desk| client.disconnected(desk));
                    return;
                }
                self.with_client(nth, |client, desk| client.act(desk));
            }
            None if self.process.is_some() && now_ns >= self.clients[nth].connects_at_ns => {
                let number = self.next_link;
                self.next_link += 1;
                let capacity = 4096 << self.rng.below(5);
                self.links.insert(number, Link::new(self.epoch, capacity));
                let now = self.clock.now();
                if let Some(process) = &mut self.process {
                    process.accept(number, now);
                }
                self.trace
                    .event(now_ns, "connect", &[nth as u64, u64::from(number)]);
                self.with_client(nth, |client, desk| client.connected(number, desk));
            }
            None => {}
        }
    }

    fn a_client_talks(&mut self) -> Result<(), Violation> {
        let nth = self.rng.below(self.clients.len() as u64) as usize;
        let Some(number) = self.clients[nth].link else {
            return Ok(());
        };
        if let Some(link) = self.links.get_mut(&number) {
            let now_ns = self.clock.now().mono_ns;
            link.suffer(now_ns, &mut self.faults);
            if link.tampered {
                self.ledger.tampered(number);
            }
        }
        let most = 1 + self.rng.below(16 << 10) as usize;
        self.client_talks(nth, most).map(drop)
    }

    /// A client sends and hears. Whether anything happened.
    pub(super) fn client_talks(&mut self, nth: usize, most: usize) -> Result<bool, Violation> {
        let Some(number) = self.clients[nth].link else {
            return Ok(false);
        };
        let Some(mut link) = self.links.remove(&number) else {
            self.with_client(nth, |client, desk| client.disconnected(desk));
            return Ok(true);
        };
        let said = self.clients[nth].say(&mut link);
        let heard = self.with_client(nth, |client, desk| client.hear(&mut link, most, desk));
        let (heard, over) = heard?;
        if over {
            link.up.finish();
            self.with_client(nth, |client, desk| client.disconnected(desk));
        }
        self.links.insert(number, link);
        self.prune();
        Ok(said || heard)
    }

    fn a_connection_is_heard(&mut self) -> Result<(), Violation> {
        let Some(number) = self.a_connection() else {
            return Ok(());
        };
        let most = 1 + self.rng.below(8 << 10) as usize;
        self.connection_is_heard(number, most).map(drop)
    }

    pub(super) fn connection_is_heard(
        &mut self,
        number: u32,
        most: usize,
    ) -> Result<bool, Violation> {
        let now = self.clock.now();
        let (Some(process), Some(link)) = (&mut self.process, self.links.get_mut(&number)) else {
            return Ok(false);
        };
        let heard = process.hear(number, link, most, now);
        self.observe()?;
        self.prune();
        Ok(heard)
    }

    fn a_connection_is_answered(&mut self) -> Result<(), Violation> {
        let Some(number) = self.a_connection() else {
            return Ok(());
        };
        let most = 1 + self.rng.below(16 << 10) as usize;
        let held_up = self.stats.steps < self.surge_ends_at_step
            && self.clients.iter().any(|client| {
                client.link == Some(number) && matches!(client.role, Role::Subscriber(_))
            });
        if !held_up {
            self.connection_is_answered(number, most);
        }
        Ok(())
    }

    pub(super) fn connection_is_answered(&mut self, number: u32, most: usize) -> bool {
        let now = self.clock.now();
        let (Some(process), Some(link)) = (&mut self.process, self.links.get_mut(&number)) else {
            return false;
        };
        let said = process.say(number, link, most, now);
        self.prune();
        said
    }

    /// One of the server's connections, while the server runs.
    fn a_connection(&mut self) -> Option<u32> {
        if !self.is_running() {
            return None;
        }
        let links = self.process.as_ref()?.links();
        if links.is_empty() {
            return None;
        }
        Some(links[self.rng.below(links.len() as u64) as usize])
    }

    /// A turn of the server. How much it did, and when the next is due.
    pub(super) fn turn(&mut self) -> Result<(), Violation> {
        if !self.is_running() {
            return Ok(());
        }
        let now = self.clock.now();
        if let Some(process) = &mut self.process {
            let turn = process.turn(now);
            self.trace.event(now.mono_ns, "turn", &[turn.work as u64]);
            let bounds = process.check_bounds();
            self.checks.result(Invariant::Memory, bounds)?;
        }
        self.observe()
    }

    /// The disk goes on with one request. Whether it had one.
    pub(super) fn disk_works(&mut self) -> Result<bool, Violation> {
        let now = self.clock.now();
        let Some(process) = &mut self.process else {
            return Ok(false);
        };
        let requests = &mut process.requests;
        let Some(nth) = requests.pick(&mut self.faults, &mut self.rng, now.mono_ns) else {
            return Ok(false);
        };
        let (log, request) = requests.wants(nth);
        let bytes = match request {
            Request::Write { position, len, .. } => process
                .shard
                .log(log)
                .map_or(&[][..], |log| log.bytes(position, len)),
            _ => &[],
        };
        let (what, numbers) = describe(&request);
        self.trace.event(now.mono_ns, what, &numbers);
        let answer =
            process
                .requests
                .advance(nth, bytes, &mut self.drive, &mut self.faults, now.mono_ns);
        let Some(answer) = answer else {
            return Ok(true);
        };
        let number = log.0 as usize;
        self.trace.event(
            now.mono_ns,
            "answer",
            &[
                number as u64,
                answer.token.0,
                answer.result.map_or(u64::MAX, u64::from),
            ],
        );
        self.models[number].stored_void |= answer.dropped_writes;
        self.misreads[number] += u64::from(answer.misread);
        // Answers are heard when the process runs again.
        process.answer(answer, now);
        self.observe()?;
        Ok(true)
    }

    pub(super) fn sweep(&mut self) -> Result<(), Violation> {
        if self.is_running() {
            let now = self.clock.now();
            if let Some(process) = &mut self.process {
                process.sweep(now);
            }
            self.prune();
        }
        Ok(())
    }

    fn time_passes(&mut self) {
        let ns = match self.rng.below(12) {
            0..=4 => self.rng.below(3_000_000),
            5..=9 => self.rng.below(300_000_000),
            _ => self.rng.below(12 * SECOND),
        };
        self.clock.advance(ns);
    }

    /// Connections that only one side knows of end; those that nobody knows of are forgotten.
    fn prune(&mut self) {
        let known = self.process.as_ref();
        let clients = &self.clients;
        self.links.retain(|number, link| {
            let served = known.is_some_and(|process| process.serves(*number));
            if !served {
                link.server_left();
            }
            served || clients.iter().any(|client| client.link == Some(*number))
        });
    }

    /// Lets a client do something with what it sees of the world.
    fn with_client<T>(
        &mut self,
        nth: usize,
        act: impl FnOnce(&mut Client, &mut Desk<'_>) -> T,
    ) -> T {
        let mut desk = Desk {
            ledger: &mut self.ledger,
            models: &mut self.models,
            faults: &mut self.faults,
            rng: &mut self.rng,
            checks: &mut self.checks,
            trace: &mut self.trace,
            now_ns: self.clock.now().mono_ns,
            epoch: self.epoch,
            misreads: &self.misreads,
        };
        act(&mut self.clients[nth], &mut desk)
    }
}

/// A request as an event.
fn describe(request: &Request) -> (&'static str, [u64; 3]) {
    match *request {
        Request::Write {
            position,
            len,
            sync,
            ..
        } => {
            let what = if sync { "synced write" } else { "write" };
            (what, [position, len.into(), 0])
        }
        Request::Sync { segment } => ("sync", [segment, 0, 0]),
        Request::Read {
            segment,
            offset,
            len,
        } => ("read", [segment, offset, len.into()]),
        Request::Prepare { segment, bytes } => ("prepare", [segment, bytes, 0]),
        Request::Remove { segment } => ("remove", [segment, 0, 0]),
    }
}
