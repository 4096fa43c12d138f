//! One kind of file system on devices whose power fails: servers live on it, and what is left of it is held against their clients'
//! ledgers.
//!
//! ```text
//!   new file system ─► a life: server, clients, recorded ─┬─► cut, check
//!                                                         ├─► cut, check
//!                                                         ├─► cut, a second life ─┬─► cut, check
//!                                                         …                       …
//! ```
//!
//! A second life begins with a recovery, so that its early cuts are losses of power while the server recovers.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use trunkline_client::AckLevel;

use super::device::{Cut, Drive, Image, Recording};
use super::volume::{FileSystem, Mounted};
use crate::arguments::Arguments;
use crate::ledger::{Ledger, Run};
use crate::load::{self, Work};
use crate::publisher::Publisher;
use crate::reader;
use crate::record::{STREAMS, configuration};
use crate::rng::Rng;
use crate::server::{Recipe, Server};
use crate::tally::PowerTally;
use crate::watcher::Seen;

/// A directory with a mount point, and what is done there.
#[derive(Debug)]
pub(crate) struct Site<'t> {
    pub(super) file_system: FileSystem,
    pub(super) directory: PathBuf,
    /// By io back-end, in turns.
    pub(super) recipes: Vec<Recipe>,
    pub(super) rng: Rng,
    pub(super) tally: &'t PowerTally,
    /// Another site has failed.
    pub(super) failed: &'t AtomicBool,
}

/// A server's life on a device, and what it promised to whom.
#[derive(Debug)]
struct Life {
    recording: Recording,
    /// What had to be there when it began.
    before: Ledger,
    /// So many flushes were done when its server had recovered and was read.
    recovered: u64,
    /// What was there then.
    found: Ledger,
    /// By client and stream: what was sent and acknowledged.
    runs: Vec<(u16, u16, Run)>,
    watched: Vec<Seen>,
    /// As they were in the end.
    publishers: Vec<Publisher>,
}

impl Life {
    /// What must be there when power fails after so many flushes.
    fn promised(&self, flushes: u64) -> Ledger {
        if flushes < self.recovered {
            return self.before.clone();
        }
        let mut ledger = self.found.clone();
        for (client, stream, run) in &self.runs {
            ledger.streams[usize::from(*stream)].add_run(*client, run.synced(flushes));
        }
        for seen in &self.watched {
            // Subscribers of the others see what is stored.
            if SYNCED.contains(&seen.id.stream) && seen.flushes <= flushes {
                ledger.streams[usize::from(seen.id.stream)].add_watched(seen.sequence, seen.id);
            }
        }
        ledger
    }

    /// So many losses of power, some of them before the server had recovered.
    fn draw(&self, count: u64, rng: &mut Rng) -> Vec<Cut> {
        self.recording.draw(count, self.recovered, rng)
    }

    fn promises(&self, flushes: u64) -> u64 {
        let runs = self.runs.iter();
        runs.map(|(_, _, run)| run.synced(flushes).acked).sum()
    }
}

impl<'t> Site<'t> {
    /// A site with the back-ends that the machine has.
    pub(crate) fn new(
        file_system: FileSystem,
        arguments: &Arguments,
        tally: &'t PowerTally,
        failed: &'t AtomicBool,
    ) -> Result<Self, String> {
        let name = file_system.name();
        let directory = arguments
            .directory
            .join(format!("power-{}-{name}", std::process::id()));
        let streams = STREAMS.iter().zip(SETTINGS);
        let config = configuration(streams.map(|((name, _), settings)| (*name, settings)));
        let mut recipes = Vec::new();
        for io in &arguments.io {
            let recipe = Recipe::new(&arguments.server, &directory, io, &config)?.dying_with_us();
            if recipe.has_back_end()? {
                recipes.push(recipe);
            } else {
                let io = io.to_uppercase();
                eprintln!("torture: {io} SKIPPED on {name}: this machine has none");
            }
        }
        if recipes.is_empty() {
            return Err("no io back-end can be used".into());
        }
        // What the trial left lies where file systems are going to be mounted.
        let data = directory.join("data");
        fs::remove_dir_all(&data).map_err(|error| format!("{}: {error}", data.display()))?;
        Ok(Self {
            file_system,
            directory,
            recipes,
            rng: Rng(arguments.seed ^ (file_system as u64) << 56),
            tally,
            failed,
        })
    }

