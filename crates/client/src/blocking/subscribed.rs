//! A subscription of the client over all its connections: asked for on each, going on where it was on the last, asked for again where it is
//! refused for the time being, and ended where it is refused for good.

use std::sync::Arc;
use std::time::Instant;

use trunkline_wire::{ErrorCode, Positions, Start, Subscribe, Unsubscribe};

use super::backoff::Backoff;
use super::queue::Queue;
use super::shared::State;
use crate::error::Error;
use crate::outlet::Outlet;
use crate::subscription::Subscription;

/// What is known of it.
#[derive(Debug)]
pub(super) struct Subscribed {
    pub(super) id: u64,
    pub(super) subscription: Subscription,
    pub(super) queue: Arc<Queue>,
    /// Its number on this connection.
    pub(super) number: u16,
    /// The number of the request that asks for it, until that is answered: numbers of other frames may be the same later.
    pub(super) request: Option<u16>,
    /// When the server said for the first time from where on it sends, by the server's clock: a stream that is not in `next` is newer than that,
    /// or was not served then.
    pub(super) since_ns: Option<u64>,
    /// There was a stream that was not served, so that one that is not in `next` may be older all the same.
    pub(super) unserved: bool,
    /// Where it goes on after this connection, by stream.
    pub(super) next: Vec<(Box<str>, u64)>,
    /// It was refused on this connection, and that may pass.
    pub(super) refused: Option<Refused>,
}

/// A refusal that may pass.
#[derive(Debug)]
pub(super) struct Refused {
    pauses: Backoff,
    /// How often there were too many of something.
    too_many: u32,
    /// When to ask again; `None` while that is not answered.
    due: Option<Instant>,
}

impl Subscribed {
    /// Asks for it on a connection: each stream from the last sequence that was seen, and those that are newer than the subscription from
    /// their first; a cursor where the server keeps its place. A group that is there goes on where it is; one that has gone with
    /// its last member begins where this one was.
    fn ask(&mut self, outlet: &mut Outlet) -> Result<(), Error> {
        let body = self.subscription.body(self.number);
        let mut positions = Vec::new();
        let start = match self.since_ns {
            Some(_) if !body.cursor.is_empty() => Start::Cursor,
            Some(since_ns) if !self.subscription.responder => {
                for (stream, next) in &self.next {
                    Positions::push(&mut positions, stream, *next).map_err(|_| Error::TooMany)?;
                }
                match body.start {
                    _ if !self.unserved => Start::First,
                    // It may be an old stream, of which only what is new was asked for.
                    Start::New | Start::Last => Start::Time(since_ns),
                    start => start,
                }
            }
            _ => body.start,
        };
        let body = Subscribe {
            start,
            positions: Positions::new(&positions).map_err(|_| Error::TooMany)?,
            ..body
        };
        self.request = Some(outlet.request(&body).ok_or(Error::TooMany)?);
        Ok(())
    }

    /// Where to go on with a stream.
    fn remember(&mut self, stream: &str, next: u64) {
        match self.next.iter_mut().find(|(known, _)| **known == *stream) {
            Some((_, known)) => *known = next,
            None => self.next.push((stream.into(), next)),
        }
    }

    /// Whether this refusal may pass, so that it is worth asking again.
    fn may_pass(&self, code: ErrorCode) -> bool {
        match code {
            // A stream that is not served as yet, or a full disk.
            ErrorCode::READ_ONLY | ErrorCode::NO_SPACE => true,
            // Connections that the server has not found dead yet may hold the places.
            ErrorCode::TOO_MANY => {
                let refused = self.refused.as_ref();
                refused.is_none_or(|refused| refused.too_many < TOO_MANY_MAX)
            }
            _ => false,
        }
    }
}

/// Asks for all of them on a new connection.
pub(super) fn ask_all(state: &mut State) -> Result<(), Error> {
    state.next_number = 1;
    state.ask_again = None;
    for subscribed in &mut state.subscriptions {
        subscribed.number = state.next_number;
        subscribed.refused = None;
        state.next_number += 1;
        subscribed.ask(&mut state.outlet)?;
    }
    Ok(())
}

