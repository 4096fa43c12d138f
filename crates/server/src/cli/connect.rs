//! What every command that talks to a server shares: connecting, waiting, and being told to stop.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec};
use signal_hook::consts::{SIGINT, SIGTERM};
use trunkline_client::{Client, Connection, ConnectionOptions, Error, ErrorCode, Event};

use super::exit::Failure;
use crate::config::Span;
use crate::plan::{DEFAULT_ADDRESS, SERVER_VARIABLE};

/// Which server.
#[derive(Debug, Clone, Args)]
pub(super) struct Target {
    /// The server's address
    #[arg(long, short, value_name = "HOST:PORT", env = SERVER_VARIABLE, default_value = DEFAULT_ADDRESS)]
    pub(super) server: String,
}

/// A connection, and whether the user wants to stop.
pub(super) struct Line {
    pub(super) connection: Connection,
    server: String,
    stop: Stop,
    /// Why the server said that it is closing the connection.
    farewell: Option<String>,
    /// Absent while something comes.
    silence: Option<Silence>,
}

/// Nothing comes from the server.
struct Silence {
    since: Instant,
    /// When it was asked for a sign of life.
    asked: Option<Instant>,
}

/// Ctrl-C and SIGTERM, once; the second ends the process on the spot, unless it has something to put away.
#[derive(Clone)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Target {
    /// Connects, naming the command to the server.
    pub(super) fn connect(&self, command: &str) -> Result<Line, Failure> {
        Line::connect(&self.server, command, CONNECT_PATIENCE)
    }

    /// The same for a command that has `time` for everything.
    pub(super) fn connect_within(&self, command: &str, time: Duration) -> Result<Line, Failure> {
        Line::connect(&self.server, command, CONNECT_PATIENCE.min(time))
    }

    /// A client that keeps its connection up, or does not, on threads of its own, for a command that has `time` for everything.
    pub(super) fn client(
        &self,
        command: &str,
        reconnect: bool,
        time: Option<Duration>,
    ) -> Result<Client, Failure> {
        let name = format!("trunkline {command} {}", std::process::id());
        let within = |patience: Duration| time.map_or(patience, |time| patience.min(time));
        let builder = Client::builder(&self.server)
            .name(&name)
            .reconnect(reconnect)
            .connect_timeout(within(CONNECT_PATIENCE))
            .request_timeout(within(ANSWER_PATIENCE));
        builder.connect().map_err(|error| match error {
            Error::TimedOut => silent(&self.server, within(CONNECT_PATIENCE)),
            error => unreachable(&self.server, &error),
        })
    }

    /// What an operation of a client failed with.
    pub(super) fn failed(&self, error: &Error) -> Failure {
        match error {
            Error::Refused { .. } | Error::Publish(_) | Error::TooMany => {
                Failure::Refused(error.to_string())
            }
            Error::TimedOut => Failure::Connection(format!("{} does not answer", self.server)),
            error => Failure::Connection(format!("{}: {error}", self.server)),
        }
    }

    /// What has ended a client's connection, in words.
    pub(super) fn lost(&self, client: &Client) -> String {
        let server = &self.server;
        match client.disconnected_by().as_deref() {
            Some(Error::Refused { code, message }) => {
                format!(
                    "{server} closed the connection: {}",
                    farewell(*code, message)
                )
            }
            None => format!("{server} closed the connection"),
            Some(error) => broken(server, error),
        }
    }
}

impl Line {
    /// Connects and waits for the server's Hello, which has its limits: all of that within `patience`.
    pub(super) fn connect(
        server: &str,
        command: &str,
        patience: Duration,
    ) -> Result<Self, Failure> {
        Self::connect_until(server, command, patience, Stop::install()?)
    }

