//! The client's thread: owns the connection, sends what the handles put into the outlet, hands out what comes, and
//! connects again.

use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkline_wire::frame::FRAME_BYTES_MAX;
use trunkline_wire::{
    ClientHello, Close, ErrorBody, ErrorCode, ErrorFlags, Event, FrameFlags, Hello, Kind, Limits,
    Opcode, PROTOCOL_VERSION, Run, Subscribed as Opened,
};

use super::backoff::Backoff;
use super::options::Idle;
use super::queue::{Entry, Log, Queue};
use super::shared::{Shared, State};
use super::subscribed::{self, Subscribed};
use crate::connection::taken_over;
use crate::error::Error;
use crate::link::Link;
use crate::outlet::{Answered, Range};
use crate::pattern::matches;

/// One connection after the other, until the client is closed.
pub(super) fn run(shared: &Shared, first: TcpStream) {
    let mut backoff = Backoff::new(shared.options.backoff_max);
    let mut stream = Some(first);
    let mut greeted_once = false;
    loop {
        if let Some(stream) = stream.take() {
            let (greeted, error) = match Worker::new(shared, stream) {
                Ok(mut worker) => {
                    let result = worker.run();
                    (worker.greeted, result.err())
                }
                Err(error) => (false, Some(error)),
            };
            greeted_once |= greeted;
            if greeted {
                backoff.reset();
            }
            let ended = error.is_none();
            disconnect(shared, error);
            let mut state = shared.lock();
            if ended || state.closing || !shared.options.reconnect || !greeted_once {
                state.closed = true;
                break;
            }
        }
        shared.turn();
        if !pause(shared, backoff.pause()) {
            shared.lock().closed = true;
            break;
        }
        let deadline = Instant::now() + shared.options.connect_timeout;
        stream = Link::connect(&shared.options.address, deadline).ok();
    }
    let mut state = shared.lock();
    for subscribed in state.subscriptions.drain(..) {
        subscribed.queue.end();
    }
    drop(state);
    shared.turn();
}

/// Waits, unless the client is closed meanwhile.
fn pause(shared: &Shared, pause: Duration) -> bool {
    let end = Instant::now() + pause;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        {
            let mut state = shared.lock();
            if state.closing {
                return false;
            }
            state.asleep = !left.is_zero();
        }
        if left.is_zero() {
            return true;
        }
        shared.waker.wait(None, false, left);
        shared.lock().asleep = false;
    }
}

/// Everything that hung on the connection is over.
fn disconnect(shared: &Shared, error: Option<Error>) {
    let mut state = shared.lock();
    state.stream = None;
    state.failure = error.map(Arc::new);
    state.sending = false;
    state.generation += 1;
    if let Some(lost) = state.outlet.on_disconnect() {
        state.answers.lose(lost);
    }
    for (_, slot) in state.slots.drain(..) {
        slot.fill(Err(Error::Disconnected));
    }
    drop(state);
    shared.turn();
}

/// The thread on one connection.
struct Worker<'s> {
    shared: &'s Shared,
    link: Link,
    channels: Vec<Option<Channel>>,
    greeted: bool,
    /// Until when a connection that ends is waited for.
    closing: Option<Instant>,
    /// Everything is sent, and nothing more will be.
    said_all: bool,
    /// When something came last, and when something was asked for last.
    heard: Instant,
    asked: Instant,
}

struct Channel {
    subscription: u64,
    stream: Box<str>,
    queue: Arc<Queue>,
    /// The sequence to go on with after this connection.
    next: u64,
}

impl<'s> Worker<'s> {
    /// Takes a stream that is connected: says Hello and what is left from the last connection.
    fn new(shared: &'s Shared, stream: TcpStream) -> Result<Self, Error> {
        let link = Link::new(stream)?;
        let hello = ClientHello {
            version: PROTOCOL_VERSION,
            max_frame_bytes: FRAME_BYTES_MAX,
            name: &shared.options.name,
        };
        let mut state = shared.lock();
        state.outlet.on_connect(&hello).ok_or(Error::TooMany)?;
        subscribed::ask_all(&mut state)?;
        shared.depart(state);
        let now = Instant::now();
        Ok(Self {
            shared,
            link,
            channels: Vec::new(),
            greeted: false,
            closing: None,
            said_all: false,
            heard: now,
            asked: now,
        })
    }

