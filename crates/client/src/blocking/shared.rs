//! What the client's thread and the handles share.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use trunkline_ring::wait::Signal;
use trunkline_wire::{AckLevel, Body, Confirm, Credit, FrameFlags, Unsubscribe};

use super::answers::Answers;
use super::options::{ClientBuilder, Unacknowledged};
use super::slot::Slot;
use super::subscribed::Subscribed;
use super::waker::Waker;
use crate::error::{Error, PublishError};
use crate::outlet::{Outlet, OutletLimits};
use crate::publication::Publication;

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Notified when records were answered, when there is room again, and when the connection comes or goes.
    pub(super) progress: Signal,
    /// Counts these occasions.
    turns: AtomicU64,
    /// There is something to send. Written under the lock, read without it by the thread while it spins.
    pending: AtomicBool,
    pub(super) waker: Waker,
    pub(super) options: ClientBuilder,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) outlet: Outlet,
    pub(super) answers: Answers,
    /// The connection, once the server has greeted.
    pub(super) stream: Option<Arc<TcpStream>>,
    /// The thread has taken bytes that it has not sent yet: nobody else may send.
    pub(super) sending: bool,
    /// The thread sleeps, or is about to.
    pub(super) asleep: bool,
    /// Counts connections that were lost: channels and correlations of an earlier one mean nothing.
    pub(super) generation: u64,
    /// The start of the server, and what its clock said when it greeted.
    pub(super) epoch: u64,
    pub(super) clock: Option<(u64, Instant)>,
    pub(super) subscriptions: Vec<Subscribed>,
    /// When one of them is to be asked for again, if one was refused.
    pub(super) ask_again: Option<Instant>,
    /// The longest pause before that.
    pub(super) backoff_max: Duration,
    /// Number of the next subscription of this client, and on this connection.
    pub(super) next_id: u64,
    pub(super) next_number: u16,
    pub(super) slots: Vec<(u16, Arc<Slot>)>,
    /// The client is to be closed.
    pub(super) closing: bool,
    /// The thread has ended.
    pub(super) closed: bool,
    /// Why there is no connection, or what ended the last one.
    pub(super) failure: Option<Arc<Error>>,
}

impl State {
    /// What the server's clock says now, in nanoseconds since 1970, or some milliseconds less.
    pub(super) fn server_ns(&self) -> u64 {
        let Some((wall_ns, then)) = self.clock else {
            return 0;
        };
        wall_ns.saturating_add(then.elapsed().as_nanos().try_into().unwrap_or(u64::MAX))
    }
}

