//! The Rust client: publish, subscribe, request and reply over TCP.
//!
//! [`Connection`] is non-blocking, without a thread, driven by its caller.
#![forbid(unsafe_code)]

mod blocking;
mod connection;
mod error;
mod interner;
mod link;
mod message;
mod names;
mod outlet;
mod pattern;
mod publication;
mod subscription;

pub use blocking::{
    Acked, Admin, Answer, Call, Client, ClientBuilder, Delivery, Idle, Publisher, Receipt, Replier,
    Responder, Subscriber, Unacknowledged,
};
pub use connection::{Connection, ConnectionOptions, Event};
pub use error::{Error, PublishError};
pub use message::{Message, OwnedMessage};
pub use publication::Publication;
pub use subscription::Subscription;
pub use trunkline_wire::headers::Headers;
pub use trunkline_wire::{
    Ack, AckLevel, ErrorCode, Failure, Gap, GapReason, Policy, Start, SubjectError,
};

/// The program of the README compiles as it stands there.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