    fn run(&mut self) -> Result<(), Error> {
        let mut idle = 0u32;
        loop {
            let mut work = self.send()?;
            work |= match self.receive() {
                Err(_) if self.said_all => return Ok(()),
                received => received?,
            };
            if work {
                idle = 0;
                continue;
            }
            if let Some(end) = self.closing {
                if Instant::now() >= end {
                    return Ok(());
                }
                if !self.said_all && self.is_done() {
                    // The server closes when it has read everything. Until then we read, too: a socket that is closed with something unread
                    // resets the connection, and takes back what is on its way.
                    self.said_all = true;
                    let _ = self.link.stream().shutdown(Shutdown::Write);
                    continue;
                }
            }
            idle = idle.saturating_add(1);
            match self.shared.options.idle {
                Idle::Spin => {
                    if idle.is_multiple_of(LOOKS_PER_CLOCK) {
                        self.keep_alive()?;
                    }
                    std::hint::spin_loop();
                }
                Idle::Adaptive if idle < LOOKS_BEFORE_SLEEP => std::hint::spin_loop(),
                Idle::Adaptive | Idle::Park => {
                    self.sleep()?;
                    idle = 0;
                }
            }
        }
    }

    fn send(&mut self) -> Result<bool, Error> {
        let mut work = false;
        if self.link.is_sent() && self.shared.is_pending() {
            work = true;
            self.take();
        }
        if !self.link.is_sent() {
            work |= self.link.send()?;
            if self.link.is_sent() {
                // What came meanwhile; and if nothing did, others may send again.
                self.take();
            }
        }
        Ok(work)
    }

    /// Takes everything that is to be sent.
    fn take(&mut self) {
        let mut state = self.shared.lock();
        self.shared.clear_pending();
        if state.closing && self.closing.is_none() {
            self.closing = Some(Instant::now() + LINGER);
            let close = Close {
                code: ErrorCode::NONE,
                reason: "",
            };
            // Without room for it the connection ends without.
            let _ = state.outlet.control(&close, FrameFlags::empty(), 0);
        }
        state.outlet.close();
        state.sending = !state.outlet.is_empty();
        if state.sending {
            let (sending, unsent) = self.link.sending();
            *unsent = state.outlet.take(sending);
            drop(state);
            self.shared.turn();
        }
    }

    fn is_done(&self) -> bool {
        self.link.is_sent() && self.shared.lock().outlet.is_empty()
    }

    fn receive(&mut self) -> Result<bool, Error> {
        if !self.link.receive()? {
            return Ok(false);
        }
        self.heard = Instant::now();
        let mut answered = false;
        while let Some(event) = self.link.next()? {
            match event {
                Event::Records { frame, run, .. } => {
                    deliver(&mut self.channels, frame.sequence, run)?;
                }
                Event::Hello(_, Hello::Server(hello)) => {
                    self.greeted = true;
                    let limits = Limits {
                        max_frame_bytes: hello.max_frame_bytes,
                        max_record_bytes: hello.max_record_bytes,
                    };
                    let mut state = self.shared.lock();
                    state.outlet.set_limits(limits);
                    state.epoch = hello.epoch;
                    state.clock = Some((hello.wall_ns, self.heard));
                    answered = true;
                }
                event => answered |= on_control(self.shared, &mut self.channels, event)?,
            }
        }
        if self.greeted {
            let mut state = self.shared.lock();
            if state.stream.is_none() {
                state.stream = Some(self.link.stream().clone());
            }
            // Also where so much comes that there is never a pause.
            if subscribed::ask_again(&mut state, self.heard)? {
                self.shared.depart(state);
            }
        }
        if answered {
            self.shared.turn();
        }
        Ok(true)
    }