impl Shared {
    pub(super) fn new(options: ClientBuilder) -> Result<Self, Error> {
        let outlet = Outlet::new(OutletLimits {
            buffer_bytes: options.buffer_bytes,
            in_flight_records: options.in_flight_records,
            resend: options.unacknowledged == Unacknowledged::Resend,
        });
        Ok(Self {
            state: Mutex::new(State {
                outlet,
                answers: Answers::new(),
                stream: None,
                sending: false,
                asleep: false,
                generation: 0,
                epoch: 0,
                clock: None,
                subscriptions: Vec::new(),
                ask_again: None,
                backoff_max: options.backoff_max,
                next_id: 0,
                next_number: 1,
                slots: Vec::new(),
                closing: false,
                closed: false,
                failure: None,
            }),
            progress: Signal::new(),
            turns: AtomicU64::new(0),
            pending: AtomicBool::new(false),
            waker: Waker::new()?,
            options,
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock leaves it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something has changed that somebody may wait for.
    pub(super) fn turn(&self) {
        // Under the lock or after it: who waits looks at the state under the lock.
        self.turns.fetch_add(1, Ordering::Release);
        self.progress.notify();
    }

    /// Looks at the state now and after each turn until `ready` gives something or the time is over.
    pub(super) fn wait<R>(
        &self,
        timeout: Option<Duration>,
        mut ready: impl FnMut(&mut State) -> Option<R>,
    ) -> Option<R> {
        let mut seen = None;
        self.progress
            .wait(self.options.idle.strategy(), timeout, || {
                let turn = self.turns.load(Ordering::Acquire);
                if seen.replace(turn) == Some(turn) {
                    return None;
                }
                ready(&mut self.lock())
            })
    }

    /// Whether there is something to send; for the thread.
    pub(super) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    /// The thread takes what there is; under the lock.
    pub(super) fn clear_pending(&self) {
        self.pending.store(false, Ordering::Release);
    }

    /// Gives up the lock and sees that what was put into the outlet is sent.
    pub(super) fn depart(&self, mut state: MutexGuard<'_, State>) {
        self.pending.store(true, Ordering::Release);
        let wake = std::mem::take(&mut state.asleep);
        drop(state);
        if wake {
            self.waker.wake();
        }
    }

    pub(super) fn publish(&self, publication: &Publication<'_>) -> Result<u64, PublishError> {
        let mut state = self.lock();
        if state.closing || state.closed {
            return Err(PublishError::Closed);
        }
        let result = state.outlet.publish(publication);
        match result {
            Ok(_) => self.depart_record(state),
            Err(PublishError::Full) => {
                self.depart(state);
                return self.publish_late(publication);
            }
            Err(_) => {}
        }
        result
    }

    /// The window is full: waits for room.
    #[cold]
    #[inline(never)]
    fn publish_late(&self, publication: &Publication<'_>) -> Result<u64, PublishError> {
        let result = self.wait(Some(self.options.publish_timeout), |state| {
            if state.closing || state.closed {
                return Some(Err(PublishError::Closed));
            }
            if !state.outlet.has_room() {
                return None;
            }
            match state.outlet.publish(publication) {
                Err(PublishError::Full) => None,
                result => Some(result),
            }
        });
        self.depart(self.lock());
        result.unwrap_or(Err(PublishError::TimedOut))
    }

    /// A lone record, with nothing before it that is unanswered, leaves by the hand of its publisher: no other thread needs to
    /// wake up. When others are under way, the thread is awake or about to be, and takes it along with what else
    /// comes until then.
    #[inline]
    fn depart_record(&self, mut state: MutexGuard<'_, State>) {
        if state.sending || state.outlet.in_flight() != 1 {
            if !self.is_pending() || state.asleep {
                self.depart(state);
            }
            return;
        }
        let Some(stream) = state.stream.clone() else {
            return self.depart(state);
        };
        state.outlet.close();
        // An error shows again when the thread receives or sends.
        let sent = (&*stream).write(state.outlet.bytes()).unwrap_or(0);
        state.outlet.consume(sent);
        if !state.outlet.is_empty() {
            self.depart(state);
        }
    }

    /// Sends a request and waits for its answer.
    pub(super) fn request<B: Body>(&self, body: &B, timeout: Duration) -> Result<Vec<u8>, Error> {
        let slot = Arc::new(Slot::new());
        let mut state = self.lock();
        let number = self.start_request(&mut state, body, &slot)?;
        self.depart(state);
        self.await_request(number, &slot, timeout)
    }

    pub(super) fn start_request<B: Body>(
        &self,
        state: &mut State,
        body: &B,
        slot: &Arc<Slot>,
    ) -> Result<u16, Error> {
        self.start(state, slot, |state| state.outlet.request(body))
    }

    /// Puts a request in whose answer goes into the slot.
    fn start(
        &self,
        state: &mut State,
        slot: &Arc<Slot>,
        put: impl FnOnce(&mut State) -> Option<u16>,
    ) -> Result<u16, Error> {
        if state.closing || state.closed {
            return Err(Error::Closed);
        }
        if state.stream.is_none() {
            return Err(Error::Disconnected);
        }
        let number = put(state).ok_or(Error::TooMany)?;
        state.slots.push((number, slot.clone()));
        Ok(number)
    }

    /// Asks that everything that this client has published gets to `level`, and waits for it. A connection that breaks meanwhile is
    /// waited for: all subjects are told to the next one, and so it can be asked as well.
    pub(super) fn barrier(&self, level: AckLevel, timeout: Duration) -> Result<(), Error> {
        let deadline = Instant::now().checked_add(timeout);
        let left = || deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        loop {
            let there = self.wait(left(), |state| {
                (state.stream.is_some() || state.closing || state.closed).then_some(())
            });
            there.ok_or(Error::TimedOut)?;
            let slot = Arc::new(Slot::new());
            let mut state = self.lock();
            let started = self.start(&mut state, &slot, |state| state.outlet.barrier(level));
            let answer = match started {
                Ok(number) => {
                    self.depart(state);
                    self.await_request(number, &slot, left().unwrap_or(timeout))
                }
                Err(error) => {
                    drop(state);
                    Err(error)
                }
            };
            match answer {
                Err(Error::Disconnected) => {}
                answer => return answer.map(drop),
            }
        }
    }

    pub(super) fn await_request(
        &self,
        number: u16,
        slot: &Arc<Slot>,
        timeout: Duration,
    ) -> Result<Vec<u8>, Error> {
        if let Some(answer) = slot.wait(self.options.idle.strategy(), timeout) {
            return answer;
        }
        let mut state = self.lock();
        // Only if the number is still this request's: it may have been answered in between, and given anew.
        if let Some(index) = state
            .slots
            .iter()
            .position(|(_, other)| Arc::ptr_eq(other, slot))
        {
            state.slots.swap_remove(index);
            state.outlet.finish_request(number);
        }
        Err(Error::TimedOut)
    }

    /// Gives credit to a channel of a subscription.
    pub(super) fn credit(&self, id: u64, generation: u64, channel: u16, bytes: u64) {
        self.say_of(id, generation, channel, &Credit { bytes });
    }

    /// Says what is processed of a channel of a subscription.
    pub(super) fn confirm(&self, id: u64, generation: u64, channel: u16, confirm: &Confirm) {
        self.say_of(id, generation, channel, confirm);
    }

    /// Of a channel that went with its connection, or with its subscription, there is nothing to say: its number is another one's.
    fn say_of<B: Body>(&self, id: u64, generation: u64, channel: u16, body: &B) {
        let _ = self.say(generation, |state| {
            if state.subscriptions.iter().all(|known| known.id != id) {
                return Ok(());
            }
            let said = state.outlet.control(body, FrameFlags::empty(), channel);
            said.ok_or(Error::TooMany)
        });
    }

    /// Answers a call, unless it came on another connection.
    pub(super) fn respond(
        &self,
        generation: u64,
        correlation: u16,
        payload: &[u8],
    ) -> Result<(), Error> {
        self.say(generation, |state| {
            state.outlet.answer(correlation, payload)
        })
    }

    /// Says that there is no answer to a call.
    pub(super) fn respond_failed(
        &self,
        generation: u64,
        correlation: u16,
        code: u32,
        message: &str,
    ) -> Result<(), Error> {
        self.say(generation, |state| {
            state.outlet.failure(correlation, code, message)
        })
    }

    fn say(
        &self,
        generation: u64,
        put: impl FnOnce(&mut State) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut state = self.lock();
        if state.generation != generation || state.stream.is_none() {
            return Err(Error::Disconnected);
        }
        let done = put(&mut state);
        self.depart(state);
        done
    }

    /// Ends a subscription, here and at the server.
    pub(super) fn unsubscribe(&self, id: u64) {
        let mut state = self.lock();
        let Some(index) = state
            .subscriptions
            .iter()
            .position(|subscribed| subscribed.id == id)
        else {
            return;
        };
        let subscribed = state.subscriptions.swap_remove(index);
        subscribed.queue.end();
        if state.stream.is_some() && !state.closing {
            let subscription = subscribed.number;
            // The answer is nobody's; a server that does not hear it goes on until its credit is used up.
            let _ = state.outlet.request(&Unsubscribe { subscription });
        }
        self.depart(state);
    }
}
