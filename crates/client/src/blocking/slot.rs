//! Where the answer to one request is put.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use trunkline_ring::wait::{Signal, Strategy};

use crate::error::Error;

/// Filled once by the client's thread, emptied once by the one who waits.
#[derive(Debug)]
pub(super) struct Slot {
    answer: Mutex<Option<Result<Vec<u8>, Error>>>,
    signal: Signal,
}

impl Slot {
    pub(super) fn new() -> Self {
        Self {
            answer: Mutex::new(None),
            signal: Signal::new(),
        }
    }

    pub(super) fn fill(&self, answer: Result<Vec<u8>, Error>) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        self.signal.notify();
    }

    /// `None` when the time is over.
    pub(super) fn wait(
        &self,
        strategy: Strategy,
        timeout: Duration,
    ) -> Option<Result<Vec<u8>, Error>> {
        self.signal.wait(strategy, Some(timeout), || {
            self.answer
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
        })
    }
}
