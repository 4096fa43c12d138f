//! Calls: from whoever asks to one of those who answer, and back.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use trunkline_route::{Pattern, Subject, Table};
use trunkline_wire::{
    Body, ErrorBody, ErrorCode, Failure, FrameFlags, FrameHeader, Opcode, RpcCall,
};

use crate::Now;
use crate::out::{Out, SessionId};
use crate::refusal::Refusal;
use crate::session::Session;
use crate::shard::Shard;
use crate::slab::{Key, Slab};

/// Who answers what, and the calls that are not answered yet.
#[derive(Debug)]
pub(crate) struct Rpc {
    responders: Slab<Responder>,
    table: Table<Key>,
    calls: Slab<Call>,
    /// By the responder's session and the correlation that it was given.
    correlations: HashMap<(Key, u16), Key>,
    /// When calls time out; those that were answered stay until then, or until they are too many.
    deadlines: BinaryHeap<Reverse<(u64, Key)>>,
    /// Counts calls: the responder that was last called longest ago is next.
    round: u64,
}

#[derive(Debug)]
struct Responder {
    session: Key,
    id: SessionId,
    subscription: u16,
    pattern: Pattern,
    /// Calls that it works on, and the bytes of their payloads.
    calls: u32,
    bytes: u64,
    last_called: u64,
}

#[derive(Debug)]
struct Call {
    caller: Key,
    caller_id: SessionId,
    correlation: u16,
    responder: Key,
    responder_session: Key,
    responder_correlation: u16,
    bytes: u64,
}

impl Rpc {
    pub(crate) fn new(responders: u32, calls: u32, seed: u64) -> Self {
        Self {
            responders: Slab::new(responders),
            table: Table::with_seed(seed),
            calls: Slab::new(calls),
            correlations: HashMap::new(),
            deadlines: BinaryHeap::new(),
            round: 0,
        }
    }

    pub(crate) fn add_responder(
        &mut self,
        session: Key,
        id: SessionId,
        subscription: u16,
        pattern: &Pattern,
    ) -> Result<(), Refusal> {
        let responder = Responder {
            session,
            id,
            subscription,
            pattern: pattern.clone(),
            calls: 0,
            bytes: 0,
            last_called: 0,
        };
        match self.responders.insert(responder) {
            Ok(key) => {
                self.table.insert(pattern, key);
                Ok(())
            }
            Err(_) => Err(Refusal::new(
                ErrorCode::TOO_MANY,
                "there are as many responders as there may be",
            )),
        }
    }

    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        self.deadlines.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes a call out and everything that points to it.
    fn finish(&mut self, key: Key, sessions: &mut Slab<Session>) -> Option<Call> {
        let call = self.calls.remove(key)?;
        self.correlations
            .remove(&(call.responder_session, call.responder_correlation));
        if let Some(responder) = self.responders.at_mut(call.responder) {
            responder.calls -= 1;
            responder.bytes -= call.bytes;
        }
        if let Some(caller) = sessions.at_mut(call.caller) {
            caller.calls -= 1;
        }
        if self.deadlines.len() > 2 * self.calls.len() as usize + 64 {
            let calls = &self.calls;
            self.deadlines
                .retain(|Reverse((_, key))| calls.at(*key).is_some());
        }
        Some(call)
    }
}

impl Shard {
    /// Passes a call on to one responder. What goes wrong comes back at the caller's correlation by [`Out::refused`], now or later.
    pub fn call(
        &mut self,
        session: SessionId,
        correlation: u16,
        call: &RpcCall<'_>,
        now: Now,
        out: &mut impl Out,
    ) {
        if let Err(refusal) = self.try_call(session, correlation, call, now, out) {
            out.refused(session, correlation, &refusal.body());
        }
    }

