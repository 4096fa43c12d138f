//! Aeron over `aeron:ipc`: logs in shared memory that two clients write and read, and a media driver, a program of its own,
//! that makes them and moves their limits. Messages are copied into the log and out of it.

use std::path::Path;
use std::sync::Mutex;

use bench_foreign::aeron::{self, Party, Streams};
use bench_harness::server::Server;
use bench_harness::{Failure, installed};

use super::spin_until;
use crate::transport::{End, Link, Transport};
use crate::trips::PATIENCE;

pub struct Aeron;

/// What was set, for the reader.
pub const SETTINGS: &str = "aeronmd, a process, threading mode SHARED with its backoff, term buffers not sparse, unpinned; a client for each side, pre-touched, \
    exclusive publications, fragment assembler, polls of 10 fragments; channel aeron:ipc?term-length=16m, other settings by default";

/// Why Aeron takes no part, if it does not; otherwise its version.
pub fn version() -> Result<String, Failure> {
    driver()?;
    aeron::library().map(|library| library.version())
}

impl Transport for Aeron {
    type Link = Parties;

    fn link(&self) -> Result<Parties, Failure> {
        let library = aeron::library()?;
        let folder = Server::folder(Path::new("/dev/shm"))?;
        let media = folder.path().join("aeron");
        let mut program = installed::command(&driver()?);
        program.env("AERON_DIR", &media);
        program.env("AERON_THREADING_MODE", "SHARED");
        program.env("AERON_TERM_BUFFER_SPARSE_FILE", "false");
        let driver = Server::start(program, folder, None)?;
        // Made here, and not on the threads that are bound to a core: the clients' own threads are to run anywhere.
        let party = |out: i32, back: i32| {
            let made = library.party(&media, CHANNEL, Streams { out, back }, PATIENCE);
            made.map_err(|why| format!("{why}; the driver said: {}", driver.said()))
        };
        let parties = [party(1, 2)?, party(2, 1)?];
        spin_until(|| {
            std::thread::yield_now();
            Ok(parties.iter().all(Party::is_connected))
        })?;
        Ok(Parties {
            parties: parties.map(|party| Mutex::new(Some(party))),
            driver,
        })
    }
}

/// The driver's program.
fn driver() -> Result<std::path::PathBuf, Failure> {
    installed::find_program(DRIVER, "aeronmd").ok_or_else(|| {
        format!("no aeronmd; `cargo xtask bench --peers --install` gets it, or {DRIVER} names it")
    })
}

pub struct Parties {
    parties: [Mutex<Option<Party>>; 2],
    driver: Server,
}

impl Link for Parties {
    type End = Party;

    fn end(&self, side: usize) -> Result<Party, Failure> {
        let party = self.parties[side].lock().map(|mut party| party.take());
        party
            .ok()
            .flatten()
            .ok_or_else(|| "an end is taken once".into())
    }

    fn between(&self) -> Option<&Server> {
        Some(&self.driver)
    }
}

impl End for Party {
    fn send(&mut self, message: &[u8]) -> Result<(), Failure> {
        spin_until(|| self.offer(message))
    }

    fn receive(&mut self, message: &mut [u8]) -> Result<(), Failure> {
        spin_until(|| self.poll(message))
    }
}

/// Terms of 16 MiB take messages of up to 2 MiB.
const CHANNEL: &str = "aeron:ipc?term-length=16m";
/// The variable that names the driver.
const DRIVER: &str = "TRUNKLINE_BENCH_AERONMD";
