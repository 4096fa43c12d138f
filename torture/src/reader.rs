//! Reads what a stream holds, from a sequence to its end, as any client does.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use trunkline_client::{Connection, ConnectionOptions, Event, GapReason, Start, Subscription};

use crate::ledger::Stream;
use crate::record::{Id, STREAMS};

/// What was read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Read {
    /// Records that are new to the ledger, and records that it had.
    pub(crate) found: u64,
    pub(crate) compared: u64,
    /// Records that retention has removed.
    pub(crate) removed: u64,
}

/// Reads from `start` on, and tells the ledger.
///
/// # Errors
/// What the ledger says is wrong, or why there is no end of it.
pub(crate) fn read(
    address: &str,
    number: u16,
    stream: &mut Stream,
    start: u64,
) -> Result<Read, String> {
    let name = STREAMS[usize::from(number)].0;
    let failed = |error: trunkline_client::Error| format!("reading {name}: {error}");
    let mut connection =
        Connection::connect(address, &ConnectionOptions::default()).map_err(failed)?;
    let subscription = Subscription::new(&format!("{name}.>"))
        .start(Start::Sequence(start))
        .stream(name);
    connection.subscribe(&subscription).map_err(failed)?;
    let mut done = Read::default();
    // What the stream has; its end.
    let mut end = None;
    let mut next = start;
    let mut wrong = None;
    let mut scratch = Vec::new();
    let begin = Instant::now();
    while wrong.is_none() && end.is_none_or(|end| next < end) {
        if begin.elapsed() > LIMIT {
            return Err(format!(
                "LOST: {name} gives nothing behind {next}, it says that it has everything before {end:?}"
            ));
        }
        connection.flush().map_err(failed)?;
        let polled = connection.poll(|event| {
            let outcome = match event {
                Event::Subscribed(subscribed) => {
                    end = Some(subscribed.last + 1);
                    next = next.max(subscribed.first);
                    stream
                        .on_range(subscribed.first, subscribed.last + 1)
                        .map(|removed| done.removed += removed)
                }
                Event::Record { message, .. } => {
                    let id = Id::read(message.payload(), &mut scratch)
                        .filter(|id| id.subject() == message.subject());
                    let sequence = message.sequence();
                    if sequence < stream.next() {
                        done.compared += 1;
                    } else {
                        done.found += 1;
                    }
                    let due = next;
                    next = sequence + 1;
                    if sequence == due {
                        stream.on_record(sequence, id)
                    } else {
                        Err(format!("LOST: {name} gives {sequence} where {due} is due"))
                    }
                }
                // Asked for from before the first; or the stream goes on shrinking when it is started.
                Event::Gap { gap, .. } if gap.reason == GapReason::Retention => {
                    next = next.max(gap.last + 1);
                    Ok(())
                }
                Event::Gap { gap, .. } => Err(format!("{name} tells of {gap:?}")),
                Event::Notice(error) => Err(format!(
                    "reading {name}: the server says {} ({:?})",
                    error.message, error.code
                )),
                Event::Closing(close) => Err(format!(
                    "reading {name}: the server closes: {} ({:?})",
                    close.reason, close.code
                )),
                Event::Failed { error, .. } => Err(format!("reading {name}: {}", error.message)),
                _ => Ok(()),
            };
            if let Err(message) = outcome {
                wrong.get_or_insert(message);
            }
        });
        let moved = match polled {
            Ok(moved) => moved,
            Err(error) => {
                return Err(wrong.unwrap_or(format!(
                    "reading {name} from {start} ended before {next} of {end:?}: {error}"
                )));
            }
        };
        if moved == 0 {
            let timeout = Timespec {
                tv_sec: 0,
                tv_nsec: 5_000_000,
            };
            let mut fds = [PollFd::new(connection.stream(), PollFlags::IN)];
            let _ = poll(&mut fds, Some(&timeout));
        }
    }
    wrong.map_or(Ok(done), Err)
}

/// A stream is read to its end in this time.
const LIMIT: Duration = Duration::from_secs(30);
