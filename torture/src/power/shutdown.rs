//! File systems that are shut down while a server is at work on them.
//!
//! The kernel can have a file system stop on the spot (`FS_IOC_SHUTDOWN`): from then on every call to it fails, and what was in the page cache
//! only is gone. To the disk that is a loss of power. But the server lives on, and has to say what happened: publishers are refused
//! with the reason, `stream info` tells it, and so does the exit code. Lives follow each other on one file system, each behind the shutdown of
//! the one before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::device::{Drive, Image};
use super::site::{SYNCED, Site, publishers};
use super::volume::{Mounted, missing_for_shutdown};
use crate::ledger::Ledger;
use crate::load::{self, Work};
use crate::publisher::{DISK_FAILED, Publisher};
use crate::record::STREAMS;
use crate::server::{Recipe, Server};

impl Site<'_> {
    /// Whether its file system can be shut down here.
    pub(super) fn shuts_down(&self) -> bool {
        self.file_system.has_shutdown() && missing_for_shutdown().is_none()
    }

    /// A new file system that is shut down so many times, and checked after each.
    pub(super) fn shut_down(&mut self, recipe: usize, states: u64) -> Result<(), String> {
        let mut image = self.file_system.format(&self.directory)?;
        let publishers = publishers(self.rng.bits()).map(Publisher::until_refused);
        let mut publishers: Vec<Publisher> = publishers.collect();
        let mut ledger = Ledger::new();
        for state in 1..=states {
            if self.failed.load(Ordering::Relaxed) {
                break;
            }
            let journal = self.rng.below(2) == 0;
            let left = self.live_and_shut_down(recipe, image, &mut publishers, journal);
            let (left, work) = left.map_err(|reason| format!("shutdown {state}: {reason}"))?;
            image = left;
            for (client, published) in work.published {
                for (stream, run) in published.runs {
                    let kept = run.synced(if SYNCED.contains(&stream) { DOWN } else { UP });
                    self.tally.promised.add(kept.acked);
                    ledger.streams[usize::from(stream)].add_run(client, kept);
                }
            }
            for seen in work.watched {
                if SYNCED.contains(&seen.id.stream) {
                    ledger.streams[usize::from(seen.id.stream)].add_watched(seen.sequence, seen.id);
                }
            }
            self.check(recipe, &image, &mut ledger).map_err(|reason| {
                let saved = self.save(&image);
                format!("{reason}\nbehind shutdown {state}, journal written: {journal}; {saved}")
            })?;
            let kind = if journal {
                &self.tally.shut_down_behind_journal
            } else {
                &self.tally.shut_down
            };
            kind.add(1);
        }
        Ok(())
    }

    /// Lets a server and its clients live on a device until its file system is shut down. What is left of it.
    fn live_and_shut_down(
        &mut self,
        recipe: usize,
        image: Image,
        publishers: &mut [Publisher],
        journal: bool,
    ) -> Result<(Image, Work), String> {
        let drive = Arc::new(Drive::new(image, false));
        let mounted = Mounted::new(self.file_system, &drive, &self.directory)?;
        let workers = 1 + self.rng.below(2);
        let length = Duration::from_millis(self.rng.below(LIFE_MS));
        let recipe = &self.recipes[recipe];
        let server = recipe.start(workers)?;
        let address = server.address.clone();
        let (shutting, is_down) = (&mounted, &AtomicU64::new(UP));
        let (work, ()) = load::work(publishers, &address, is_down, move |are_over| {
            std::thread::sleep(length);
            is_down.store(DOWN, Ordering::Release);
            shutting.shut_down(journal)?;
            says_what_happened(recipe, server, are_over)
        })?;
        mounted.unmount()?;
        self.count(&work);
        Ok((drive.image(), work))
    }
}

/// The server's disk is gone, and the server tells everybody. Then it is asked to stop.
fn says_what_happened(
    recipe: &Recipe,
    server: Server,
    are_over: &dyn Fn() -> bool,
) -> Result<(), String> {
    let begin = Instant::now();
    while !are_over() {
        if begin.elapsed() > PATIENCE {
            return Err("HANGS: a publisher is neither answered nor refused".into());
        }
        std::thread::sleep(LOOK);
    }
    for (name, _) in STREAMS {
        let info = recipe.stream_info(&server, name)?;
        let has_reason = DISK_FAILED.iter().any(|reason| info.contains(reason));
        // One that needs a new segment before it has written anything more is full.
        let states = ["\"state\":\"read_only\"", "\"state\":\"no_space\""];
        if !states.iter().any(|state| info.contains(state)) || !has_reason {
            return Err(format!("its disk is gone, and {name} says: {info}"));
        }
    }
    match server.stop(PATIENCE)? {
        Some(status) if status.code() == Some(EXIT_MACHINE) => Ok(()),
        Some(status) => Err(format!(
            "its disk is gone, and the server ends with {status}"
        )),
        None => Err("HANGS: the server does not stop".into()),
    }
}

/// What clients note of an acknowledgement: whether it came before the shutdown began. Whatever a stream's level, those that did are kept. Later ones are
/// where space was written before it is used; in space that is only reserved a sync that meets the shutdown may succeed and have synced nothing (decision 0802).
const UP: u64 = 0;
const DOWN: u64 = 1;
/// The exit code of a server that could not keep everything.
const EXIT_MACHINE: i32 = 6;
/// From no life at all on: a shutdown may come before anything is published.
const LIFE_MS: u64 = 300;
/// Everybody knows by then.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(2);