    /// Does what is due: asks again for what was refused, asks for a sign of life when there was none for a while, and gives up when none comes.
    /// Returns how long there is nothing of that to do.
    fn keep_alive(&mut self) -> Result<Duration, Error> {
        let interval = self.shared.options.keep_alive;
        let now = Instant::now();
        let silence = now.saturating_duration_since(self.heard);
        let patience = if self.greeted {
            interval * 3
        } else {
            self.shared.options.connect_timeout
        };
        if silence >= patience {
            return Err(Error::TimedOut);
        }
        let mut left = interval.min(patience - silence);
        if !self.greeted {
            return Ok(left);
        }
        let mut state = self.shared.lock();
        let mut said = subscribed::ask_again(&mut state, now)?;
        if let Some(due) = state.ask_again {
            left = left.min(due.saturating_duration_since(now));
        }
        if silence >= interval && now.saturating_duration_since(self.asked) >= interval {
            self.asked = now;
            state
                .outlet
                .frame(Opcode::Ping, 0, &[])
                .ok_or(Error::TooMany)?;
            said = true;
        }
        if said {
            self.shared.depart(state);
        }
        Ok(left)
    }

    fn sleep(&mut self) -> Result<(), Error> {
        let mut timeout = self.keep_alive()?;
        {
            let mut state = self.shared.lock();
            // What was put in before this is seen here; what comes after sees that we sleep.
            if self.link.is_sent() && self.shared.is_pending() {
                return Ok(());
            }
            state.asleep = true;
        }
        if let Some(end) = self.closing {
            timeout = timeout.min(end.saturating_duration_since(Instant::now()));
        }
        self.shared
            .waker
            .wait(Some(self.link.stream()), !self.link.is_sent(), timeout);
        self.shared.lock().asleep = false;
        Ok(())
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        for channel in self.channels.drain(..).flatten() {
            subscribed::remember(
                &mut state,
                channel.subscription,
                &channel.stream,
                channel.next,
            );
        }
    }
}

/// Whole records came on a channel.
fn deliver(channels: &mut [Option<Channel>], number: u16, run: Run<'_>) -> Result<(), Error> {
    let Some(Some(channel)) = channels.get_mut(usize::from(number)) else {
        return Ok(());
    };
    let last = run.records().filter(|raw| raw.kind() == Kind::Data).last();
    let entry = Entry::Run {
        channel: number,
        records: run.bytes(),
    };
    if !channel.queue.push(&entry) {
        return Err(Error::TooMany);
    }
    if let Some(last) = last {
        // What comes to a member of a group again, after another one has gone, lies before what it had.
        channel.next = channel.next.max(last.sequence() + 1);
    }
    Ok(())
}

/// A control frame came. `true` when somebody may wait for it.
fn on_control(
    shared: &Shared,
    channels: &mut Vec<Option<Channel>>,
    event: Event<'_>,
) -> Result<bool, Error> {
    let mut state = shared.lock();
    match event {
        Event::Ack(frame, ack) => {
            match state.outlet.on_ack(frame.sequence, &ack) {
                Answered::Records(range) => state.answers.ack(range, &ack),
                Answered::Request(number) => {
                    subscribed::on_ack(&mut state, number);
                    complete(&mut state, number, Ok(Vec::new()));
                }
                Answered::Some(_) | Answered::Nothing => {}
            }
            return Ok(true);
        }
        Event::Error(frame, error) => {
            on_error(&mut state, frame.sequence, &error)?;
            // There may be something to say to that.
            shared.depart(state);
            return Ok(true);
        }
        Event::RpcResponse(frame, payload) => {
            if state.outlet.finish_request(frame.sequence) {
                complete(&mut state, frame.sequence, Ok(payload.to_vec()));
            }
        }
        Event::RpcFailed(frame, failure) => {
            if state.outlet.finish_request(frame.sequence) {
                let failed = Error::Responder {
                    code: failure.code,
                    message: failure.message.into(),
                };
                complete(&mut state, frame.sequence, Err(failed));
            }
        }
        Event::Subscribed(frame, opened) => open(&mut state, channels, frame.sequence, &opened),
        Event::Gap(frame, gap) => {
            if let Some(Some(channel)) = channels.get_mut(usize::from(frame.sequence)) {
                let (first, last) = (gap.first, gap.last);
                channel.queue.push(&Entry::Gap {
                    channel: frame.sequence,
                    first,
                    last,
                    reason: gap.reason,
                });
                channel.next = channel.next.max(last.saturating_add(1));
            }
        }
        Event::RpcCall(frame, call) => {
            let generation = state.generation;
            let responder = state.subscriptions.iter().find(|subscribed| {
                subscribed.subscription.responder
                    && matches(&subscribed.subscription.pattern, call.subject)
            });
            if let Some(responder) = responder {
                let (correlation, subject, payload) = (frame.sequence, call.subject, call.payload);
                responder.queue.push(&Entry::Call {
                    generation,
                    correlation,
                    subject,
                    payload,
                });
            }
        }
        Event::Ping(frame, body) => {
            state
                .outlet
                .frame(Opcode::Pong, frame.sequence, body)
                .ok_or(Error::TooMany)?;
            shared.depart(state);
        }
        Event::Close(_, close) => {
            return Err(Error::Refused {
                code: close.code,
                message: close.reason.into(),
            });
        }
        // Handled before, or let through to a client by no session.
        Event::Pong(..)
        | Event::Records { .. }
        | Event::Oversized(_)
        | Event::Hello(..)
        | Event::Subscribe(..)
        | Event::Unsubscribe(..)
        | Event::Credit(..)
        | Event::Confirm(..) => {}
    }
    Ok(false)
}

