//! Redis: publish and subscribe, which store nothing, and streams.

use std::net::SocketAddr;
use std::path::PathBuf;

use bench_harness::Failure;
use bench_harness::installed::command;
use bench_harness::server::{Server, free_address};

use super::nats::put_number;
use super::resp::{Token, token};
use crate::line::{Event, Protocol, Tcp};
use crate::peer::{Keeps, Peer, Running, Seat};
use crate::rows::field::{Field, Program, Who};

#[derive(Clone, Debug)]
pub struct Redis {
    pub binary: PathBuf,
    pub mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    PubSub,
    /// Streams in memory.
    Stream,
    /// Streams, with a log that is synced every second.
    StreamEverySecond,
    /// Streams, with a log that is synced before an answer.
    StreamAlways,
}

pub const PROGRAM: Program = Program {
    name: "Redis",
    file: "redis-server",
    variable: "TRUNKLINE_BENCH_REDIS",
    version: "--version",
};

/// One in this mode, if it is there.
pub fn peer(field: &Field, mode: Mode) -> Who {
    field.with(&PROGRAM, |binary| Redis { binary, mode })
}

impl Redis {
    fn arguments(&self, address: SocketAddr) -> Vec<String> {
        let log = match self.mode {
            Mode::PubSub | Mode::Stream => "--appendonly no",
            Mode::StreamEverySecond => "--appendonly yes --appendfsync everysec",
            Mode::StreamAlways => "--appendonly yes --appendfsync always",
        };
        // Rewriting the log in the middle of a sample, and cutting slow subscribers off, are for longer runs.
        let text = format!(
            "--port {} --bind 127.0.0.1 --save \"\" {log} --auto-aof-rewrite-percentage 0 \
             --client-output-buffer-limit pubsub 0 0 0",
            address.port()
        );
        text.split(' ')
            .map(|word| word.trim_matches('"').to_owned())
            .collect()
    }

    fn is_stream(&self) -> bool {
        self.mode != Mode::PubSub
    }

    fn line(&self, address: SocketAddr, role: Role) -> Result<Tcp<Resp>, Failure> {
        Tcp::connect(
            address,
            Resp {
                role,
                group: 0,
                last: Vec::new(),
                left: 0,
                added: (0, 0),
            },
        )
    }

    fn read(&self, address: SocketAddr, from: &str) -> Result<Tcp<Resp>, Failure> {
        let mut line = self.line(address, Role::Reader)?;
        line.protocol().last = from.into();
        let mut request = Vec::new();
        line.protocol().ask(&mut request);
        line.say(&request)?;
        Ok(line)
    }
}

impl Peer for Redis {
    type Line = Tcp<Resp>;

    fn name(&self) -> String {
        match self.mode {
            Mode::PubSub => "Redis pub/sub, not stored, parks",
            Mode::Stream => "Redis stream, memory, parks",
            Mode::StreamEverySecond => "Redis stream, page cache, parks",
            Mode::StreamAlways => "Redis stream, synced, parks",
        }
        .into()
    }

    fn settings(&self) -> String {
        let address = SocketAddr::from(([127, 0, 0, 1], 6379));
        let how = if self.is_stream() {
            "XADD, XREAD BLOCK 0 COUNT 1000"
        } else {
            "PUBLISH, SUBSCRIBE"
        };
        format!("redis-server {}; {how}", self.arguments(address).join(" "))
    }

    fn keeps(&self) -> Keeps {
        match self.mode {
            Mode::PubSub | Mode::Stream => Keeps::Nothing,
            Mode::StreamEverySecond => Keeps::PageCache,
            Mode::StreamAlways => Keeps::Synced,
        }
    }

    fn acknowledges(&self) -> bool {
        self.is_stream()
    }

    fn start(&self, seat: &Seat) -> Result<Running, Failure> {
        let folder = Server::folder(&seat.data)?;
        let address = free_address()?;
        let mut program = command(&self.binary);
        program
            .args(self.arguments(address))
            .current_dir(folder.path());
        if let Some(connections) = seat.connections {
            program.args(["--maxclients", &connections.to_string()]);
        }
        Running::start(program, folder, seat, address)
    }

    fn publisher(&self, address: SocketAddr) -> Result<Tcp<Resp>, Failure> {
        self.line(
            address,
            if self.is_stream() {
                Role::Adder
            } else {
                Role::Publisher
            },
        )
    }

    fn subscriber(&self, address: SocketAddr) -> Result<Tcp<Resp>, Failure> {
        if self.is_stream() {
            // Not `$`, which would mean the moment at which the server gets to it.
            return self.read(address, "0-0");
        }
        let mut line = self.line(address, Role::Subscriber)?;
        line.say(b"*2\r\n$9\r\nSUBSCRIBE\r\n$5\r\nbench\r\n")?;
        line.answer(|text| text.ends_with(":1\r\n"))?;
        Ok(line)
    }

    fn replayer(&self, address: SocketAddr) -> Option<Result<Tcp<Resp>, Failure>> {
        self.is_stream().then(|| self.read(address, "0-0"))
    }
}

