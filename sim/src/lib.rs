//! A deterministic world around the data plane.
//!
//! The real log, the real sessions and the real shard run on a disk, a network and clocks that are simulated, and in which everything
//! goes wrong that a seed's random numbers say: see [`Fault`]. Clients keep account of what they were told, and after every crash
//! and at the end [`Invariant`]s are checked against it. The same seed gives the same run, event by event.
//!
//! ```text
//!   clients ──► net ──► wire::Session ──► broker::Shard ──► log::Log ──► disk
//!   (ledger)            (server)          (turns)           (recovery)   (page cache, power loss)
//!      ▲                                                                    │
//!      └───────────────────── model, invariants ◄──── observe, replay ◄─────┘
//! ```
//!
//! Beside it, [`run_small`] tries everything that is small: all sequences of a few operations on one log, and all crashes.
//!
//! What it leaves out: the reactor, the server's own files (configuration, lock), more than one worker. The tests around the real
//! program are for those; see `docs/TESTING.md`.
#![forbid(unsafe_code)]

mod client;
mod clock;
mod disk;
mod faults;
mod fuzz;
mod invariant;
mod ledger;
mod model;
mod net;
mod run;
mod server;
mod small;
mod trace;
mod world;

pub use faults::{Fault, Faults};
pub use fuzz::damaged_stream;
pub use invariant::{Invariant, Violation};
pub use run::{Options, Outcome, STEPS, run};
pub use small::{Small, current_small, run_small};
pub use world::Stats;