    fn try_call(
        &mut self,
        session: SessionId,
        correlation: u16,
        call: &RpcCall<'_>,
        now: Now,
        out: &mut impl Out,
    ) -> Result<(), Refusal> {
        let limits = self.config.limits;
        let caller = self
            .session_key(session)
            .ok_or_else(crate::subscribe::no_session)?;
        let subject = Subject::new(call.subject).map_err(|error| {
            Refusal::new(
                ErrorCode::SUBJECT,
                format!("subject {:?}: {error}", call.subject),
            )
        })?;
        if call.payload.len() > limits.call_bytes as usize {
            let message = format!(
                "the call has {} bytes, the limit is {}",
                call.payload.len(),
                limits.call_bytes
            );
            return Err(Refusal::new(ErrorCode::RECORD_TOO_LONG, message));
        }
        let waiting = self.sessions.at(caller).map_or(0, |session| session.calls);
        if waiting >= limits.session_calls || self.rpc.calls.is_full() {
            return Err(Refusal::new(
                ErrorCode::TOO_MANY,
                "as many calls wait for their answer as may",
            ));
        }
        let bytes = call.payload.len() as u64;
        let (mut chosen, mut listens) = (None, false);
        let rpc = &mut self.rpc;
        rpc.table.each(subject, |&key| {
            let Some(responder) = rpc.responders.at(key) else {
                return;
            };
            listens = true;
            let free = responder.calls < limits.session_calls
                && (responder.calls == 0 || responder.bytes + bytes <= limits.responder_bytes);
            if free && chosen.is_none_or(|(last, _)| responder.last_called < last) {
                chosen = Some((responder.last_called, key));
            }
        });
        let Some((_, responder_key)) = chosen else {
            return Err(if listens {
                Refusal::new(ErrorCode::TOO_MANY, "all responders are busy")
            } else {
                Refusal::new(
                    ErrorCode::NOBODY_LISTENS,
                    format!("nobody listens on {}", call.subject),
                )
            });
        };
        let Some(responder) = rpc.responders.at_mut(responder_key) else {
            return Ok(());
        };
        let (responder_session, responder_id) = (responder.session, responder.id);
        let taken = |correlation| {
            rpc.correlations
                .contains_key(&(responder_session, correlation))
        };
        let (worker, workers) = (
            u16::from(self.config.worker),
            u16::from(self.config.workers.max(1)),
        );
        let number = self.sessions.at_mut(responder_session).and_then(|session| {
            next_correlation(
                &mut session.correlation,
                worker,
                workers,
                limits.session_calls,
                taken,
            )
        });
        let Some(number) = number else {
            return Err(Refusal::new(ErrorCode::TOO_MANY, "all responders are busy"));
        };

        rpc.round += 1;
        responder.last_called = rpc.round;
        responder.calls += 1;
        responder.bytes += bytes;
        let (default_ns, max_ns) = self.config.call_timeout_ns;
        let timeout_ns = match call.timeout_ms {
            0 => default_ns,
            ms => (u64::from(ms) * 1_000_000).min(max_ns),
        };
        let entry = Call {
            caller,
            caller_id: session,
            correlation,
            responder: responder_key,
            responder_session,
            responder_correlation: number,
            bytes,
        };
        let Ok(key) = rpc.calls.insert(entry) else {
            return Ok(());
        };
        rpc.correlations.insert((responder_session, number), key);
        rpc.deadlines.push(Reverse((now.mono_ns + timeout_ns, key)));
        if let Some(session) = self.sessions.at_mut(caller) {
            session.calls += 1;
        }

        let timeout_ms = u32::try_from(timeout_ns.div_ceil(1_000_000)).unwrap_or(u32::MAX);
        let call = RpcCall {
            timeout_ms,
            ..*call
        };
        self.scratch.clear();
        self.scratch
            .resize(4 + 2 + call.subject.len() + call.payload.len(), 0);
        if let Ok(len) = call.encode(&mut self.scratch) {
            out.frame(
                responder_id,
                header(Opcode::RpcCall, number, len),
                &self.scratch[..len],
            );
        }
        Ok(())
    }

    /// Passes an answer back to the caller. An answer to nothing, which is one that came too late, is dropped.
    pub fn respond(
        &mut self,
        session: SessionId,
        correlation: u16,
        payload: &[u8],
        out: &mut impl Out,
    ) {
        let Some(call) = self.answered(session, correlation) else {
            return;
        };
        let limit = self.config.limits.call_bytes as usize;
        if payload.len() > limit {
            let message = format!(
                "the answer has {} bytes, the limit is {limit}",
                payload.len()
            );
            out.refused(
                call.caller_id,
                call.correlation,
                &ErrorBody::new(ErrorCode::RECORD_TOO_LONG, &message),
            );
            return;
        }
        out.frame(
            call.caller_id,
            header(Opcode::RpcResponse, call.correlation, payload.len()),
            payload,
        );
    }

