//! The keys of a configuration file. Every field is optional: what is absent keeps the default that
//! [`Plan`](crate::plan::Plan) states.

use std::fmt;
use std::path::PathBuf;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize as DeriveDeserialize, Serialize};
use serde_saphyr::Spanned;

use super::units::{Bytes, Span};

/// A configuration file, as it was written.
#[derive(Debug, Clone, Default, DeriveDeserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Addresses to listen on.
    pub listen: Option<Spanned<Vec<Spanned<Listener>>>>,
    /// Directory of the durable streams; relative to the working directory.
    pub data: Option<Spanned<PathBuf>>,
    /// Number of workers.
    pub workers: Option<Spanned<Workers>>,
    /// Which CPUs the workers are bound to.
    pub pin: Option<Spanned<Pin>>,
    /// What a worker does when there is nothing to do.
    pub idle: Option<Idle>,
    /// How the workers talk to the kernel.
    pub io: Option<Io>,
    /// How commits of streams with `ack: synced` go to the device.
    pub synced_writes: Option<Spanned<SyncedWrites>>,
    /// Bounds on what clients can ask for.
    pub limits: Option<Limits>,
    /// The streams; when the key is absent there is one, named `main`, that captures everything.
    pub streams: Option<Vec<Spanned<Stream>>>,
}

/// One address; `insecure` is needed outside the loopback range.
#[derive(Debug, Clone)]
pub struct Listener {
    /// `IP:PORT`.
    pub address: Spanned<String>,
    /// Allows an address that other machines can reach.
    pub insecure: bool,
}

/// `auto` or a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// One on machines of one or two cores, else half the cores.
    Auto,
    /// This many.
    Count(u32),
}

/// `none`, `auto` or a list of CPU numbers, one for each worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// The system's scheduler moves workers as it likes.
    None,
    /// Each worker to a CPU of its own, away from the siblings of the others.
    Auto,
    /// Worker *n* to the *n*th CPU of the list.
    Cpus(Vec<u32>),
}

/// What a worker does when there is nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, DeriveDeserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Idle {
    /// Poll without end: the lowest latency, and one core always busy.
    Spin,
    /// Poll while there is traffic, then sleep.
    Adaptive,
    /// Sleep at once: the least CPU, and tens of microseconds for each wake-up.
    Park,
}

/// How a worker talks to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, DeriveDeserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Io {
    /// What measured better, among what the system allows.
    Auto,
    /// io_uring, or no start.
    IoUring,
    /// epoll.
    Epoll,
}

/// How the commits of streams that sync each of them go to the device; `trunkline doctor` times both on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, DeriveDeserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncedWrites {
    /// Into the page cache, and a sync behind it.
    Buffered,
    /// Past the page cache, with one call that writes and syncs.
    Direct,
}

/// Bounds on what clients can ask for; each is a term or a factor of `trunkline plan`.
#[derive(Debug, Clone, Default, DeriveDeserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest record with its header.
    pub max_record: Option<Spanned<Bytes>>,
    /// Largest body of a frame.
    pub max_frame: Option<Spanned<Bytes>>,
    /// Connections at one time.
    pub connections: Option<Spanned<u32>>,
    /// Subscriptions of one connection.
    pub subscriptions: Option<Spanned<u32>>,
    /// Subjects that one connection publishes to.
    pub session_subjects: Option<Spanned<u32>>,
    /// Subjects that one stream holds.
    pub stream_subjects: Option<Spanned<u32>>,
    /// Requests of one connection that wait for their answer.
    pub calls: Option<Spanned<u32>>,
    /// Bytes that wait to be sent on one connection, besides the records in the streams' tails.
    pub send_queue: Option<Spanned<Bytes>>,
    /// Memory of one worker for received bytes.
    pub receive_pool: Option<Spanned<Bytes>>,
    /// Memory of one worker for what is read back from disk.
    pub read_pool: Option<Spanned<Bytes>>,
    /// Time for a client's first frame.
    pub hello_timeout: Option<Spanned<Span>>,
    /// Silence after which a connection is closed; pings count as noise.
    pub idle_timeout: Option<Spanned<Span>>,
    /// Time for a connection to take any of the bytes that wait for it.
    pub send_timeout: Option<Spanned<Span>>,
    /// Time for a clean stop.
    pub drain_timeout: Option<Spanned<Span>>,
}