    /// Checks so many states.
    ///
    /// # Errors
    /// What is wrong, and where the device's contents are.
    pub(crate) fn lose_power(mut self, states: u64) -> Result<(), String> {
        let mut left = states;
        let mut round = 0;
        while left > 0 && !self.failed.load(Ordering::Relaxed) {
            let share = left.min(ROUND_STATES);
            let recipe = round % self.recipes.len();
            let shutdowns = if self.shuts_down() {
                share / SHUTDOWN_EVERY
            } else {
                0
            };
            let mut done = self.round(recipe, share - shutdowns);
            if shutdowns > 0 {
                done = done.and_then(|()| self.shut_down(recipe, shutdowns));
            }
            done.map_err(|reason| {
                let io = self.recipes[recipe].io();
                let log = self.recipes[recipe].log();
                format!("{} with {io}: {reason}\n{log}", self.file_system.name())
            })?;
            left -= share;
            round += 1;
        }
        let _ = fs::remove_dir_all(&self.directory);
        Ok(())
    }

    /// A new file system, two lives on it, and so many states of them.
    fn round(&mut self, recipe: usize, states: u64) -> Result<(), String> {
        let image = self.file_system.format(&self.directory)?;
        let seed = self.rng.bits();
        let publishers = publishers(seed).collect();
        let first = self.live(recipe, image, Ledger::new(), publishers, LIFE_FIRST)?;
        let second = states / 3;
        let cuts = first.draw(states - second, &mut self.rng);
        let heir = self.rng.below(cuts.len() as u64) as usize;
        let heir = (second > 0).then_some(heir);
        if let Some((cut, image)) = self.check_all(recipe, &first, &cuts, heir)? {
            let publishers = first.publishers.clone();
            let before = first.promised(cut.flush);
            let life = self.live(recipe, image.clone(), before, publishers, LIFE_SECOND);
            let second_life = life.map_err(|reason| self.keep(&image, cut, &first, reason))?;
            let cuts = second_life.draw(second, &mut self.rng);
            self.check_all(recipe, &second_life, &cuts, None)?;
        }
        Ok(())
    }

    /// Checks the states that these cuts leave. Returns the one with number `heir`.
    fn check_all(
        &mut self,
        recipe: usize,
        life: &Life,
        cuts: &[Cut],
        heir: Option<usize>,
    ) -> Result<Option<(Cut, Image)>, String> {
        let mut replay = life.recording.replay();
        let mut kept = None;
        for (nth, cut) in cuts.iter().enumerate() {
            if self.failed.load(Ordering::Relaxed) {
                break;
            }
            let (image, more) = replay.at(*cut).map_err(|error| error.to_string())?;
            let mut ledger = life.promised(cut.flush);
            self.check(recipe, &image, &mut ledger)
                .map_err(|reason| self.keep(&image, *cut, life, reason))?;
            let tally = self.tally;
            let kind = if more {
                &tally.in_part
            } else {
                &tally.at_flush
            };
            kind.add(1);
            if cut.flush < life.recovered {
                tally.in_recovery.add(1);
            } else {
                tally.promised.add(life.promises(cut.flush));
            }
            if heir == Some(nth) {
                kept = Some((*cut, image));
            }
        }
        Ok(kept)
    }

    /// Lets a server and its clients live on a device, and records it.
    fn live(
        &mut self,
        recipe: usize,
        image: Image,
        before: Ledger,
        mut publishers: Vec<Publisher>,
        length: Duration,
    ) -> Result<Life, String> {
        let drive = Arc::new(Drive::new(image, true));
        let mounted = Mounted::new(self.file_system, &drive, &self.directory)?;
        let workers = 1 + self.rng.below(2);
        if self.rng.below(2) == 0 {
            // A server that comes after one that was killed finds in the page cache what that one has not synced.
            let after = Duration::from_micros(self.rng.below(60_000));
            self.recipes[recipe].start_and_kill(workers, after)?;
        }
        let mut server = self.recipes[recipe].start(workers)?;
        let mut found = before.clone();
        self.read(&server, &mut found)?;
        let recovered = drive.flushes().load(Ordering::Acquire);
        let address = server.address.clone();
        let flushes = drive.flushes();
        let (work, ()) = load::work(&mut publishers, &address, flushes, move |_| {
            std::thread::sleep(length);
            match server.ended() {
                Some(status) => Err(format!("the server ended by itself: {status}")),
                None => {
                    server.kill();
                    Ok(())
                }
            }
        })?;
        let recording = drive.stop().ok_or("nothing was recorded")?;
        mounted.unmount()?;
        let tally = self.tally;
        tally.flushes.add(recording.flushes());
        tally.writes.add(recording.writes());
        self.count(&work);
        let mut runs = Vec::new();
        for (client, published) in work.published {
            for (stream, run) in published.runs {
                runs.push((client, stream, run));
            }
        }
        Ok(Life {
            recording,
            before,
            recovered,
            found,
            runs,
            watched: work.watched,
            publishers,
        })
    }

