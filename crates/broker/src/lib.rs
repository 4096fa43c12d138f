//! Streams, subscriptions, delivery, replay, credit and acks: one worker's state and its turn.
//!
//! A [`Shard`] is everything that a worker knows about its streams. It does no I/O, starts no threads and reads no clock: what
//! arrives comes in as calls, what is to be sent goes to an [`Out`], what is to be written to a [`Disk`](trunkline_log::Disk), and
//! the time is an argument.
//!
//! ```text
//!  publish ──► subject table ──► Log::append          (one copy: the record now lies in its stream's tail)
//!                                    │
//!  turn ─────────► Log::flush ───────┤
//!                                    ▼
//!              received ─► stored ─► synced           (marks; moved by on_disk)
//!                  │          │         │
//!                  └──────────┼─────────┴──► acks      at the level that the frame asked for
//!                             ▼
//!                          visible ──► feeds ──► channels ──► Out::deliver (a span of the tail, held until on_sent)
//! ```
//!
//! # What happens to a subscriber that does not keep up
//!
//! A subscription has a **channel** for each stream that it gets records of, and the channel reads from a **feed**: a place in the stream,
//! with one channel or, in a queue group, several. A channel gets records while it has credit. A feed that replays (it started
//! behind the end and has not caught up yet) is not slow: the policy holds from the first time that it has caught up. *Window* is
//! [`Limits::window_bytes`], at most a quarter of the tail.
//!
//! | policy | no credit, at most a window behind | further behind | its records leave the tail | retention removes its records |
//! |---|---|---|---|---|
//! | `block` | waits | waits | they do not: publishers to the stream wait until it has read them | they are in the tail, so they do not go |
//! | `drop-newest` | waits | what is in the window comes, then a Gap (reason 2) up to the newest record there is when that has been delivered | read from the files; a stream without files: Gap (2) | Gap (1) |
//! | `drop-oldest` | waits | goes on half a window behind the end; Gap (2) for what is between | does not come to that, unless nobody is connected | Gap (1) |
//! | `disconnect` | waits | Error 18, the connection ends | read from the files, as long as it is within the window | Gap (1) |
//! | `spill` | waits | waits | read from the files; a stream without files: Gap (2) | Gap (1) |
//!
//! While it replays, every policy reads from the files like `spill`. A Gap says which sequences will not come, once, before the next
//! delivery; nothing is left out silently. Credit is a promise to take bytes: a session that was handed a stretch of the tail and does not take
//! it while publishers wait for exactly that stretch loses it ([`Out::reclaim`]), unless its policy is `block`.
//!
//! # Bounds
//!
//! Everything is bounded by [`Limits`], which adds itself up. After warm-up, publishing and delivering allocate nothing.
#![forbid(unsafe_code)]

mod acks;
mod barrier;
mod catalog;
mod channel;
mod cold;
mod cursor_record;
mod cursors;
mod damage;
mod deliver;
mod delivery;
mod feed;
mod hand;
mod hash;
mod limits;
mod out;
mod policy;
mod progress;
mod publish;
mod ranges;
mod refusal;
mod rpc;
mod session;
mod shard;
mod slab;
mod stream;
mod stretch;
mod subjects;
mod subscribe;
mod turn;
mod unopened;

pub use catalog::SYSTEM_PREFIX;
pub use cursors::CursorInfo;
pub use limits::Limits;
pub use out::{HoldId, Out, SessionId, Source, Span};
pub use publish::{PublishFrame, Published};
pub use refusal::{PublishError, PublishFault, Refusal};
pub use shard::{Shard, ShardConfig};
pub use stream::{StreamInfo, StreamPlan};
pub use trunkline_log::Now;
pub use turn::Turn;
