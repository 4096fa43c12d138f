//! A client that publishes until its connection ends, and writes down what it is told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use trunkline_client::{
    AckLevel, Connection, ConnectionOptions, Error, ErrorCode, Event, Publication, PublishError,
};

use crate::ledger::{Named, Run};
use crate::record::{Id, STREAMS, subject};
use crate::rng::Rng;

/// What a client does, over all of its connections.
#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    client: u16,
    /// The streams that it publishes to, in turns.
    streams: Vec<u16>,
    level: AckLevel,
    in_flight_records: u64,
    until_refused: bool,
    rng: Rng,
    /// By stream: the next number.
    numbers: Vec<u64>,
}

/// What became of one connection.
#[derive(Debug, Default)]
pub(crate) struct Published {
    pub(crate) runs: BTreeMap<u16, Run>,
    pub(crate) sent: u64,
    pub(crate) acked_stored: u64,
    pub(crate) acked_synced: u64,
}

/// Records of a connection that are sent, in order.
#[derive(Debug, Default)]
struct Account {
    published: Published,
    /// By producer's sequence, which counts from 1.
    sent: Vec<Id>,
    acked: u64,
    /// The stream takes nothing any more, and says why.
    is_refused: bool,
    until_refused: bool,
    wrong: Option<String>,
    over: bool,
}

impl Publisher {
    pub(crate) fn new(
        client: u16,
        streams: &[u16],
        level: AckLevel,
        in_flight_records: u64,
        seed: u64,
    ) -> Self {
        Self {
            client,
            streams: streams.into(),
            level,
            in_flight_records,
            until_refused: false,
            rng: Rng(seed ^ u64::from(client) << 32),
            numbers: vec![0; STREAMS.len()],
        }
    }

    /// The same, but one whose disk is going to fail: it must be refused with the reason, and ends with that.
    pub(crate) fn until_refused(self) -> Self {
        Self {
            until_refused: true,
            ..self
        }
    }

    pub(crate) fn is_until_refused(&self) -> bool {
        self.until_refused
    }

    pub(crate) fn client(&self) -> u16 {
        self.client
    }

    /// Publishes as fast as the window allows, until the server is gone. `flushes` is what a device has flushed so far.
    ///
    /// # Errors
    /// The server said something that it should not.
    pub(crate) fn run(&mut self, address: &str, flushes: &AtomicU64) -> Result<Published, String> {
        let options = ConnectionOptions {
            name: format!("torture-{}", self.client),
            in_flight_records: self.in_flight_records,
            buffer_bytes: 256 << 10,
            ..ConnectionOptions::default()
        };
        let mut account = Account {
            until_refused: self.until_refused,
            ..Account::default()
        };
        for stream in &self.streams {
            let first = self.numbers[usize::from(*stream)];
            account.published.runs.insert(*stream, Run::new(first));
        }
        // A server that is killed before it has taken the connection has nothing of it.
        if let Ok(mut connection) = Connection::connect(address, &options) {
            self.converse(&mut connection, &mut account, flushes);
        }
        if self.until_refused && !account.is_refused {
            account
                .wrong
                .get_or_insert("its disk failed, and nothing was refused".into());
        }
        match account.wrong {
            Some(wrong) => Err(format!("client {}: {wrong}", self.client)),
            None => Ok(account.published),
        }
    }

    fn converse(
        &mut self,
        connection: &mut Connection,
        account: &mut Account,
        flushes: &AtomicU64,
    ) {
        let end = Instant::now() + LIMIT;
        let mut payload = Vec::new();
        while account.wrong.is_none() && !account.over {
            // After a refusal nothing more is sent: what was accepted before it is still answered.
            for _ in 0..1 + self.rng.below(64) {
                if !self.publish(connection, account, &mut payload) {
                    break;
                }
            }
            let level = self.level;
            let moved = connection
                .flush()
                .and_then(|_| connection.poll(|event| account.on_event(&event, level, flushes)));
            match moved {
                Ok(0) => wait(connection),
                Ok(_) => {}
                Err(error) => {
                    account.on_end(&error);
                    return;
                }
            }
            if Instant::now() > end {
                account.wrong = Some("the connection outlives its server".into());
            }
        }
    }