    /// Starts a server on what power left, and holds what it gives against the ledger.
    pub(super) fn check(
        &mut self,
        recipe: usize,
        image: &Image,
        ledger: &mut Ledger,
    ) -> Result<(), String> {
        let drive = Arc::new(Drive::new(image.clone(), false));
        let mounted = Mounted::new(self.file_system, &drive, &self.directory)?;
        let server = self.recipes[recipe].start(1)?;
        self.read(&server, ledger)?;
        server.kill();
        mounted.unmount()?;
        self.tally.states.add(1);
        let of_this = match self.file_system {
            FileSystem::Ext4 => &self.tally.ext4,
            FileSystem::Xfs => &self.tally.xfs,
            FileSystem::Btrfs => &self.tally.btrfs,
        };
        of_this.add(1);
        Ok(())
    }

    /// Counts a life under load.
    pub(super) fn count(&self, work: &Work) {
        self.tally.lives.add(1);
        for (_, published) in &work.published {
            self.tally.sent.add(published.sent);
            self.tally.acked_stored.add(published.acked_stored);
            self.tally.acked_synced.add(published.acked_synced);
        }
    }

    fn read(&self, server: &Server, ledger: &mut Ledger) -> Result<(), String> {
        for (number, stream) in (0..).zip(&mut ledger.streams) {
            let start = stream.first();
            let read = reader::read(&server.address, number, stream, start)?;
            self.tally.found.add(read.found + read.compared);
            stream.settle()?;
        }
        Ok(())
    }

    /// Leaves what was on the device, and says when power failed.
    fn keep(&self, image: &Image, cut: Cut, life: &Life, reason: String) -> String {
        let saved = self.save(image);
        format!(
            "{reason}\npower failed behind flush {} of {} ({} of them while the server started), with {:?} of the writes behind it; {saved}",
            cut.flush,
            life.recording.flushes(),
            life.recovered,
            cut.rest
        )
    }

    /// Leaves what was on the device, and says where.
    pub(super) fn save(&self, image: &Image) -> String {
        let path = self.directory.join("failed.img");
        let saved = File::create(&path).and_then(|file| image.save(&file));
        match saved {
            Ok(()) => format!("the device's contents are kept: {}", path.display()),
            Err(error) => format!("{}: {error}", path.display()),
        }
    }
}

/// The clients of a file system.
pub(super) fn publishers(seed: u64) -> impl Iterator<Item = Publisher> {
    let clients = CLIENTS.iter().zip(0..);
    clients.map(move |(&(stream, level, window), client)| {
        Publisher::new(client, &[stream], level, window, seed)
    })
}

/// What the streams are here, in their order: small, so that segments come and go all the time.
const SETTINGS: [&str; 3] = [
    "ack: stored, segment: 256KiB, tail: 512KiB, retention: {bytes: 2MiB}",
    "ack: synced, segment: 256KiB, tail: 1MiB, retention: {bytes: 3MiB}",
    "ack: synced, segment: 256KiB, tail: 512KiB, retention: {bytes: 1MiB}",
];
/// Those whose subscribers see only what is synced.
pub(super) const SYNCED: [u16; 2] = [1, 2];
/// Clients: stream, level, records in flight.
const CLIENTS: [(u16, AckLevel, u64); 6] = [
    (0, AckLevel::Stream, 128),
    (0, AckLevel::Synced, 4),
    (1, AckLevel::Stream, 256),
    (1, AckLevel::Stream, 1),
    (2, AckLevel::Stream, 64),
    (2, AckLevel::Synced, 2),
];
/// States of one file system, before the next one is made.
const ROUND_STATES: u64 = 50;
/// One in so many is what a shutdown leaves, where there is such a thing.
const SHUTDOWN_EVERY: u64 = 5;
const LIFE_FIRST: Duration = Duration::from_millis(600);
const LIFE_SECOND: Duration = Duration::from_millis(250);
