//! From the client's thread to a subscriber: what came for it, in order.
//!
//! The thread appends to one buffer, the subscriber works through another, and when that is used up they change places. So the lock is taken once
//! for each run and not for each record, and after warm-up nothing is allocated. Credit bounds what is in it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use trunkline_ring::wait::{Signal, Strategy};
use trunkline_wire::GapReason;
use trunkline_wire::frame::FRAME_BYTES_MAX;

use crate::error::Error;

/// What comes for a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    /// A channel was opened; it starts without names.
    Opened {
        generation: u64,
        channel: u16,
        next: u64,
        stream: &'a str,
        log: Log,
    },
    /// Whole records came on it.
    Run { channel: u16, records: &'a [u8] },
    /// These will not come.
    Gap {
        channel: u16,
        first: u64,
        last: u64,
        reason: GapReason,
    },
    /// Somebody calls.
    Call {
        generation: u64,
        correlation: u16,
        subject: &'a str,
        payload: &'a [u8],
    },
}

/// What a stream has behind its name when a channel is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Log {
    /// The start of the server, and the number that the stream has from it: another one of the same start is another stream.
    pub(super) epoch: u64,
    pub(super) number: u32,
    /// The last sequence that it holds.
    pub(super) last: u64,
}

#[derive(Debug)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    signal: Signal,
    /// What each channel may add to what may wait.
    channel_bytes: usize,
}

#[derive(Debug)]
struct Inner {
    bytes: Vec<u8>,
    /// The connection that the channels are of.
    generation: u64,
    /// How much may wait before more of it is refused.
    limit_bytes: usize,
    ended: bool,
    /// Why, unless it was the client's own wish; until it is told.
    failure: Option<Error>,
}

impl Queue {
    /// Takes the credit of each channel that is opened, and one run that overdraws it: a server that keeps to its credit never sends more.
    pub(super) fn new(credit_bytes: u64) -> Self {
        let credit_bytes = usize::try_from(credit_bytes).unwrap_or(usize::MAX);
        Self {
            inner: Mutex::new(Inner {
                bytes: Vec::new(),
                generation: 0,
                limit_bytes: OTHER_BYTES,
                ended: false,
                failure: None,
            }),
            signal: Signal::new(),
            channel_bytes: credit_bytes.saturating_add(FRAME_BYTES_MAX as usize),
        }
    }

    /// Appends an entry. `false` when there is too much already.
    pub(super) fn push(&self, entry: &Entry<'_>) -> bool {
        {
            let mut inner = self.lock();
            if inner.ended {
                return true;
            }
            if let Entry::Opened { generation, .. } = entry {
                if *generation != inner.generation {
                    inner.generation = *generation;
                    // What is left of the last connection is no fault of this one.
                    inner.limit_bytes = inner.bytes.len().saturating_add(OTHER_BYTES);
                }
                inner.limit_bytes = inner.limit_bytes.saturating_add(self.channel_bytes);
            }
            if inner.bytes.len() > inner.limit_bytes {
                return false;
            }
            write(entry, &mut inner.bytes);
        }
        self.signal.notify();
        true
    }

