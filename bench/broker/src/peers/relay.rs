//! A bound, not a broker: a loop on one core that takes whatever has arrived, writes it to a file if it is to, and hands it on as it came. It routes nothing, checks
//! nothing and finds nothing again: what is left is what the kernel takes for the bytes to come in, to be kept and to go out.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use bench_harness::Failure;

use crate::line::{Event, Protocol, Tcp};
use crate::peer::{Keeps, Peer, Running, Seat};
use crate::peers::own::{self, Door, LENGTH_BYTES, Source, TURNS_PER_ACCEPT};
use crate::peers::store::Store;
use crate::rows::field::Who;

#[derive(Clone, Debug)]
pub struct Relay {
    /// It writes what it hands on to a file.
    pub stores: bool,
}

/// One that stores or not.
pub fn peer(stores: bool) -> Who {
    Some(Box::new(Relay { stores }))
}

impl Peer for Relay {
    type Line = Tcp<Framed>;

    fn name(&self) -> String {
        let keeps = if self.stores {
            "page cache"
        } else {
            "not stored"
        };
        format!("plain relay, {keeps}, spins")
    }

    fn settings(&self) -> String {
        let store = if self.stores {
            ", pwrite to a file that is written already"
        } else {
            ""
        };
        format!("one thread: read up to 128 KiB{store}, write what is whole to each subscriber")
    }

    fn keeps(&self) -> Keeps {
        if self.stores {
            Keeps::PageCache
        } else {
            Keeps::Nothing
        }
    }

    fn acknowledges(&self) -> bool {
        false
    }

    fn start(&self, seat: &Seat) -> Result<Running, Failure> {
        own::start(COMMAND, seat, |command, folder| {
            if self.stores {
                command.arg(folder.join("file"));
            }
        })
    }

    fn publisher(&self, address: SocketAddr) -> Result<Tcp<Framed>, Failure> {
        Tcp::connect(address, Framed)
    }

    fn subscriber(&self, address: SocketAddr) -> Result<Tcp<Framed>, Failure> {
        let mut line = Tcp::connect(address, Framed)?;
        line.say(&SUBSCRIBE.to_le_bytes())?;
        line.answer(|text| text.len() == SUBSCRIBED.len())?;
        Ok(line)
    }
}

/// Length and bytes, both ways.
pub struct Framed;

impl Protocol for Framed {
    fn encode(&mut self, out: &mut Vec<u8>, payload: &[u8]) {
        own::put(out, payload);
    }

    fn decode(
        &mut self,
        input: &[u8],
        _out: &mut Vec<u8>,
        on: &mut impl FnMut(Event<'_>) -> Result<(), Failure>,
    ) -> Result<usize, Failure> {
        let mut used = 0;
        while let Some(payload) = own::payload(&input[used..]) {
            on(Event::Message(payload))?;
            used += LENGTH_BYTES + payload.len();
        }
        Ok(used)
    }
}

/// The server's side: `ADDRESS [FILE]`.
pub fn serve(arguments: &[String]) -> Result<(), Failure> {
    let (address, keeps, file) = match arguments {
        [address] => (address, Keeps::Nothing, Path::new("")),
        [address, file] => (address, Keeps::PageCache, Path::new(file)),
        _ => return Err("ADDRESS [FILE]".into()),
    };
    let store = Store::new(file, keeps).map_err(|error| error.to_string())?;
    run(address, store).map_err(|error| error.to_string())
}

fn run(address: &str, mut store: Store) -> std::io::Result<()> {
    let door = Door::open(address)?;
    let mut publishers: Vec<Source> = Vec::new();
    let mut subscribers: Vec<Sink> = Vec::new();
    for turn in 0u64.. {
        if turn % TURNS_PER_ACCEPT == 0 {
            publishers.extend(door.knock()?);
        }
        for subscriber in &mut subscribers {
            subscriber.send()?;
        }
        // Nothing is taken before everybody has what came before it.
        if subscribers.iter().any(|to| !to.unsent.is_empty()) {
            continue;
        }
        let mut at = 0;
        while let Some(publisher) = publishers.get_mut(at) {
            match receive(publisher, &mut store, &mut subscribers)? {
                Said::Data => at += 1,
                Said::Closed => drop(publishers.swap_remove(at)),
                Said::Subscribe => {
                    let mut stream = publishers.swap_remove(at).stream;
                    stream.write_all(SUBSCRIBED)?;
                    subscribers.push(Sink {
                        stream,
                        unsent: Vec::new(),
                    });
                }
            }
        }
    }
    Ok(())
}

enum Said {
    Data,
    Subscribe,
    Closed,
}

/// Keeps what is whole and hands it to each subscriber.
fn receive(from: &mut Source, store: &mut Store, to: &mut [Sink]) -> std::io::Result<Said> {
    if !from.receive() {
        return Ok(if from.is_closed() {
            Said::Closed
        } else {
            Said::Data
        });
    }
    if from.input() == SUBSCRIBE.to_le_bytes() {
        return Ok(Said::Subscribe);
    }
    let mut whole = 0;
    while let Some(payload) = own::payload(&from.input()[whole..]) {
        whole += LENGTH_BYTES + payload.len();
    }
    let bytes = &from.input()[..whole];
    store.keep(bytes)?;
    for subscriber in to {
        subscriber.take(bytes)?;
    }
    from.take(whole);
    Ok(Said::Data)
}

struct Sink {
    stream: TcpStream,
    unsent: Vec<u8>,
}

impl Sink {
    fn take(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let mut sent = 0;
        if self.unsent.is_empty() {
            sent = written(self.stream.write(bytes))?;
        }
        self.unsent.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    fn send(&mut self) -> std::io::Result<()> {
        if !self.unsent.is_empty() {
            let sent = written(self.stream.write(&self.unsent))?;
            self.unsent.drain(..sent);
        }
        Ok(())
    }
}

fn written(result: std::io::Result<usize>) -> std::io::Result<usize> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}

/// The word that makes this program the server.
pub const COMMAND: &str = "plain-relay";
/// Said by who wants to be handed everything, in the place of a length.
const SUBSCRIBE: u32 = u32::MAX;
const SUBSCRIBED: &[u8] = b"yes!";