    /// The same for a command that listens to signals already.
    pub(super) fn connect_until(
        server: &str,
        command: &str,
        patience: Duration,
        stop: Stop,
    ) -> Result<Self, Failure> {
        let end = Instant::now() + patience;
        let name = format!("trunkline {command} {}", std::process::id());
        let options = ConnectionOptions {
            name,
            connect_timeout: patience,
            ..ConnectionOptions::default()
        };
        let connection =
            Connection::connect(server, &options).map_err(|error| unreachable(server, &error))?;
        let mut line = Self {
            connection,
            server: server.to_owned(),
            stop,
            farewell: None,
            silence: None,
        };
        let mut greeted = false;
        loop {
            let came = line.turn(|event| greeted |= matches!(event, Event::Hello(_)))?;
            if greeted {
                return Ok(line);
            }
            if Instant::now() >= end {
                return Err(silent(server, patience));
            }
            if !came {
                line.wait(None, Some(end))?;
            }
        }
    }

    /// The server's address.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Sends what waits, receives once, and tells what came. Returns whether anything came.
    pub(super) fn turn(&mut self, mut on: impl FnMut(Event<'_>)) -> Result<bool, Failure> {
        let flushed = self.connection.flush().map(|_| ());
        let said = &mut self.farewell;
        let polled = self.connection.poll(|event| {
            match &event {
                Event::Notice(error) => *said = Some(farewell(error.code, error.message)),
                Event::Closing(close) => *said = Some(farewell(close.code, close.reason)),
                _ => {}
            }
            on(event);
        });
        if matches!(polled, Ok(bytes) if bytes > 0) {
            self.silence = None;
        }
        // What the server said before it went is worth more than what the socket says about it.
        match (polled, flushed) {
            (Ok(bytes), Ok(())) => Ok(bytes > 0),
            (Ok(bytes), Err(_)) if bytes > 0 => Ok(true),
            (Err(error), _) | (_, Err(error)) => Err(self.lost(&error)),
        }
    }

    /// Sleeps until something can be received (or sent, when something waits for that), `other` can be read, the time comes,
    /// or the user wants to stop, which is a failure. So is a server that gives no sign of life when it is asked for one.
    pub(super) fn wait(
        &mut self,
        other: Option<BorrowedFd<'_>>,
        until: Option<Instant>,
    ) -> Result<(), Failure> {
        self.stop.check()?;
        self.keep_alive()?;
        let mut wanted = PollFlags::IN;
        if self.connection.wants_to_send() {
            wanted |= PollFlags::OUT;
        }
        let mut fds = vec![PollFd::from_borrowed_fd(
            self.connection.stream().as_fd(),
            wanted,
        )];
        fds.extend(other.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        // Never for long: a signal may come just before the system call.
        let left = until.map_or(LONGEST_SLEEP, |until| {
            until.saturating_duration_since(Instant::now())
        });
        let left = left.min(LONGEST_SLEEP);
        let left = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match rustix::event::poll(&mut fds, Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => self.stop.check(),
            Err(error) => Err(Failure::Machine(format!("cannot wait: {error}"))),
        }
    }

    /// Asks for a sign of life when there was none for a while, and gives up when none comes. What has come is received
    /// before every wait: time that this process was stopped for is not held against the server.
    fn keep_alive(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        let silence = self.silence.get_or_insert(Silence {
            since: now,
            asked: None,
        });
        match silence.asked {
            None if now - silence.since >= SILENCE_BEFORE_PING => {
                silence.asked = Some(now);
                // Without room for it there is enough that waits for an answer.
                let _ = self.connection.ping();
            }
            Some(asked) if now - asked >= SILENCE_AFTER_PING => {
                let quiet = (now - silence.since).as_secs();
                return Err(Failure::Connection(format!(
                    "{} has said nothing for {quiet}s: it hangs, or the network is gone",
                    self.server
                )));
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the user wants to stop.
    pub(super) fn stopped(&self) -> bool {
        self.stop.check().is_err()
    }

    /// Says goodbye; what waits is sent first, for as long as a second.
    pub(super) fn close(mut self) {
        let end = Instant::now() + Duration::from_secs(1);
        if self.connection.close().is_err() {
            return;
        }
        while Instant::now() < end {
            match self.connection.flush() {
                Ok(false) => {}
                Ok(true) | Err(_) => return,
            }
            if self.wait(None, Some(end)).is_err() {
                return;
            }
        }
    }

    fn lost(&self, error: &Error) -> Failure {
        let server = &self.server;
        Failure::Connection(match &self.farewell {
            Some(reason) => format!("{server} closed the connection: {reason}"),
            None => broken(server, error),
        })
    }
}

/// Why the server says that it closes a connection.
fn farewell(code: ErrorCode, reason: &str) -> String {
    match (code, reason) {
        (ErrorCode::SHUTTING_DOWN, _) => "the server is shutting down".to_owned(),
        (code, "") => code.description().to_owned(),
        (_, reason) => reason.to_owned(),
    }
}

/// A connection that ended without a word of the server.
fn broken(server: &str, error: &Error) -> String {
    match error {
        Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            format!("{server} closed the connection")
        }
        error => format!("the connection to {server} is lost: {error}"),
    }
}

impl Stop {
    pub(super) fn install() -> Result<Self, Failure> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // Before the flag is set by the same signal: the first sets it, and the second finds it set.
            signal_hook::flag::register_conditional_shutdown(signal, 130, flag.clone())
                .map_err(deaf)?;
        }
        Self::set_by_signals(flag)
    }

    /// For a command that has something to put away when it ends: no signal ends it before it has.
    pub(super) fn install_patient() -> Result<Self, Failure> {
        Self::set_by_signals(Arc::new(AtomicBool::new(false)))
    }

    fn set_by_signals(flag: Arc<AtomicBool>) -> Result<Self, Failure> {
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, flag.clone()).map_err(deaf)?;
        }
        Ok(Self(flag))
    }

    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.0.load(Ordering::Relaxed) {
            Err(Failure::Interrupted)
        } else {
            Ok(())
        }
    }
}

