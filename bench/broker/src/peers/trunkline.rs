//! Ours, through the client of the project.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use bench_harness::Failure;
use bench_harness::server::{Server, free_address};
use trunkline_client::{
    AckLevel, Connection, ConnectionOptions, Error, Event as ClientEvent, Publication,
    PublishError, Start, Subscription,
};

use crate::line::{Event, Line, PATIENCE, wait};
use crate::peer::{Keeps, Peer, Running, Seat};

#[derive(Clone, Debug)]
pub struct Trunkline {
    pub binary: PathBuf,
    pub idle: Idle,
    pub ack: Ack,
    /// Subscribers see records before they reach the ack level.
    pub visible_received: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    Spin,
    Adaptive,
    Park,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// The stream is kept in memory.
    Received,
    Stored,
    Synced,
    /// Commits go past the page cache: `synced_writes: direct`.
    SyncedDirect,
}

impl Trunkline {
    pub fn new(binary: PathBuf, idle: Idle, ack: Ack) -> Self {
        Self {
            binary,
            idle,
            ack,
            visible_received: false,
        }
    }

    pub fn visible_received(mut self) -> Self {
        self.visible_received = true;
        self
    }

    fn idle_word(&self) -> &'static str {
        match self.idle {
            Idle::Spin => "spin",
            Idle::Adaptive => "adaptive",
            Idle::Park => "park",
        }
    }

    fn ack_word(&self) -> &'static str {
        match self.ack {
            Ack::Received => "in memory",
            Ack::Stored => "stored",
            Ack::Synced => "synced",
            Ack::SyncedDirect => "synced direct",
        }
    }

    fn configuration(&self, connections: Option<u32>) -> String {
        let visible = if self.visible_received {
            "received"
        } else {
            "ack"
        };
        let limits = connections.map_or_else(String::new, |connections| {
            format!("limits: {{connections: {connections}}}\n")
        });
        let stream = match self.ack {
            Ack::Received => "storage: memory".into(),
            ack => {
                let ack = if ack == Ack::Stored {
                    "stored"
                } else {
                    "synced"
                };
                format!("ack: {ack}, visible: {visible}, retention: {{bytes: 1GiB}}")
            }
        };
        let writes = match self.ack {
            Ack::SyncedDirect => "synced_writes: direct\n",
            _ => "",
        };
        format!("{writes}streams: [{{name: bench, subjects: ['>'], {stream}}}]\n{limits}")
    }

    fn subscribe(&self, address: SocketAddr, start: Start) -> Result<Ours, Failure> {
        let mut line = Ours::connect(address)?;
        let subscription = Subscription::new(SUBJECT).start(start);
        let (_, wanted) = line.connection.subscribe(&subscription).map_err(text)?;
        line.flush()?;
        if start != Start::New {
            // What is kept may come with the answer: the caller takes both.
            return Ok(line);
        }
        let begin = Instant::now();
        let (mut done, mut failed) = (false, None);
        while !done {
            let came = line.connection.poll(|event| match event {
                ClientEvent::Done { request, .. } if request == wanted => done = true,
                ClientEvent::Failed { error, .. } => failed = Some(error.message.to_owned()),
                _ => {}
            });
            if let Some(failed) = failed.take() {
                return Err(failed);
            }
            if came.map_err(text)? == 0 && !done {
                wait(&[&line], Some(Duration::from_millis(100)))?;
            }
            if begin.elapsed() > PATIENCE {
                return Err("the subscription is not confirmed".into());
            }
        }
        Ok(line)
    }
}

impl Peer for Trunkline {
    type Line = Ours;

    fn name(&self) -> String {
        let visible = if self.visible_received {
            ", visible when received"
        } else {
            ""
        };
        format!(
            "trunkline {}{visible}, {}",
            self.ack_word(),
            self.idle_word()
        )
    }

    fn settings(&self) -> String {
        format!(
            "trunkline serve --idle {} with {}",
            self.idle_word(),
            self.configuration(None).trim().replace('\n', "; ")
        )
    }

    fn keeps(&self) -> Keeps {
        match self.ack {
            Ack::Received => Keeps::Nothing,
            Ack::Stored => Keeps::PageCache,
            Ack::Synced | Ack::SyncedDirect => Keeps::Synced,
        }
    }