/// Asks again for those that were refused and whose pause is over. Whether there were some.
pub(super) fn ask_again(state: &mut State, now: Instant) -> Result<bool, Error> {
    if state.ask_again.is_none_or(|due| now < due) {
        return Ok(false);
    }
    for subscribed in &mut state.subscriptions {
        if let Some(refused) = &mut subscribed.refused
            && refused.due.is_some_and(|due| due <= now)
        {
            refused.due = None;
            subscribed.ask(&mut state.outlet)?;
        }
    }
    note_due(state);
    Ok(true)
}

/// When the first of them is to be asked for again.
fn note_due(state: &mut State) {
    let refused = state
        .subscriptions
        .iter()
        .filter_map(|known| known.refused.as_ref());
    state.ask_again = refused.filter_map(|refused| refused.due).min();
}

/// The server has said from where on it sends.
pub(super) fn on_ack(state: &mut State, request: u16) {
    let now_ns = state.server_ns();
    if let Some(known) = answered(state, request) {
        known.since_ns.get_or_insert(now_ns);
        known.refused = None;
    }
}

/// The server has refused the request, and nobody waits for it: it was made for a connection. Asked again after a pause, or over.
pub(super) fn on_refusal(state: &mut State, request: u16, code: ErrorCode, message: &str) {
    let backoff_max = state.backoff_max;
    let Some(known) = answered(state, request) else {
        return;
    };
    if known.may_pass(code) {
        let refused = known.refused.get_or_insert_with(|| Refused {
            pauses: Backoff::new(backoff_max),
            too_many: 0,
            due: None,
        });
        refused.too_many += u32::from(code == ErrorCode::TOO_MANY);
        refused.due = Instant::now().checked_add(refused.pauses.pause());
        note_due(state);
        return;
    }
    let id = known.id;
    end(state, id, code, message);
}

/// Another subscription took the durable cursor over that this one reads with. Not asked for again: that would take it back.
pub(super) fn on_taken_over(state: &mut State, number: u16, code: ErrorCode, message: &str) {
    let mut subscriptions = state.subscriptions.iter();
    let Some(id) = subscriptions
        .find(|known| known.number == number)
        .map(|known| known.id)
    else {
        return;
    };
    end(state, id, code, message);
    // What it still gets of other streams, nobody takes. A server that does not hear this goes on until its credit is used up.
    let subscription = number;
    let _ = state.outlet.request(&Unsubscribe { subscription });
}

/// A stream that some subscription wants is not served.
pub(super) fn on_unserved(state: &mut State) {
    // The server does not say which of them; for the others it makes no difference.
    for known in &mut state.subscriptions {
        known.unserved = true;
    }
}

/// Where to go on with a channel's stream.
pub(super) fn remember(state: &mut State, id: u64, stream: &str, next: u64) {
    let mut subscriptions = state.subscriptions.iter_mut();
    if let Some(known) = subscriptions.find(|known| known.id == id) {
        known.remember(stream, next);
    }
}

/// The one that this request asked for.
fn answered(state: &mut State, request: u16) -> Option<&mut Subscribed> {
    let mut subscriptions = state.subscriptions.iter_mut();
    subscriptions.find_map(|known| {
        known.request.take_if(|asked| *asked == request)?;
        Some(known)
    })
}

/// It is over, and its owner is told why.
fn end(state: &mut State, id: u64, code: ErrorCode, message: &str) {
    let mut subscriptions = state.subscriptions.iter();
    if let Some(index) = subscriptions.position(|known| known.id == id) {
        let known = state.subscriptions.swap_remove(index);
        known.queue.fail(Error::Refused {
            code,
            message: message.into(),
        });
        note_due(state);
    }
}

/// How often it is asked again where the server says that there are too many: for some seconds.
const TOO_MANY_MAX: u32 = 10;
