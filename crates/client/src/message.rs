//! A record as a subscriber sees it.

use trunkline_wire::headers::Headers;
use trunkline_wire::{Record, RecordFlags};

/// A record of a stream, borrowed from the buffer that it came in.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub(crate) stream: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) record: Record<'a>,
}

impl<'a> Message<'a> {
    /// The stream that it comes from.
    pub fn stream(&self) -> &'a str {
        self.stream
    }

    /// What it was published to.
    pub fn subject(&self) -> &'a str {
        self.subject
    }

    /// Its place in the stream.
    pub fn sequence(&self) -> u64 {
        self.record.sequence()
    }

    /// When the stream took it, in nanoseconds since 1970.
    pub fn timestamp_ns(&self) -> u64 {
        self.record.timestamp_ns()
    }

    /// Its user headers.
    pub fn headers(&self) -> Headers<'a> {
        self.record.headers()
    }

    /// What was published.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.record.payload()
    }

    /// The record as it came; its checksum was checked.
    pub fn record(&self) -> Record<'a> {
        self.record
    }

    /// A copy that may be kept.
    pub fn to_owned(&self) -> OwnedMessage {
        OwnedMessage {
            stream: self.stream.into(),
            subject: self.subject.into(),
            sequence: self.sequence(),
            timestamp_ns: self.timestamp_ns(),
            headers: if self.record.flags().contains(RecordFlags::HEADERS) {
                self.headers()
                    .iter()
                    .map(|(key, value)| (key.into(), value.into()))
                    .collect()
            } else {
                Vec::new()
            },
            payload: self.payload().to_vec(),
        }
    }
}

/// A copy of a [`Message`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedMessage {
    /// The stream that it comes from.
    pub stream: Box<str>,
    /// What it was published to.
    pub subject: Box<str>,
    /// Its place in the stream.
    pub sequence: u64,
    /// When the stream took it, in nanoseconds since 1970.
    pub timestamp_ns: u64,
    /// Its user headers.
    pub headers: Vec<(Box<str>, Box<[u8]>)>,
    /// What was published.
    pub payload: Vec<u8>,
}