fn deaf(error: io::Error) -> Failure {
    Failure::Machine(format!("cannot listen to signals: {error}"))
}

/// What the server refused, in its words.
pub(super) fn refused(error: &trunkline_wire::ErrorBody<'_>) -> Failure {
    let text = match error.message {
        "" => error.code.description().to_owned(),
        message => message.to_owned(),
    };
    match error.code {
        ErrorCode::NOBODY_LISTENS | ErrorCode::RESPONDER_GONE | ErrorCode::CALL_TIMED_OUT => {
            Failure::Absent(text)
        }
        code => Failure::Refused(format!("refused: {text} (error {})", code.0)),
    }
}

fn unreachable(server: &str, error: &Error) -> Failure {
    Failure::Connection(format!(
        "cannot connect to {server}: {error}{}",
        remedy(error)
    ))
}

/// The server took the connection and then said nothing.
fn silent(server: &str, patience: Duration) -> Failure {
    let patience = Span(u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX));
    Failure::Connection(format!(
        "cannot connect to {server}: it takes connections, but said nothing within {patience}; it hangs, or is no Trunkline server"
    ))
}

fn remedy(error: &Error) -> &'static str {
    match error {
        Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            "; is the server running? `trunkline serve` starts one, --server names another"
        }
        Error::Io(error) if error.kind() == io::ErrorKind::InvalidInput => {
            "; write HOST:PORT, such as 127.0.0.1:7400"
        }
        _ => "",
    }
}

const LONGEST_SLEEP: Duration = Duration::from_millis(200);
/// Time for a server to take the connection and to say Hello.
pub(super) const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Time for a server to answer a subscription.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// After how much silence a server is asked for a sign of life, and how long it then has for one.
const SILENCE_BEFORE_PING: Duration = Duration::from_secs(10);
const SILENCE_AFTER_PING: Duration = Duration::from_secs(20);
