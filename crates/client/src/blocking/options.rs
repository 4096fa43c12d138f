//! How a client behaves.

use std::time::Duration;

use trunkline_ring::wait::Strategy;

use super::client::Client;
use crate::error::Error;

/// How the client's thread, and those who wait for it, wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Idle {
    /// Never sleep: the lowest latency, and a core for each who waits.
    Spin,
    /// Look again for some tens of microseconds after there was something, then sleep.
    #[default]
    Adaptive,
    /// Sleep at once.
    Park,
}

impl Idle {
    pub(super) fn strategy(self) -> Strategy {
        match self {
            Self::Spin => Strategy::Spin,
            Self::Adaptive => Strategy::SpinThenPark { spins: 200 },
            Self::Park => Strategy::Park,
        }
    }
}

/// What happens to records that were not acknowledged when a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Unacknowledged {
    /// They are reported as [`Error::Indeterminate`]: the server may have them or not. No record is ever stored twice.
    #[default]
    Report,
    /// They are sent again: every record is stored at least once, and those whose acknowledgement was lost
    /// twice. Costs a copy of each record in memory until it is acknowledged.
    Resend,
}

/// How a [`Client`] behaves; made by [`Client::builder`].
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    pub(super) address: String,
    pub(super) name: String,
    pub(super) idle: Idle,
    pub(super) unacknowledged: Unacknowledged,
    pub(super) connect_timeout: Duration,
    pub(super) request_timeout: Duration,
    pub(super) publish_timeout: Duration,
    pub(super) keep_alive: Duration,
    pub(super) reconnect: bool,
    pub(super) backoff_max: Duration,
    pub(super) buffer_bytes: usize,
    pub(super) in_flight_records: u64,
}

impl ClientBuilder {
    pub(super) fn new(address: &str) -> Self {
        Self {
            address: address.into(),
            name: "trunkline-client".into(),
            idle: Idle::default(),
            unacknowledged: Unacknowledged::default(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            publish_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(10),
            reconnect: true,
            backoff_max: Duration::from_secs(5),
            buffer_bytes: 1 << 20,
            in_flight_records: 65_536,
        }
    }

    /// What the client calls itself, for people.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// How to wait. Default [`Idle::Adaptive`].
    #[must_use]
    pub fn idle(mut self, idle: Idle) -> Self {
        self.idle = idle;
        self
    }

    /// What happens to unacknowledged records when a connection breaks. Default [`Unacknowledged::Report`].
    #[must_use]
    pub fn unacknowledged(mut self, unacknowledged: Unacknowledged) -> Self {
        self.unacknowledged = unacknowledged;
        self
    }

    /// How long a connection may take to be made, up to the server's Hello. Default 5 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long to wait for the answer to a subscribe. Default 10 s.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How long publishing waits while the window is full. Default 30 s.
    #[must_use]
    pub fn publish_timeout(mut self, timeout: Duration) -> Self {
        self.publish_timeout = timeout;
        self
    }

    /// After how much silence the server is asked for a sign of life; after three times as much the connection counts as
    /// broken. Default 10 s, at least 10 ms.
    #[must_use]
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.keep_alive = interval.max(Duration::from_millis(10));
        self
    }

    /// Whether to connect again when a connection breaks. Default yes.
    #[must_use]
    pub fn reconnect(mut self, reconnect: bool) -> Self {
        self.reconnect = reconnect;
        self
    }

    /// The longest pause between two tries to connect again; the first is some 20 ms. Default 5 s.
    #[must_use]
    pub fn backoff_max(mut self, pause: Duration) -> Self {
        self.backoff_max = pause;
        self
    }

    /// Bytes that may wait to be sent before publishing waits. Default 1 MiB.
    #[must_use]
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes;
        self
    }

    /// Records that may be unacknowledged before publishing waits: the window. Default 65,536, at least 1.
    #[must_use]
    pub fn in_flight_records(mut self, records: u64) -> Self {
        self.in_flight_records = records.max(1);
        self
    }

    /// Connects, and waits for the server's Hello.
    ///
    /// # Errors
    /// Why there is no connection.
    pub fn connect(self) -> Result<Client, Error> {
        Client::start(self)
    }
}
