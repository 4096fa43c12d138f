//! A client that subscribes to everything while the server lives: what it is given may not be gone afterwards.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use trunkline_client::{Connection, ConnectionOptions, Event, GapReason, Subscription};

use crate::record::{Id, STREAMS};

/// A record that it was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) sequence: u64,
    pub(crate) id: Id,
    /// How often the device had flushed when it was here.
    pub(crate) flushes: u64,
}

/// Watches until the server is gone. `flushes` is what a device has flushed so far; when `disk_fails`, it may be told that records cannot be read.
///
/// # Errors
/// Records came that nobody sent, or not in order.
pub(crate) fn watch(
    address: &str,
    flushes: &AtomicU64,
    disk_fails: bool,
) -> Result<Vec<Seen>, String> {
    let mut watched = Vec::new();
    let Ok(mut connection) = Connection::connect(address, &ConnectionOptions::default()) else {
        return Ok(watched);
    };
    if connection.subscribe(&Subscription::new(">")).is_err() {
        return Ok(watched);
    }
    let end = Instant::now() + LIMIT;
    let mut next = [0; STREAMS.len()];
    let (mut wrong, mut over) = (None, false);
    let mut scratch = Vec::new();
    while wrong.is_none() && !over && Instant::now() < end {
        let moved = connection.flush().and_then(|_| {
            connection.poll(|event| match event {
                Event::Record { message, .. } => {
                    let sequence = message.sequence();
                    let id = Id::read(message.payload(), &mut scratch)
                        .filter(|id| id.subject() == message.subject());
                    match id {
                        Some(id) if sequence >= next[usize::from(id.stream)] => {
                            next[usize::from(id.stream)] = sequence + 1;
                            watched.push(Seen {
                                sequence,
                                id,
                                flushes: flushes.load(Ordering::Acquire),
                            });
                        }
                        id => {
                            wrong = Some(format!(
                                "a subscriber was given {id:?} as {sequence} of {}",
                                message.stream()
                            ));
                        }
                    }
                }
                Event::Gap { gap, .. } if gap.reason == GapReason::Retention => {}
                Event::Gap { gap, .. } if gap.reason == GapReason::Damaged && disk_fails => {}
                Event::Gap { gap, .. } => {
                    wrong = Some(format!("a subscriber was told of {gap:?}"));
                }
                Event::Closing(_) => over = true,
                _ => {}
            })
        });
        match moved {
            Ok(0) => {
                let timeout = Timespec {
                    tv_sec: 0,
                    tv_nsec: 5_000_000,
                };
                let mut fds = [PollFd::new(connection.stream(), PollFlags::IN)];
                let _ = poll(&mut fds, Some(&timeout));
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    wrong.map_or(Ok(watched), Err)
}

/// No server lives so long.
const LIMIT: Duration = Duration::from_secs(60);
