//! A bound, not a broker: a loop that takes whatever has arrived, appends it to a file, syncs once, and acknowledges. It
//! checks nothing, finds nothing again and delivers nothing. Without a file it is the round trip of TCP.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use bench_harness::Failure;
use rustix::event::{PollFd, PollFlags, poll};

use crate::line::{Event, Protocol, Tcp};
use crate::peer::{Keeps, Peer, Running, Seat};
use crate::peers::own::{self, Door, LENGTH_BYTES, Source, TURNS_PER_ACCEPT};
use crate::peers::store::Store;
use crate::rows::field::Who;

#[derive(Clone, Debug)]
pub struct Plain {
    pub keeps: Keeps,
    /// It polls instead of sleeping.
    pub spins: bool,
}

/// One that keeps what it is to keep.
pub fn peer(keeps: Keeps, spins: bool) -> Who {
    Some(Box::new(Plain { keeps, spins }))
}

impl Peer for Plain {
    type Line = Tcp<Counted>;

    fn name(&self) -> String {
        let what = match self.keeps {
            Keeps::Nothing => "echo",
            Keeps::PageCache => "loop, page cache",
            Keeps::Synced => "loop, synced",
        };
        format!(
            "plain {what}, {}",
            if self.spins { "spins" } else { "parks" }
        )
    }

    fn settings(&self) -> String {
        let store = match self.keeps {
            Keeps::Nothing => "",
            Keeps::PageCache => ", pwrite to a file that is written already",
            Keeps::Synced => ", pwrite to a file that is written already, fdatasync",
        };
        let waits = if self.spins { "" } else { "poll, " };
        format!("one thread: {waits}read all{store}, one answer to each connection")
    }

    fn keeps(&self) -> Keeps {
        self.keeps
    }

    fn acknowledges(&self) -> bool {
        true
    }

    fn start(&self, seat: &Seat) -> Result<Running, Failure> {
        let keeps = match self.keeps {
            Keeps::Nothing => NOTHING,
            Keeps::PageCache => PAGE_CACHE,
            Keeps::Synced => SYNCED,
        };
        own::start(COMMAND, seat, |command, folder| {
            command
                .arg(folder.join("file"))
                .args([keeps, if self.spins { SPINS } else { "parks" }]);
        })
    }

    fn publisher(&self, address: SocketAddr) -> Result<Tcp<Counted>, Failure> {
        Tcp::connect(address, Counted)
    }

    fn subscriber(&self, _address: SocketAddr) -> Result<Tcp<Counted>, Failure> {
        Err("the plain loop delivers nothing".into())
    }
}

/// Length and bytes on the way in, a number of messages on the way out.
pub struct Counted;

impl Protocol for Counted {
    fn encode(&mut self, out: &mut Vec<u8>, payload: &[u8]) {
        own::put(out, payload);
    }

    fn decode(
        &mut self,
        input: &[u8],
        _out: &mut Vec<u8>,
        on: &mut impl FnMut(Event<'_>) -> Result<(), Failure>,
    ) -> Result<usize, Failure> {
        let (counts, _) = input.as_chunks::<8>();
        for count in counts {
            on(Event::Acked(u64::from_le_bytes(*count)))?;
        }
        Ok(counts.len() * 8)
    }
}

/// The server's side: `ADDRESS FILE KEEPS WAITS`.
pub fn serve(arguments: &[String]) -> Result<(), Failure> {
    let [address, file, keeps, waits] = arguments else {
        return Err("ADDRESS FILE KEEPS WAITS".into());
    };
    let keeps = match keeps.as_str() {
        SYNCED => Keeps::Synced,
        PAGE_CACHE => Keeps::PageCache,
        _ => Keeps::Nothing,
    };
    let store = Store::new(Path::new(file), keeps).map_err(|error| error.to_string())?;
    run(address, store, waits == SPINS).map_err(|error| error.to_string())
}

fn run(address: &str, mut store: Store, spins: bool) -> std::io::Result<()> {
    let door = Door::open(address)?;
    let mut connections: Vec<Connection> = Vec::new();
    let mut batch = Vec::new();
    for turn in 0u64.. {
        let mut knocks = turn % TURNS_PER_ACCEPT == 0;
        if spins {
            for connection in &mut connections {
                connection.receive(&mut batch);
            }
        } else {
            let mut sockets = vec![PollFd::new(door.socket(), PollFlags::IN)];
            sockets.extend(
                connections
                    .iter()
                    .map(|connection| PollFd::new(&connection.source.stream, PollFlags::IN)),
            );
            poll(&mut sockets, None)?;
            let ready: Vec<bool> = sockets
                .iter()
                .map(|socket| !socket.revents().is_empty())
                .collect();
            drop(sockets);
            knocks = ready[0];
            for (connection, _) in connections
                .iter_mut()
                .zip(&ready[1..])
                .filter(|(_, ready)| **ready)
            {
                connection.receive(&mut batch);
            }
        }
        if knocks {
            connections.extend(door.knock()?.map(|source| Connection { source, taken: 0 }));
        }
        store.keep(&batch)?;
        batch.clear();
        for connection in connections
            .iter_mut()
            .filter(|connection| connection.taken > 0)
        {
            let taken = std::mem::take(&mut connection.taken);
            // Who is gone is known by the next read.
            let _ = connection.source.stream.write(&taken.to_le_bytes());
        }
        connections.retain(|connection| !connection.source.is_closed());
    }
    Ok(())
}

struct Connection {
    source: Source,
    /// Messages that are not acknowledged.
    taken: u64,
}

impl Connection {
    /// Adds the messages that are complete to the batch.
    fn receive(&mut self, batch: &mut Vec<u8>) {
        self.source.receive();
        let mut used = 0;
        while let Some(payload) = own::payload(&self.source.input()[used..]) {
            batch.extend_from_slice(payload);
            used += LENGTH_BYTES + payload.len();
            self.taken += 1;
        }
        self.source.take(used);
    }
}

/// The word that makes this program the server.
pub const COMMAND: &str = "plain-loop";
const NOTHING: &str = "nothing";
const PAGE_CACHE: &str = "page-cache";
const SYNCED: &str = "synced";
const SPINS: &str = "spins";
