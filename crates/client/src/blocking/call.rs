//! The answering side of calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use trunkline_wire::ErrorCode;

use super::queue::{self, Entry, Queue};
use super::shared::Shared;
use crate::error::{Error, PublishError};

/// Calls to be answered, as they come. Dropped, it stops responding.
#[derive(Debug)]
pub struct Responder {
    shared: Arc<Shared>,
    id: u64,
    queue: Arc<Queue>,
    bytes: Vec<u8>,
    at: usize,
}

impl Responder {
    pub(super) fn new(shared: Arc<Shared>, id: u64, queue: Arc<Queue>) -> Self {
        Self {
            shared,
            id,
            queue,
            bytes: Vec::new(),
            at: 0,
        }
    }

    /// The next call, or `None` when none came in time (`None`: however long it takes), the client is closed, or the server has ended this:
    /// [`failure`](Self::failure) says why.
    pub fn next_call(&mut self, timeout: Option<Duration>) -> Option<Call> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            while let Some((entry, len)) = queue::read(&self.bytes[self.at..]) {
                self.at += len;
                if let Entry::Call {
                    generation,
                    correlation,
                    subject,
                    payload,
                } = entry
                {
                    return Some(Call {
                        shared: self.shared.clone(),
                        generation,
                        correlation,
                        subject: subject.into(),
                        payload: payload.into(),
                    });
                }
            }
            self.at = 0;
            let timeout =
                deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let strategy = self.shared.options.idle.strategy();
            if self.queue.exchange(&mut self.bytes, strategy, timeout) != Some(true) {
                self.bytes.clear();
                return None;
            }
        }
    }

    /// Why the server has ended it, if it has: after a reconnect it refused to pass calls on to it. Told once.
    pub fn failure(&self) -> Option<Error> {
        self.queue.take_failure()
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.shared.unsubscribe(self.id);
    }
}

/// A call to be answered. Dropped without an answer, the caller's time runs out.
#[derive(Debug)]
pub struct Call {
    shared: Arc<Shared>,
    generation: u64,
    correlation: u16,
    subject: Box<str>,
    payload: Box<[u8]>,
}

impl Call {
    /// What was called.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// What was asked.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Answers. An answer that is longer than the server takes is not sent, and the caller is told so, as by [`fail`](Self::fail) with
    /// code 10.
    ///
    /// # Errors
    /// [`Error::Publish`] with [`PublishError::TooLong`]; [`Error::Disconnected`] when the connection that the call came on is gone;
    /// [`Error::TooMany`] when too much waits to be sent.
    pub fn respond(self, payload: &[u8]) -> Result<(), Error> {
        let sent = self
            .shared
            .respond(self.generation, self.correlation, payload);
        if let Err(Error::Publish(PublishError::TooLong {
            payload_bytes,
            payload_bytes_max,
        })) = &sent
        {
            let message = format!(
                "the answer has {payload_bytes} bytes, the server takes {payload_bytes_max}"
            );
            // Without room for it, the caller's time runs out.
            let _ = self.fail(ErrorCode::RECORD_TOO_LONG.0.into(), &message);
        }
        sent
    }

    /// Says that there is no answer: a code of the responder's choice, and why, for people. The caller gets both as
    /// [`Error::Responder`].
    ///
    /// # Errors
    /// As [`respond`](Self::respond), but that nothing is told when it is the message that is too long.
    pub fn fail(self, code: u32, message: &str) -> Result<(), Error> {
        self.shared
            .respond_failed(self.generation, self.correlation, code, message)
    }
}

/// What a handler returns: the answer, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The answer.
    Payload(Vec<u8>),
    /// As for [`Call::fail`].
    Failure {
        /// A code of the responder's choice.
        code: u32,
        /// Why, for people.
        message: String,
    },
}

impl From<Vec<u8>> for Answer {
    fn from(payload: Vec<u8>) -> Self {
        Self::Payload(payload)
    }
}

/// A thread that answers calls; dropped, it ends after the call that it is at.
#[derive(Debug)]
pub struct Replier {
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Replier {
    pub(super) fn start<A: Into<Answer>>(
        mut responder: Responder,
        mut handler: impl FnMut(&Call) -> A + Send + 'static,
    ) -> Result<Self, Error> {
        let ending = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new()
            .name("trunkline-reply".into())
            .spawn({
                let ending = ending.clone();
                move || {
                    while !ending.load(Ordering::Relaxed) {
                        match responder.next_call(Some(LOOK)) {
                            Some(call) => {
                                // Whom it concerns learns of it by the call: that it fails, or that its time is over.
                                let _ = match handler(&call).into() {
                                    Answer::Payload(payload) => call.respond(&payload),
                                    Answer::Failure { code, message } => call.fail(code, &message),
                                };
                            }
                            None if responder.queue.has_ended() => break,
                            None => {}
                        }
                    }
                }
            })?;
        Ok(Self {
            ending,
            thread: Some(thread),
        })
    }
}

impl Drop for Replier {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A handler that panicked has ended its thread.
            let _ = thread.join();
        }
    }
}

/// How often a replier looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);