    /// Tells the caller that the responder failed. Nothing happens when that comes too late.
    pub fn respond_failed(
        &mut self,
        session: SessionId,
        correlation: u16,
        failure: &Failure<'_>,
        out: &mut impl Out,
    ) {
        let Some(call) = self.answered(session, correlation) else {
            return;
        };
        self.scratch.clear();
        self.scratch.resize(4 + 2 + failure.message.len(), 0);
        if let Ok(len) = failure.encode(&mut self.scratch) {
            let header = FrameHeader {
                flags: FrameFlags::FAILED,
                ..header(Opcode::RpcResponse, call.correlation, len)
            };
            out.frame(call.caller_id, header, &self.scratch[..len]);
        }
    }

    /// The responder has no room for a call that was passed to it: the caller is told.
    pub fn reject_call(&mut self, session: SessionId, correlation: u16, out: &mut impl Out) {
        if let Some(call) = self.answered(session, correlation) {
            let message = "the responder has not read earlier calls yet; try again";
            let error = ErrorBody::new(ErrorCode::TOO_MANY, message);
            out.refused(call.caller_id, call.correlation, &error);
        }
    }

    /// The call that a session answers under this correlation, which is over.
    fn answered(&mut self, session: SessionId, correlation: u16) -> Option<Call> {
        let responder = self.session_key(session)?;
        let key = *self.rpc.correlations.get(&(responder, correlation))?;
        self.rpc.finish(key, &mut self.sessions)
    }

    /// Calls whose time is over. Returns how many those were.
    pub(crate) fn time_out_calls(&mut self, now: Now, out: &mut impl Out) -> usize {
        let mut count = 0;
        while let Some(&Reverse((at, key))) = self.rpc.deadlines.peek() {
            if at > now.mono_ns {
                break;
            }
            self.rpc.deadlines.pop();
            if let Some(call) = self.rpc.finish(key, &mut self.sessions) {
                fail(&call, ErrorCode::CALL_TIMED_OUT, out);
                count += 1;
            }
        }
        count
    }

    /// The session does not answer any more: at all, or under one subscription.
    pub(crate) fn remove_responders(
        &mut self,
        session: Key,
        subscription: Option<u16>,
        out: &mut impl Out,
    ) {
        let gone: Vec<Key> = self
            .rpc
            .responders
            .iter()
            .filter(|(_, responder)| {
                responder.session == session
                    && subscription.is_none_or(|number| number == responder.subscription)
            })
            .map(|(key, _)| key)
            .collect();
        for responder in gone {
            let calls: Vec<Key> = self
                .rpc
                .calls
                .iter()
                .filter(|(_, call)| call.responder == responder)
                .map(|(key, _)| key)
                .collect();
            for key in calls {
                if let Some(call) = self.rpc.finish(key, &mut self.sessions) {
                    fail(&call, ErrorCode::RESPONDER_GONE, out);
                }
            }
            if let Some(removed) = self.rpc.responders.remove(responder) {
                self.rpc
                    .table
                    .remove(&removed.pattern, |key| *key == responder);
            }
        }
    }

    /// The session waits for no answer any more.
    pub(crate) fn forget_calls_of(&mut self, caller: Key) {
        let calls: Vec<Key> = self
            .rpc
            .calls
            .iter()
            .filter(|(_, call)| call.caller == caller)
            .map(|(key, _)| key)
            .collect();
        for key in calls {
            self.rpc.finish(key, &mut self.sessions);
        }
    }
}

fn fail(call: &Call, code: ErrorCode, out: &mut impl Out) {
    out.refused(
        call.caller_id,
        call.correlation,
        &ErrorBody::new(code, code.description()),
    );
}

fn header(opcode: Opcode, sequence: u16, len: usize) -> FrameHeader {
    FrameHeader {
        opcode,
        flags: FrameFlags::empty(),
        sequence,
        length: len as u32,
    }
}

/// A correlation that is `worker` modulo `workers` and not taken. At most `calls` are.
fn next_correlation(
    last: &mut u16,
    worker: u16,
    workers: u16,
    calls: u32,
    taken: impl Fn(u16) -> bool,
) -> Option<u16> {
    let ordinals = u16::MAX / workers;
    for _ in 0..=calls {
        *last = if *last + 1 < ordinals { *last + 1 } else { 0 };
        let number = *last * workers + worker;
        if !taken(number) {
            return Some(number);
        }
    }
    None
}
