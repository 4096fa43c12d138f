//! One data directory and the lives and deaths of servers on it.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use trunkline_client::AckLevel;

use crate::arguments::Arguments;
use crate::ledger::Ledger;
use crate::load;
use crate::publisher::Publisher;
use crate::reader;
use crate::record::{STREAMS, configuration};
use crate::rng::Rng;
use crate::server::{Recipe, Server};
use crate::tally::Tally;
use crate::watcher::Seen;

/// One back-end's directory, clients and ledger.
#[derive(Debug)]
pub(crate) struct Arena<'t> {
    io: String,
    directory: PathBuf,
    recipe: Recipe,
    publishers: Vec<Publisher>,
    ledger: Ledger,
    rng: Rng,
    kills: u64,
    lives: u64,
    tally: &'t Tally,
    /// Another arena has failed.
    failed: &'t AtomicBool,
}

impl<'t> Arena<'t> {
    /// An arena whose server can be started; `None` when the machine has no such back-end.
    pub(crate) fn new(
        arguments: &Arguments,
        io: &str,
        tally: &'t Tally,
        failed: &'t AtomicBool,
    ) -> Result<Option<Self>, String> {
        let directory = arguments
            .directory
            .join(format!("torture-{}-{io}", std::process::id()));
        let config = configuration(STREAMS);
        let recipe = Recipe::new(&arguments.server, &directory, io, &config)?;
        if !recipe.has_back_end()? {
            let _ = fs::remove_dir_all(&directory);
            return Ok(None);
        }
        let mut letters = io.bytes();
        let seed = arguments.seed ^ u64::from(letters.next().unwrap_or(0)) << 48;
        let publishers = CLIENTS
            .iter()
            .zip(0..)
            .map(|(&(streams, level, window), client)| {
                Publisher::new(client, streams, level, window, seed)
            });
        Ok(Some(Self {
            io: io.into(),
            directory,
            recipe,
            publishers: publishers.collect(),
            ledger: Ledger::new(),
            rng: Rng(seed),
            kills: 0,
            lives: 0,
            tally,
            failed,
        }))
    }

    /// Kills so many servers.
    ///
    /// # Errors
    /// What is wrong, and where the directory is.
    pub(crate) fn torture(mut self, kills: u64) -> Result<(), String> {
        let outcome = self.live_and_die(kills);
        match outcome {
            Ok(()) => {
                let _ = fs::remove_dir_all(&self.directory);
                Ok(())
            }
            Err(reason) => Err(format!(
                "{} after {} kills: {reason}\nits directory is kept: {}\n{}",
                self.io,
                self.kills,
                self.directory.display(),
                self.recipe.log()
            )),
        }
    }

    fn live_and_die(&mut self, kills: u64) -> Result<(), String> {
        while self.kills < kills && !self.failed.load(Ordering::Relaxed) {
            let mut server = self.recipe.start(1 + self.rng.below(2))?;
            let checked = self.check(&server, false);
            let checked = checked.map_err(|reason| match server.dies() {
                Some(status) => format!("the server ended by itself: {status} ({reason})"),
                None => reason,
            });
            checked?;
            if self.rng.below(8) == 0 {
                self.recipe.start_beside()?;
                self.tally.second_servers.add(1);
            }
            self.live(server)?;
            for _ in 0..self.rng.below(3) {
                // A start takes some milliseconds; a kill may come anywhere in it, or behind it.
                let after = Duration::from_micros(self.rng.below(25_000));
                self.recipe.start_and_kill(1 + self.rng.below(2), after)?;
                self.tally.kills_in_recovery.add(1);
                self.killed();
            }
        }
        let server = self.recipe.start(1)?;
        self.check(&server, true)?;
        if server.stop_or_kill(Duration::from_secs(5))? {
            self.tally.clean_stops.add(1);
            return Ok(());
        }
        Err("the server does not stop".into())
    }

    /// Clients press on until the server is killed.
    fn live(&mut self, mut server: Server) -> Result<(), String> {
        let life = Duration::from_micros(2_000 + self.rng.below(150_000));
        let stops = self.rng.below(8) == 0;
        let patience = Duration::from_micros(self.rng.below(20_000));
        let address = server.address.clone();
        let tally = self.tally;
        let (work, killed) = load::work(
            &mut self.publishers,
            &address,
            &AtomicU64::new(0),
            move |_| {
                std::thread::sleep(life);
                match server.ended() {
                    Some(status) => Err(format!("the server ended by itself: {status}")),
                    None if stops => server.stop_or_kill(patience).map(|stopped| {
                        let count = if stopped {
                            &tally.clean_stops
                        } else {
                            &tally.kills_while_stopping
                        };
                        count.add(1);
                        !stopped
                    }),
                    None => {
                        server.kill();
                        tally.kills_under_load.add(1);
                        Ok(true)
                    }
                }
            },
        )?;
        if killed {
            self.killed();
        }
        for (client, published) in work.published {
            tally.sent.add(published.sent);
            tally.acked_stored.add(published.acked_stored);
            tally.acked_synced.add(published.acked_synced);
            for (stream, run) in published.runs {
                self.ledger.streams[usize::from(stream)].add_run(client, run);
            }
        }
        tally.watched.add(work.watched.len() as u64);
        for Seen { sequence, id, .. } in work.watched {
            self.ledger.streams[usize::from(id.stream)].add_watched(sequence, id);
        }
        Ok(())
    }

    /// Holds what is there against the ledger: what is new, and some of what was there before, now and then all of it.
    fn check(&mut self, server: &Server, whole: bool) -> Result<(), String> {
        self.lives += 1;
        self.tally.starts.add(1);
        let whole = whole || self.lives.is_multiple_of(WHOLE_EVERY);
        for (number, stream) in (0..).zip(&mut self.ledger.streams) {
            let back = 1 + self.rng.below(3000);
            let start = if whole {
                stream.first()
            } else {
                stream.next().saturating_sub(back).max(stream.first())
            };
            let read = reader::read(&server.address, number, stream, start)?;
            self.tally.found.add(read.found);
            self.tally.compared.add(read.compared);
            self.tally.removed.add(read.removed);
            stream.settle()?;
        }
        Ok(())
    }

    fn killed(&mut self) {
        self.kills += 1;
        self.tally.kills.add(1);
    }
}

/// Clients: streams, level, records in flight.
const CLIENTS: [(&[u16], AckLevel, u64); 6] = [
    (&[0], AckLevel::Stream, 4096),
    (&[0], AckLevel::Synced, 16),
    (&[1], AckLevel::Stream, 512),
    (&[1], AckLevel::Stored, 64),
    (&[2], AckLevel::Stream, 1024),
    (&[0, 1, 2], AckLevel::Stream, 1),
];
/// Lives between two looks at everything.
const WHOLE_EVERY: u64 = 25;
