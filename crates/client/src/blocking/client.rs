//! The client itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use trunkline_wire::{AckLevel, check_pattern};

use super::admin::Admin;
use super::call::{Answer, Call, Replier, Responder};
use super::io;
use super::options::ClientBuilder;
use super::publisher::Publisher;
use super::queue::Queue;
use super::shared::Shared;
use super::slot::Slot;
use super::subscribed::Subscribed;
use super::subscriber::Subscriber;
use crate::error::{Error, PublishError};
use crate::link::Link;
use crate::subscription::Subscription;

/// A connection to a server that is kept up: when it breaks, it is made again, and subscriptions go on behind the last
/// record that they saw. Clones share it; it is closed when the last one is dropped, or by [`close`](Self::close).
///
/// ```no_run
/// use trunkline_client::{Client, Start, Subscription};
///
/// let client = Client::connect("127.0.0.1:7400")?;
/// client.publisher().publish("orders.eu.new", b"{}")?;
/// let mut orders = client.subscribe(&Subscription::new("orders.>").start(Start::First))?;
/// while let Some(message) = orders.next_timeout(std::time::Duration::from_secs(1))? {
///     println!("{} {}: {} bytes", message.sequence(), message.subject(), message.payload().len());
/// }
/// # Ok::<(), trunkline_client::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Client {
    /// Connects with the defaults of [`Client::builder`].
    ///
    /// # Errors
    /// Why there is no connection.
    pub fn connect(address: &str) -> Result<Self, Error> {
        Self::builder(address).connect()
    }

    /// A client of the server at `address`, `host:port`, with everything that may be said about it.
    pub fn builder(address: &str) -> ClientBuilder {
        ClientBuilder::new(address)
    }

    pub(super) fn start(options: ClientBuilder) -> Result<Self, Error> {
        let deadline = Instant::now() + options.connect_timeout;
        let stream = Link::connect(&options.address, deadline)?;
        let shared = Arc::new(Shared::new(options)?);
        let thread = thread::Builder::new()
            .name("trunkline-client".into())
            .spawn({
                let shared = shared.clone();
                move || io::run(&shared, stream)
            })?;
        let client = Self {
            inner: Arc::new(Inner {
                shared: shared.clone(),
                thread: Mutex::new(Some(thread)),
            }),
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let connected = shared.wait(Some(left), |state| {
            if state.stream.is_some() {
                return Some(Ok(()));
            }
            state.closed.then(|| {
                // There is nobody else yet who could hold it.
                let failure = state.failure.take().and_then(Arc::into_inner);
                Err(failure.unwrap_or(Error::Closed))
            })
        });
        connected.unwrap_or(Err(Error::TimedOut))?;
        Ok(client)
    }

    /// Whether there is a connection now.
    pub fn is_connected(&self) -> bool {
        self.inner.shared.lock().stream.is_some()
    }

    /// How many connections have been lost so far, those that the server never greeted on among them. Who compares it with an earlier one learns of a connection that was lost and made again in between.
    pub fn connections_lost(&self) -> u64 {
        self.inner.shared.lock().generation
    }

    /// Why there is no connection now, or what ended the one before it: with [`Error::Refused`] the server said so itself. `None` as
    /// long as none has broken.
    pub fn disconnected_by(&self) -> Option<Arc<Error>> {
        self.inner.shared.lock().failure.clone()
    }

    /// Publishes with the streams' own ack level.
    pub fn publisher(&self) -> Publisher {
        self.publisher_with(AckLevel::Stream)
    }

    /// Publishes with this ack level.
    pub fn publisher_with(&self, level: AckLevel) -> Publisher {
        Publisher::new(self.inner.shared.clone(), level)
    }

    /// Subscribes, and waits until the server has said from where: also for the connection, when it is being made again. On every later connection
    /// it is asked for again: where the server refuses it for the time being (its stream is not served yet, the disk is full), after pauses, for as long as that
    /// takes; where it refuses it for good, the subscriber is told.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::TimedOut`], [`Error::Disconnected`].
    pub fn subscribe(&self, subscription: &Subscription) -> Result<Subscriber, Error> {
        let (id, queue) = self.enlist(subscription)?;
        Ok(Subscriber::new(
            self.inner.shared.clone(),
            id,
            queue,
            subscription,
        ))
    }

    /// Answers calls to subjects that match `pattern`, one at a time, as they are pulled.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub fn respond(&self, pattern: &str) -> Result<Responder, Error> {
        let (id, queue) = self.enlist(&Subscription::new(pattern).responder())?;
        Ok(Responder::new(self.inner.shared.clone(), id, queue))
    }

    /// Answers calls to subjects that match `pattern` with what `handler` returns, on a thread of their own, until the
    /// result is dropped.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe), or when there can be no thread.
    pub fn reply<A: Into<Answer>>(
        &self,
        pattern: &str,
        handler: impl FnMut(&Call) -> A + Send + 'static,
    ) -> Result<Replier, Error> {
        Replier::start(self.respond(pattern)?, handler)
    }

    /// Calls whoever responds to `subject`, and waits for the answer.
    ///
    /// # Errors
    /// [`Error::Responder`] when the responder says that it cannot answer; [`Error::Refused`] when nobody listens, the responder went away or did not
    /// answer in time, for which the server gives it a minute at most; [`Error::TimedOut`] when
    /// not even that was said; [`Error::Publish`] when the subject is none or the payload too long.
    pub fn request(
        &self,
        subject: &str,
        payload: &[u8],
        timeout: Duration,
    ) -> Result<Vec<u8>, Error> {
        let call = self
            .inner
            .shared
            .lock()
            .outlet
            .call(subject, payload, timeout)?;
        // The server says when the time is over; it is asked to, so it gets the time to say so.
        self.inner
            .shared
            .request(&call, timeout.saturating_add(GRACE))
    }

    /// What the server itself answers.
    pub fn admin(&self) -> Admin<'_> {
        Admin::new(self)
    }

    /// Sends what was published, says goodbye and ends the connection. Handles that are left fail with [`Error::Closed`], and
    /// subscribers end.
    pub fn close(&self) {
        self.inner.close();
    }

    /// Puts a subscription on the list, and subscribes.
    fn enlist(&self, subscription: &Subscription) -> Result<(u64, Arc<Queue>), Error> {
        check_pattern(&subscription.pattern).map_err(PublishError::Subject)?;
        let shared = &self.inner.shared;
        let queue = Arc::new(Queue::new(subscription.credit_bytes));
        let slot = Arc::new(Slot::new());
        // A connection that is being made again is waited for; if there is none in time, the request says so.
        let timeout = Some(shared.options.request_timeout);
        let _ = shared.wait(timeout, |state| {
            (state.stream.is_some() || state.closing || state.closed).then_some(())
        });
        let mut state = shared.lock();
        let number = state.next_number;
        let request = shared.start_request(&mut state, &subscription.body(number), &slot)?;
        state.next_number = number.checked_add(1).ok_or(Error::TooMany)?;
        let id = state.next_id;
        state.next_id += 1;
        state.subscriptions.push(Subscribed {
            id,
            subscription: subscription.clone(),
            queue: queue.clone(),
            number,
            request: Some(request),
            since_ns: None,
            unserved: false,
            next: Vec::new(),
            refused: None,
        });
        shared.depart(state);
        match shared.await_request(request, &slot, shared.options.request_timeout) {
            Ok(_) => Ok((id, queue)),
            Err(error) => {
                shared.unsubscribe(id);
                Err(error)
            }
        }
    }
}

impl Inner {
    fn close(&self) {
        let mut state = self.shared.lock();
        state.closing = true;
        self.shared.depart(state);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // A thread that panicked has nothing left to end.
            let _ = thread.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// What is added to a call's time for the server to say that it is over.
const GRACE: Duration = Duration::from_millis(500);
