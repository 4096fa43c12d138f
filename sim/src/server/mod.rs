//! The server's process: the real shard, the real sessions, and around them what the server does with a reactor.

mod connection;
mod outbox;
mod process;
mod replay;

pub(crate) use self::process::Process;
pub(crate) use self::replay::{Found, Lost, replay};