    /// Nothing more will come, and nothing more is taken.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.signal.notify();
    }

    /// The same because the server wants it so.
    pub(super) fn fail(&self, failure: Error) {
        {
            let mut inner = self.lock();
            if !inner.ended {
                inner.ended = true;
                inner.failure = Some(failure);
            }
        }
        self.signal.notify();
    }

    /// Whether nothing more will come, but for what is in it.
    pub(super) fn has_ended(&self) -> bool {
        self.lock().ended
    }

    /// Why it has ended, once, and when everything that came before is taken.
    pub(super) fn take_failure(&self) -> Option<Error> {
        let mut inner = self.lock();
        if inner.bytes.is_empty() {
            inner.failure.take()
        } else {
            None
        }
    }

    /// Exchanges `used`, whose contents are dropped, for what has come. `Some(false)` when nothing will come any more,
    /// `None` when the time is over.
    pub(super) fn exchange(
        &self,
        used: &mut Vec<u8>,
        strategy: Strategy,
        timeout: Option<Duration>,
    ) -> Option<bool> {
        used.clear();
        self.signal.wait(strategy, timeout, || {
            let mut inner = self.lock();
            if inner.bytes.is_empty() {
                return inner.ended.then_some(false);
            }
            std::mem::swap(&mut inner.bytes, used);
            Some(true)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that holds the lock leaves it half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Appends `tag, number, text_len, bytes_len, a, b, text, bytes`.
fn write(entry: &Entry<'_>, out: &mut Vec<u8>) {
    let mut log_bytes = [0; LOG_BYTES];
    let (tag, number, a, b, text, bytes): (u8, u16, u64, u64, &str, &[u8]) = match *entry {
        Entry::Opened {
            generation,
            channel,
            next,
            stream,
            log,
        } => {
            let words = [log.epoch, u64::from(log.number), log.last];
            for (bytes, word) in log_bytes.chunks_exact_mut(8).zip(words) {
                bytes.copy_from_slice(&word.to_le_bytes());
            }
            (0, channel, generation, next, stream, &log_bytes)
        }
        Entry::Run { channel, records } => (1, channel, 0, 0, "", records),
        Entry::Gap {
            channel,
            first,
            last,
            reason,
        } => (1 + reason as u8, channel, first, last, "", &[]),
        Entry::Call {
            generation,
            correlation,
            subject,
            payload,
        } => (5, correlation, generation, 0, subject, payload),
    };
    out.reserve(HEADER_BYTES + text.len() + bytes.len());
    out.push(tag);
    out.push(0);
    out.extend(number.to_le_bytes());
    out.extend((text.len() as u32).to_le_bytes());
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend(a.to_le_bytes());
    out.extend(b.to_le_bytes());
    out.extend(text.as_bytes());
    out.extend(bytes);
}

/// The entry at the start of `bytes`, and how long it is.
pub(super) fn read(bytes: &[u8]) -> Option<(Entry<'_>, usize)> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let word_of = |bytes: &[u8], at: usize| {
        bytes[at..]
            .first_chunk::<8>()
            .map_or(0, |bytes| u64::from_le_bytes(*bytes))
    };
    let word = |at: usize| word_of(header, at);
    let number = u16::from_le_bytes([header[2], header[3]]);
    let (text, rest) = rest.split_at_checked((word(0) >> 32) as usize)?;
    let text = std::str::from_utf8(text).ok()?;
    let bytes = rest.get(..word(8) as usize)?;
    let (a, b) = (word(16), word(24));
    let entry = match header[0] {
        0 => Entry::Opened {
            generation: a,
            channel: number,
            next: b,
            stream: text,
            log: Log {
                epoch: word_of(bytes, 0),
                number: word_of(bytes, 8) as u32,
                last: word_of(bytes, 16),
            },
        },
        1 => Entry::Run {
            channel: number,
            records: bytes,
        },
        5 => Entry::Call {
            generation: a,
            correlation: number,
            subject: text,
            payload: bytes,
        },
        tag => Entry::Gap {
            channel: number,
            first: a,
            last: b,
            reason: GapReason::from_u8(tag - 1)?,
        },
    };
    Some((entry, HEADER_BYTES + text.len() + bytes.len()))
}

const HEADER_BYTES: usize = 32;
/// What `Opened` has behind its text: the words of [`Log`].
const LOG_BYTES: usize = 24;

/// What may wait beside records: calls, and what is said of channels.
const OTHER_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_out_as_they_went_in() {
        let queue = Queue::new(1000);
        let entries = [
            Entry::Opened {
                generation: 3,
                channel: 9,
                next: 1 << 40,
                stream: "main",
                log: Log {
                    epoch: u64::MAX,
                    number: 7,
                    last: 1 << 41,
                },
            },
            Entry::Run {
                channel: 9,
                records: &[7; 100],
            },
            Entry::Gap {
                channel: 9,
                first: 1,
                last: 2,
                reason: GapReason::Retention,
            },
            Entry::Gap {
                channel: 9,
                first: 1,
                last: 2,
                reason: GapReason::Damaged,
            },
            Entry::Call {
                generation: 3,
                correlation: 65_535,
                subject: "svc",
                payload: b"",
            },
        ];
        for entry in &entries {
            assert!(queue.push(entry));
        }
        let mut bytes = vec![1, 2, 3];
        assert_eq!(queue.exchange(&mut bytes, Strategy::Park, None), Some(true));
        let mut rest = &bytes[..];
        for expected in entries {
            let (entry, len) = read(rest).unwrap();
            assert_eq!(entry, expected);
            rest = &rest[len..];
        }
        assert!(read(rest).is_none());
        assert_eq!(
            queue.exchange(&mut bytes, Strategy::Park, Some(Duration::ZERO)),
            None
        );
        queue.end();
        assert_eq!(
            queue.exchange(&mut bytes, Strategy::Park, None),
            Some(false)
        );
    }

    #[test]
    fn a_failure_is_told_once_and_behind_what_came_before_it() {
        let queue = Queue::new(1000);
        let run = Entry::Run {
            channel: 9,
            records: &[7; 100],
        };
        assert!(queue.push(&run));
        queue.fail(Error::TooMany);
        queue.fail(Error::Closed);
        assert!(queue.has_ended());
        assert!(queue.take_failure().is_none());
        let mut bytes = Vec::new();
        let mut exchange = || queue.exchange(&mut bytes, Strategy::Park, None);
        assert_eq!(exchange(), Some(true));
        assert_eq!(exchange(), Some(false));
        assert!(matches!(queue.take_failure(), Some(Error::TooMany)));
        assert!(queue.take_failure().is_none());
    }

    #[test]
    fn a_server_that_ignores_its_credit_is_noticed() {
        let queue = Queue::new(1000);
        let records = vec![7; 8 << 20];
        let run = Entry::Run {
            channel: 9,
            records: &records,
        };
        let taken = || (0..).take_while(|_| queue.push(&run)).count();
        let none = taken();
        for generation in [1, 1, 2] {
            assert!(none > 0 && !queue.push(&run));
            queue.push(&Entry::Opened {
                generation,
                channel: 9,
                next: 1,
                stream: "main",
                log: Log::default(),
            });
            let more = taken();
            assert!((8..=17).contains(&more), "{more} more for a channel");
        }
    }
}
