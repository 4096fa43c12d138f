//! Publishing from any thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkline_wire::AckLevel;

use super::answers::Acked;
use super::shared::Shared;
use crate::error::{Error, PublishError};
use crate::publication::Publication;

/// Publishes records. A lone record is sent at once, by the thread that publishes it; while others are under way, records are
/// collected and leave together. When too much is unacknowledged, publishing waits.
///
/// All publishers of a client share one connection and one window; clones are cheap.
#[derive(Clone, Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
    level: AckLevel,
}

impl Publisher {
    pub(super) fn new(shared: Arc<Shared>, level: AckLevel) -> Self {
        Self { shared, level }
    }

    /// Publishes a record, and returns its producer's sequence: records of one client count from 1. The record counts as published when it is
    /// acknowledged, which [`flush`](Self::flush) waits for.
    ///
    /// # Errors
    /// [`PublishError::TimedOut`] when the window stays full; others say what is wrong with the record.
    #[inline]
    pub fn publish(&self, subject: &str, payload: &[u8]) -> Result<u64, PublishError> {
        self.publish_with(&Publication::new(subject, payload))
    }

    /// The same with headers and more. A level of [`AckLevel::Stream`] stands for the publisher's.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    #[inline]
    pub fn publish_with(&self, publication: &Publication<'_>) -> Result<u64, PublishError> {
        let mut publication = *publication;
        if publication.level == AckLevel::Stream {
            publication.level = self.level;
        }
        self.shared.publish(&publication)
    }

    /// Publishes a record whose acknowledgement can be waited for.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn publish_acked(
        &self,
        subject: &str,
        payload: &[u8],
    ) -> Result<Receipt<'_>, PublishError> {
        Ok(Receipt {
            sequence: self.publish(subject, payload)?,
            shared: &self.shared,
        })
    }

    /// A receipt for a record that was published.
    pub fn receipt(&self, sequence: u64) -> Receipt<'_> {
        Receipt {
            sequence,
            shared: &self.shared,
        }
    }

    /// Waits until all that this client has published is answered. Returns the last acknowledgement, `None` if nothing was ever
    /// acknowledged.
    ///
    /// # Errors
    /// [`Error::TimedOut`]; [`Error::Refused`] or [`Error::Indeterminate`] when a record was refused or lost since the
    /// last flush of this client, by whichever publisher.
    pub fn flush(&self, timeout: Duration) -> Result<Option<Acked>, Error> {
        let last = self.shared.lock().outlet.last_sequence();
        let done = self.shared.wait(Some(timeout), |state| {
            if state.outlet.resolved() >= last {
                let (refused, lost) = state.answers.take_failures();
                return Some(if refused > 0 {
                    Err(state.answers.last_refusal().unwrap_or(Error::Indeterminate))
                } else if lost > 0 {
                    Err(Error::Indeterminate)
                } else {
                    Ok(state.answers.last_ack())
                });
            }
            state.closed.then_some(Err(Error::Closed))
        });
        done.unwrap_or(Err(Error::TimedOut))
    }

    /// As [`flush`](Self::flush), and then waits until all that this client has published is at `level`, whatever it was published with:
    /// so records may be acknowledged when they are stored, and be synced now and then.
    ///
    /// # Errors
    /// As [`flush`](Self::flush); [`Error::Refused`] also when a stream can store or sync nothing any more.
    pub fn flush_to(&self, level: AckLevel, timeout: Duration) -> Result<Option<Acked>, Error> {
        let begin = Instant::now();
        let acked = self.flush(timeout)?;
        self.shared
            .barrier(level, timeout.saturating_sub(begin.elapsed()))?;
        Ok(acked)
    }

    /// Records that are not answered.
    pub fn in_flight(&self) -> u64 {
        self.shared.lock().outlet.in_flight()
    }
}

/// The right to know what became of a record.
#[derive(Debug)]
pub struct Receipt<'p> {
    shared: &'p Shared,
    sequence: u64,
}

impl Receipt<'_> {
    /// The record's producer's sequence.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Waits until the record is answered. To be asked soon: the client keeps the last 4096 acknowledgements, and 1024 refusals.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::Indeterminate`] when the connection broke before the answer, so that the record is
    /// stored or not, and when it is asked so late that the answer is no longer kept; [`Error::TimedOut`].
    pub fn wait(&self, timeout: Duration) -> Result<Acked, Error> {
        let outcome = self.shared.wait(Some(timeout), |state| {
            if state.outlet.is_resolved(self.sequence) {
                return Some(state.answers.outcome(self.sequence));
            }
            state.closed.then_some(Err(Error::Closed))
        });
        outcome.unwrap_or(Err(Error::TimedOut))
    }
}