    fn acknowledges(&self) -> bool {
        true
    }

    fn start(&self, seat: &Seat) -> Result<Running, Failure> {
        let folder = Server::folder(&seat.data)?;
        let config = folder.path().join("trunkline.yaml");
        std::fs::write(&config, self.configuration(seat.connections))
            .map_err(|error| error.to_string())?;
        let address = free_address()?;
        let mut command = Command::new(&self.binary);
        command.args([
            "serve",
            "--log",
            "warn",
            "--idle",
            self.idle_word(),
            "--listen",
            &address.to_string(),
        ]);
        command
            .arg("--config")
            .arg(&config)
            .arg("--data")
            .arg(folder.path().join("data"));
        Running::start(command, folder, seat, address)
    }

    fn publisher(&self, address: SocketAddr) -> Result<Ours, Failure> {
        Ours::connect(address)
    }

    fn subscriber(&self, address: SocketAddr) -> Result<Ours, Failure> {
        self.subscribe(address, Start::New)
    }

    fn replayer(&self, address: SocketAddr) -> Option<Result<Ours, Failure>> {
        Some(self.subscribe(address, Start::First))
    }
}

/// One connection of the client.
pub struct Ours {
    connection: Connection,
    /// Messages that a turn has encoded since it last sent.
    unsent: usize,
    /// The producer's sequence of the last that was published, and of the next to be acknowledged.
    published: u64,
    next_ack: Option<u64>,
}

impl Ours {
    fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let options = ConnectionOptions {
            name: "bench".into(),
            ..ConnectionOptions::default()
        };
        let connection = Connection::connect(&address.to_string(), &options).map_err(text)?;
        Ok(Self {
            connection,
            unsent: 0,
            published: 0,
            next_ack: None,
        })
    }
}

impl Line for Ours {
    #[inline]
    fn publish(&mut self, payload: &[u8]) -> Result<bool, Failure> {
        if self.unsent >= TURN_BYTES {
            return Ok(false);
        }
        let publication = Publication {
            level: AckLevel::Stream,
            ..Publication::new(SUBJECT, payload)
        };
        match self.connection.publish_with(&publication) {
            Ok(sequence) => {
                self.published = sequence;
                self.next_ack.get_or_insert(sequence);
                self.unsent += payload.len() + RECORD_BYTES;
                Ok(true)
            }
            Err(PublishError::Full) => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    }

    fn flush(&mut self) -> Result<bool, Failure> {
        let sent = self.connection.flush().map_err(text)?;
        if sent {
            self.unsent = 0;
        }
        Ok(sent)
    }

    fn poll(
        &mut self,
        on: &mut impl FnMut(Event<'_>) -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
        let mut wrong = None;
        let mut told = |result: Result<(), Failure>| {
            if let (Err(failure), None) = (result, &wrong) {
                wrong = Some(failure);
            }
        };
        let came = self.connection.poll(|event| match event {
            ClientEvent::Record { message, .. } => told(on(Event::Message(message.payload()))),
            ClientEvent::Acked { first, last, .. } => {
                if self.next_ack != Some(first) || last > self.published {
                    told(Err(format!(
                        "{first} to {last} of {} are acknowledged where {:?} was next",
                        self.published, self.next_ack
                    )));
                }
                self.next_ack = Some(last + 1);
                told(on(Event::Acked(last - first + 1)));
            }
            ClientEvent::Refused { error, .. }
            | ClientEvent::Failed { error, .. }
            | ClientEvent::Notice(error) => {
                told(Err(format!("refused: {}", error.message)));
            }
            ClientEvent::Gap { gap, .. } => told(Err(format!("records were left out: {gap:?}"))),
            _ => {}
        });
        match wrong {
            Some(failure) => Err(failure),
            None => Ok(came.map_err(text)? > 0),
        }
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.connection.stream().as_fd()
    }
}

fn text(error: Error) -> Failure {
    error.to_string()
}

const SUBJECT: &str = "bench";
/// A record around its payload.
const RECORD_BYTES: usize = 40;
/// As much as goes well in one call, as with the others.
const TURN_BYTES: usize = 64 << 10;