/// One connection's side of the protocol.
pub struct Resp {
    role: Role,
    /// How many bulk strings of a group of three have come.
    group: usize,
    /// The last entry that was read.
    last: Vec<u8>,
    /// Entries of an answer that are still to come.
    left: i64,
    /// The last entry that was added: milliseconds, and a number among those of one.
    added: (u64, u64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Publisher,
    Adder,
    Subscriber,
    Reader,
}

impl Resp {
    fn ask(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(
            b"*8\r\n$5\r\nXREAD\r\n$5\r\nBLOCK\r\n$1\r\n0\r\n$5\r\nCOUNT\r\n$4\r\n1000\r\n",
        );
        out.extend_from_slice(b"$7\r\nSTREAMS\r\n$5\r\nbench\r\n$");
        put_number(out, self.last.len());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.last);
        out.extend_from_slice(b"\r\n");
    }

    /// An entry was added under this identifier, which grows; others' entries come between.
    fn on_added(&mut self, identifier: &[u8]) -> Result<(), Failure> {
        let words = std::str::from_utf8(identifier).ok();
        let numbers = words.and_then(|words| words.split_once('-'));
        let added = numbers.and_then(|(ms, number)| Some((ms.parse().ok()?, number.parse().ok()?)));
        match added {
            Some(added) if added > self.added => {
                self.added = added;
                Ok(())
            }
            _ => Err(format!(
                "not the identifier of the next entry: {}",
                String::from_utf8_lossy(identifier)
            )),
        }
    }

    fn on_read(
        &mut self,
        token: &Token<'_>,
        out: &mut Vec<u8>,
        on: &mut impl FnMut(Event<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match token {
            // `*1 *2 name *N`, then N times `*2 id *2 field value`.
            Token::Bulk(_) if self.left == 0 && self.group == 0 => self.group = NAMED,
            Token::Array(count) if self.group == NAMED => {
                self.left = *count;
                self.group = 0;
            }
            Token::Bulk(bytes) => {
                match self.group {
                    0 => {
                        self.last.clear();
                        self.last.extend_from_slice(bytes);
                    }
                    2 => {
                        on(Event::Message(bytes))?;
                        self.left -= 1;
                    }
                    _ => {}
                }
                self.group = (self.group + 1) % 3;
                if self.left == 0 {
                    self.ask(out);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Protocol for Resp {
    #[inline]
    fn encode(&mut self, out: &mut Vec<u8>, payload: &[u8]) {
        let head: &[u8] = match self.role {
            Role::Adder => b"*5\r\n$4\r\nXADD\r\n$5\r\nbench\r\n$1\r\n*\r\n$1\r\np\r\n$",
            _ => b"*3\r\n$7\r\nPUBLISH\r\n$5\r\nbench\r\n$",
        };
        out.extend_from_slice(head);
        put_number(out, payload.len());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(payload);
        out.extend_from_slice(b"\r\n");
    }

    fn decode(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        on: &mut impl FnMut(Event<'_>) -> Result<(), Failure>,
    ) -> Result<usize, Failure> {
        let (mut used, mut acks) = (0, 0);
        while let Some((token, bytes)) = token(&input[used..])? {
            used += bytes;
            match self.role {
                Role::Publisher => {}
                Role::Adder => match token {
                    Token::Bulk(identifier) => {
                        self.on_added(identifier)?;
                        acks += 1;
                    }
                    other => return Err(format!("not an entry's identifier: {other:?}")),
                },
                Role::Subscriber => {
                    // `*3 message channel payload`.
                    if let Token::Bulk(payload) = token {
                        self.group += 1;
                        if self.group == 3 {
                            self.group = 0;
                            on(Event::Message(payload))?;
                        }
                    }
                }
                Role::Reader => self.on_read(&token, out, on)?,
            }
        }
        if acks > 0 {
            on(Event::Acked(acks))?;
        }
        Ok(used)
    }
}

/// The name of the stream has come, the number of its entries has not.
const NAMED: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_takes_every_entry_and_asks_for_more() {
        let input = b"*1\r\n*2\r\n$5\r\nbench\r\n*2\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\np\r\n$2\r\nab\r\n*2\r\n$3\r\n2-0\r\n*2\r\n$1\r\np\r\n$2\r\ncd\r\n";
        for cut in 0..input.len() {
            let mut reader = Resp {
                role: Role::Reader,
                group: 0,
                last: b"0-0".to_vec(),
                left: 0,
                added: (0, 0),
            };
            let (mut seen, mut out) = (Vec::new(), Vec::new());
            let mut on = |event: Event<'_>| {
                if let Event::Message(payload) = event {
                    seen.push(payload.to_vec());
                }
                Ok(())
            };
            let used = reader.decode(&input[..cut], &mut out, &mut on).unwrap();
            reader.decode(&input[used..], &mut out, &mut on).unwrap();
            assert_eq!(seen, [b"ab", b"cd"], "cut at {cut}");
            assert!(out.starts_with(b"*8\r\n$5\r\nXREAD") && out.ends_with(b"$3\r\n2-0\r\n"));
            assert_eq!(
                out.windows(5).filter(|window| window == b"XREAD").count(),
                1
            );
        }
    }

    #[test]
    fn identifiers_of_added_entries_grow() {
        let mut adder = Resp {
            role: Role::Adder,
            group: 0,
            last: Vec::new(),
            left: 0,
            added: (0, 0),
        };
        let mut is_taken = |input: &[u8]| {
            adder
                .decode(input, &mut Vec::new(), &mut |_| Ok(()))
                .is_ok()
        };
        assert!(is_taken(b"$3\r\n7-9\r\n$4\r\n7-10\r\n$3\r\n8-0\r\n"));
        assert!(!is_taken(b"$3\r\n8-0\r\n"));
        assert!(!is_taken(b"$4\r\n7-11\r\n"));
        assert!(!is_taken(b"$-1\r\n"));
    }
}
