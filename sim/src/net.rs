//! Connections between clients and the server: two pipes with everything that happens to bytes on their way.

use std::collections::VecDeque;

use crate::faults::{Fault, Faults};

/// A connection.
#[derive(Debug)]
pub(crate) struct Link {
    /// Client to server.
    pub up: Pipe,
    /// Server to client.
    pub down: Pipe,
    /// Its bytes were changed on the way.
    pub tampered: bool,
    /// The incarnation of the server that accepted it.
    pub epoch: u32,
}

/// One direction of a connection.
#[derive(Debug)]
pub(crate) struct Pipe {
    bytes: VecDeque<u8>,
    /// Bytes that it holds before the sender has to wait.
    capacity: usize,
    not_before_ns: u64,
    /// The receiver gets so many bytes at a time, for this many times.
    crumbs: u32,
    end: End,
}

/// How far a pipe is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    /// What is in it still comes, then its end.
    Finished,
    /// What is in it is lost.
    Reset,
    /// It takes everything and gives nothing, not even an end.
    BlackHole,
}

/// What a receiver gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Bytes.
    Bytes(Vec<u8>),
    /// Nothing for now.
    Nothing,
    /// Nothing any more.
    End,
    /// The connection broke.
    Reset,
}

impl Link {
    /// A connection to an incarnation of the server.
    pub(crate) fn new(epoch: u32, capacity: usize) -> Self {
        Self {
            up: Pipe::new(capacity),
            down: Pipe::new(capacity),
            tampered: false,
            epoch,
        }
    }

    /// Both ends learn that the connection broke.
    pub(crate) fn reset(&mut self) {
        self.up.end = End::Reset;
        self.down.end = End::Reset;
    }

    /// The client is gone, and nobody tells the server; or the other way round.
    pub(crate) fn go_silent(&mut self, client: bool) {
        let pipe = if client { &mut self.up } else { &mut self.down };
        pipe.end = End::BlackHole;
    }

    /// The server does not know it any more.
    pub(crate) fn server_left(&mut self) {
        if self.up.end == End::Open {
            self.up.end = End::Reset;
        }
        if self.down.end == End::Open {
            self.down.end = End::Reset;
        }
    }

    /// What may happen to a connection at any moment.
    pub(crate) fn suffer(&mut self, now_ns: u64, faults: &mut Faults) {
        if faults.strikes(Fault::HalfOpen) {
            self.go_silent(true);
        }
        if faults.strikes(Fault::BlackHole) {
            self.up.end = End::BlackHole;
            self.down.end = End::BlackHole;
        }
        if faults.strikes(Fault::Reset) {
            self.reset();
        }
        if self.up.bytes.len() > 1 && faults.strikes(Fault::Truncate) {
            let keep = 1 + faults.below(Fault::Truncate, self.up.bytes.len() as u64 - 1);
            self.up.bytes.truncate(keep as usize);
            self.up.end = End::Finished;
        }
        for (fault, up) in [(Fault::FlipUp, true), (Fault::FlipDown, false)] {
            let pipe = if up { &mut self.up } else { &mut self.down };
            if !pipe.bytes.is_empty() && faults.strikes(fault) {
                let bit = faults.below(fault, pipe.bytes.len() as u64 * 8) as usize;
                pipe.bytes[bit / 8] ^= 1 << (bit % 8);
                self.tampered = true;
            }
        }
        if self.up.bytes.len() > 1 && faults.strikes(Fault::Duplicate) {
            let len = 1 + faults.below(Fault::Duplicate, self.up.bytes.len() as u64 - 1) as usize;
            let again: Vec<u8> = self.up.bytes.iter().take(len).copied().collect();
            again
                .into_iter()
                .rev()
                .for_each(|b| self.up.bytes.push_front(b));
            self.tampered = true;
        }
        if self.up.bytes.len() > 1 && faults.strikes(Fault::Dropped) {
            let len = 1 + faults.below(Fault::Dropped, self.up.bytes.len() as u64 - 1) as usize;
            self.up.bytes.drain(..len);
            self.tampered = true;
        }
        if self.up.bytes.len() > 1 && faults.strikes(Fault::Reordered) {
            let len = 1 + faults.below(Fault::Reordered, self.up.bytes.len() as u64 - 1) as usize;
            self.up.bytes.rotate_left(len);
            self.tampered = true;
        }
        for pipe in [&mut self.up, &mut self.down] {
            if !pipe.bytes.is_empty() && faults.strikes(Fault::Delay) {
                pipe.not_before_ns = now_ns + faults.below(Fault::Delay, 500_000_000);
            }
            if !pipe.bytes.is_empty() && faults.strikes(Fault::Crumbs) {
                pipe.crumbs = 20;
            }
        }
        if faults.strikes(Fault::SlowWriter) {
            self.up.not_before_ns = now_ns + faults.below(Fault::SlowWriter, 2_000_000_000);
        }
    }
}

impl Pipe {
    fn new(capacity: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            capacity,
            not_before_ns: 0,
            crumbs: 0,
            end: End::Open,
        }
    }

    /// Bytes that it takes now.
    pub(crate) fn room(&self) -> usize {
        match self.end {
            End::Open => self.capacity.saturating_sub(self.bytes.len()),
            // The sender does not know.
            End::BlackHole => self.capacity,
            End::Finished | End::Reset => 0,
        }
    }

    /// Takes bytes. There is room for them.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        if self.end == End::Open {
            self.bytes.extend(bytes);
        }
    }

    /// The sender has nothing more to say.
    pub(crate) fn finish(&mut self) {
        if self.end == End::Open {
            self.end = End::Finished;
        }
    }

    /// Whether the sender finds it broken.
    pub(crate) fn is_broken(&self) -> bool {
        self.end == End::Reset
    }

    /// What has arrived, at most `most` bytes.
    pub(crate) fn receive(&mut self, most: usize, now_ns: u64) -> Received {
        match self.end {
            End::Reset => return Received::Reset,
            End::BlackHole => return Received::Nothing,
            End::Open | End::Finished => {}
        }
        if now_ns < self.not_before_ns {
            return Received::Nothing;
        }
        if self.bytes.is_empty() {
            return if self.end == End::Finished {
                Received::End
            } else {
                Received::Nothing
            };
        }
        let mut most = most.max(1);
        if self.crumbs > 0 {
            self.crumbs -= 1;
            most = 1;
        }
        let count = most.min(self.bytes.len());
        Received::Bytes(self.bytes.drain(..count).collect())
    }
}