fn on_error(state: &mut State, frame: u16, error: &ErrorBody<'_>) -> Result<(), Error> {
    let (code, message) = (error.code, error.message);
    let refused = || Error::Refused {
        code,
        message: message.into(),
    };
    match state.outlet.on_error(frame, error) {
        Answered::Request(number) => {
            if !complete(state, number, Err(refused())) {
                subscribed::on_refusal(state, number, code, message);
            }
        }
        Answered::Records(range) => state.answers.refuse(range, code, message),
        Answered::Some(Range { first, last }) => {
            let refused = Range { first, last: first };
            state.answers.refuse(refused, code, message);
            let first = first + 1;
            state.answers.lose(Range { first, last });
        }
        Answered::Nothing if frame == 0 && code == ErrorCode::READ_ONLY => {
            subscribed::on_unserved(state);
        }
        Answered::Nothing => {
            if let Some(number) = taken_over(frame, error) {
                subscribed::on_taken_over(state, number, code, message);
            }
        }
    }
    if error.flags.contains(ErrorFlags::CLOSING) {
        Err(refused())
    } else {
        Ok(())
    }
}

/// Hands an answer to the one who waits for it. Whether there is one.
fn complete(state: &mut State, number: u16, answer: Result<Vec<u8>, Error>) -> bool {
    let mut slots = state.slots.iter();
    let Some(index) = slots.position(|(request, _)| *request == number) else {
        return false;
    };
    state.slots.swap_remove(index).1.fill(answer);
    true
}

fn open(state: &mut State, channels: &mut Vec<Option<Channel>>, number: u16, opened: &Opened<'_>) {
    let generation = state.generation;
    let log = Log {
        epoch: state.epoch,
        number: opened.stream,
        last: opened.last,
    };
    let subscribed = state
        .subscriptions
        .iter_mut()
        .find(|known| known.number == opened.subscription);
    let Some(Subscribed { id, queue, .. }) = subscribed else {
        return;
    };
    let index = usize::from(number);
    if index >= channels.len() {
        channels.resize_with(index + 1, || None);
    }
    // One that was on a stream of this name before is over: the stream was removed.
    for known in channels.iter_mut() {
        known.take_if(|known| known.subscription == *id && *known.stream == *opened.name);
    }
    let next = opened.next;
    queue.push(&Entry::Opened {
        generation,
        channel: number,
        next,
        stream: opened.name,
        log,
    });
    channels[index] = Some(Channel {
        subscription: *id,
        stream: opened.name.into(),
        queue: queue.clone(),
        next,
    });
}

/// How long a client that is closed tries to send what it still has.
const LINGER: Duration = Duration::from_secs(2);
/// How often a spinning thread looks for something between two looks at the clock.
const LOOKS_PER_CLOCK: u32 = 4096;
/// How often an adaptive one looks before it sleeps: each look is a receive, some 0.3 µs.
const LOOKS_BEFORE_SLEEP: u32 = 64;