    /// Publishes the next record. Whether the window was open.
    fn publish(
        &mut self,
        connection: &mut Connection,
        account: &mut Account,
        payload: &mut Vec<u8>,
    ) -> bool {
        let stream = self.streams[self.rng.below(self.streams.len() as u64) as usize];
        let id = Id {
            client: self.client,
            stream,
            number: self.numbers[usize::from(stream)],
        };
        id.write(payload);
        let subject = subject(stream, self.client);
        let publication = Publication {
            level: self.level,
            ..Publication::new(&subject, payload)
        };
        match connection.publish_with(&publication) {
            Ok(sequence) => {
                self.numbers[usize::from(stream)] += 1;
                account.on_sent(sequence, id);
                true
            }
            Err(PublishError::Full) => false,
            Err(error) => {
                account.wrong = Some(error.to_string());
                false
            }
        }
    }
}

impl Account {
    fn on_sent(&mut self, sequence: u64, id: Id) {
        self.sent.push(id);
        if sequence != self.sent.len() as u64 {
            self.wrong = Some(format!("record {} has number {sequence}", self.sent.len()));
        }
        self.published.sent += 1;
        self.published.runs.entry(id.stream).or_default().sent += 1;
    }

    fn on_event(&mut self, event: &Event<'_>, level: AckLevel, flushes: &AtomicU64) {
        match event {
            Event::Acked { first, last, ack } => {
                if *first != self.acked + 1 || *last < *first || *last > self.sent.len() as u64 {
                    self.wrong = Some(format!(
                        "{first} to {last} are acknowledged after {}, {} were sent",
                        self.acked,
                        self.sent.len()
                    ));
                    return;
                }
                if ack.level < level.max(AckLevel::Stored) {
                    self.wrong = Some(format!("asked for {level}, acknowledged {}", ack.level));
                }
                let ids = &self.sent[self.acked as usize..*last as usize];
                for id in ids {
                    self.published.runs.entry(id.stream).or_default().acked += 1;
                }
                if let Some(id) = ids.last() {
                    let run = self.published.runs.entry(id.stream).or_default();
                    run.named.push(Named {
                        sequence: ack.stream_sequence,
                        number: id.number,
                        level: ack.level,
                        // Read after the Ack: what made the record durable is counted.
                        flushes: flushes.load(Ordering::Acquire),
                    });
                }
                if ack.level == AckLevel::Synced {
                    self.published.acked_synced += last - self.acked;
                } else {
                    self.published.acked_stored += last - self.acked;
                }
                self.acked = *last;
            }
            Event::Notice(error) if error.code == ErrorCode::SHUTTING_DOWN => {}
            Event::Closing(_) => self.over = true,
            Event::Refused { error, .. }
                if self.until_refused
                    && [ErrorCode::READ_ONLY, ErrorCode::NO_SPACE].contains(&error.code)
                    && DISK_FAILED
                        .iter()
                        .any(|reason| error.message.contains(reason)) =>
            {
                self.is_refused = true;
                self.over = true;
            }
            Event::Refused { error, .. } | Event::Notice(error) => {
                self.wrong = Some(format!("refused: {} ({:?})", error.message, error.code));
            }
            _ => {}
        }
    }

    /// The connection is over: as connections to a process that is gone.
    fn on_end(&mut self, error: &Error) {
        match error {
            Error::Io(_) | Error::Closed | Error::Disconnected => {}
            // The server ends a connection in words when it stops.
            Error::Refused { code, .. } if *code == ErrorCode::SHUTTING_DOWN => {}
            error => self.wrong = Some(error.to_string()),
        }
    }
}

/// Waits until there is something to do, a little.
fn wait(connection: &Connection) {
    let mut flags = PollFlags::IN;
    flags.set(PollFlags::OUT, connection.wants_to_send());
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: 2_000_000,
    };
    let _ = poll(
        &mut [PollFd::new(connection.stream(), flags)],
        Some(&timeout),
    );
}

/// Reasons of a disk that fails; ext4 gives the second one when its journal has failed before it.
pub(crate) const DISK_FAILED: [&str; 3] = [
    "(errno 5)",
    "(errno 30)",
    // The call that the failure came into.
    "fewer bytes written than asked",
];
/// No server lives so long.
const LIMIT: Duration = Duration::from_secs(60);