/// One stream.
#[derive(Debug, Clone, DeriveDeserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Its name: letters, digits, `-` and `_`.
    pub name: Spanned<String>,
    /// The patterns that it captures; no two streams may capture one subject.
    pub subjects: Vec<Spanned<String>>,
    /// Files or memory.
    #[serde(default)]
    pub storage: Option<Spanned<Storage>>,
    /// What an acknowledgement says when the publisher asks for nothing else.
    #[serde(default)]
    pub ack: Option<Spanned<Ack>>,
    /// When subscribers see a record.
    #[serde(default)]
    pub visible: Option<Spanned<Visible>>,
    /// What is kept.
    #[serde(default)]
    pub retention: Option<Spanned<Retention>>,
    /// Size of a segment file.
    #[serde(default)]
    pub segment: Option<Spanned<Bytes>>,
    /// Memory for the newest records.
    #[serde(default)]
    pub tail: Option<Spanned<Bytes>>,
    /// Longest time that a stored record waits for a sync nobody asked for.
    #[serde(default)]
    pub sync_interval: Option<Spanned<Span>>,
}

/// What a stream keeps; the oldest segments go when any bound is passed.
#[derive(Debug, Clone, Default, DeriveDeserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Bytes of segment files.
    pub bytes: Option<Spanned<Bytes>>,
    /// Age of the newest record of a segment.
    pub age: Option<Spanned<Span>>,
    /// Records.
    pub records: Option<Spanned<u64>>,
}

/// Where a stream's records live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, DeriveDeserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// In files below the data directory.
    File,
    /// In memory only; gone with the process.
    Memory,
}

/// What has happened to a record when it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, DeriveDeserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    /// It is in the server's memory.
    Received,
    /// It is written to its file: it survives a kill of the server.
    Stored,
    /// It is on the device: it survives a power cut.
    Synced,
}

/// When subscribers see a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, DeriveDeserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Visible {
    /// When it has reached the stream's ack level.
    Ack,
    /// At once; a crash can take back what was seen.
    Received,
}

impl SyncedWrites {
    /// The word in configuration.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Buffered => "buffered",
            Self::Direct => "direct",
        }
    }
}

impl Ack {
    /// The word in configuration and on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Stored => "stored",
            Self::Synced => "synced",
        }
    }
}

impl<'de> Deserialize<'de> for Listener {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The long form.
        #[derive(DeriveDeserialize)]
        #[serde(deny_unknown_fields)]
        struct Full {
            address: Spanned<String>,
            #[serde(default)]
            insecure: bool,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Listener;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "an address such as 127.0.0.1:7400, or a mapping with `address` and `insecure`",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Listener, E> {
                let nowhere = serde_saphyr::Location::UNKNOWN;
                Ok(Listener {
                    address: Spanned::new(text.to_owned(), nowhere, nowhere),
                    insecure: false,
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Listener, A::Error> {
                let full = Full::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Listener {
                    address: full.address,
                    insecure: full.insecure,
                })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Workers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Word;
        impl Visitor<'_> for Word {
            type Value = Workers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`auto` or a number of workers")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Workers, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Word)
    }
}

/// The most workers that a configuration can ask for: a set of them is the bits of one word wherever a frame touches several.
pub const WORKERS_MAX: u32 = 64;

impl std::str::FromStr for Workers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse::<u32>()) {
            ("auto", _) => Ok(Self::Auto),
            (_, Ok(count @ 1..=WORKERS_MAX)) => Ok(Self::Count(count)),
            _ => Err(format!(
                "`{text}` workers is not possible; write `auto` or a number from 1 to {WORKERS_MAX}"
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Pin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordOrList;
        impl<'de> Visitor<'de> for WordOrList {
            type Value = Pin;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`none`, `auto` or a list of CPU numbers such as [2, 3]")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Pin, E> {
                match text {
                    "none" => Ok(Pin::None),
                    "auto" => Ok(Pin::Auto),
                    _ => Err(E::custom(format!(
                        "`{text}` says nothing about pinning; write `none`, `auto` or a list of CPU numbers such as [2, 3]"
                    ))),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Pin, A::Error> {
                let mut cpus = Vec::new();
                while let Some(cpu) = list.next_element()? {
                    cpus.push(cpu);
                }
                Ok(Pin::Cpus(cpus))
            }
        }
        deserializer.deserialize_any(WordOrList)
    }
}
