//! The blocking client: one thread that owns the connection, and handles that any thread may use.

mod admin;
mod answers;
mod backoff;
mod call;
mod client;
mod io;
mod options;
mod publisher;
mod queue;
mod shared;
mod slot;
mod subscribed;
mod subscriber;
mod waker;

pub use admin::Admin;
pub use answers::Acked;
pub use call::{Answer, Call, Replier, Responder};
pub use client::Client;
pub use options::{ClientBuilder, Idle, Unacknowledged};
pub use publisher::{Publisher, Receipt};
pub use subscriber::{Delivery, Subscriber};
