//! What was asked and not answered: Publish frames, in order, and requests, in any.

use std::collections::VecDeque;

use trunkline_wire::record::Run;
use trunkline_wire::{Ack, AckLevel, ErrorBody};

/// Records by their producer's sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Range {
    pub(crate) fn contains(self, sequence: u64) -> bool {
        (self.first..=self.last).contains(&sequence)
    }

    pub(crate) fn count(self) -> u64 {
        self.last - self.first + 1
    }
}

/// What an Ack or Error was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// The request with this number.
    Request(u16),
    /// These records, but for those in between that were refused before.
    Records(Range),
    /// Of an Error: the first of these records, and some of the others. The rest is stored, and nobody knows which.
    Some(Range),
    /// Nothing that was asked.
    Nothing,
}

/// A Publish frame that was not answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    pub(super) number: u16,
    pub(super) level: AckLevel,
    /// Its records that were not answered; none when `first` is behind `last`.
    pub(super) first: u64,
    pub(super) last: u64,
    /// Where the frame is among all bytes that were ever put in, and how long.
    pub(super) position: u64,
    pub(super) len: usize,
    /// Bytes of its records among those that are kept.
    pub(super) retained: usize,
}

#[derive(Debug)]
pub(super) struct Account {
    /// The last number that was given to a frame.
    number: u16,
    frames: VecDeque<InFlight>,
    requests: Vec<u16>,
    /// The records of the frames in flight, one after the other, when they may have to be sent again.
    retained: VecDeque<u8>,
}

impl Account {
    pub(super) fn new() -> Self {
        Self {
            number: 0,
            frames: VecDeque::with_capacity(FRAMES_MAX),
            requests: Vec::new(),
            retained: VecDeque::new(),
        }
    }

    pub(super) fn frames(&self) -> usize {
        self.frames.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.frames.len() >= FRAMES_MAX
    }

    /// The first record that was not answered, if it is in a frame.
    pub(super) fn first(&self) -> Option<u64> {
        self.frames.front().map(|frame| frame.first)
    }

    /// Whether a record is in one of the frames, and not answered.
    pub(super) fn contains(&self, sequence: u64) -> bool {
        let index = self.frames.partition_point(|frame| frame.last < sequence);
        self.frames
            .get(index)
            .is_some_and(|frame| frame.first <= sequence)
    }

    /// A frame was put in; `body` is kept when it may have to be sent again.
    pub(super) fn push(&mut self, frame: InFlight, body: Option<&[u8]>) {
        let retained = body.map_or(0, <[u8]>::len);
        self.retained.extend(body.unwrap_or_default());
        self.frames.push_back(InFlight { retained, ..frame });
    }

    /// Gives a number to a request. `None` when there are too many.
    pub(super) fn begin_request(&mut self) -> Option<u16> {
        if self.requests.len() >= REQUESTS_MAX {
            return None;
        }
        let number = self.next_number()?;
        self.requests.push(number);
        Some(number)
    }

    /// The answer of this request has come, or nobody waits for it any more. Whether it was open.
    pub(super) fn finish_request(&mut self, number: u16) -> bool {
        let Some(index) = self.requests.iter().position(|request| *request == number) else {
            return false;
        };
        self.requests.swap_remove(index);
        true
    }

    /// The next number of a frame that is answered: not 0, and not one that is in use.
    pub(super) fn next_number(&mut self) -> Option<u16> {
        for _ in 0..=REQUESTS_MAX + 2 {
            let number = self.number.wrapping_add(1);
            // Frames are numbered in order, so the oldest is the first to be met.
            if self
                .frames
                .front()
                .is_some_and(|oldest| oldest.number == number)
            {
                return None;
            }
            self.number = number;
            if number != 0 && !self.requests.contains(&number) {
                return Some(number);
            }
        }
        None
    }

    /// An Ack answers every frame up to the one that it names.
    pub(super) fn on_ack(&mut self, number: u16, ack: &Ack) -> Answered {
        if self.finish_request(number) {
            return Answered::Request(number);
        }
        let Some(index) = self.index(number) else {
            return Answered::Nothing;
        };
        let first = self.frames[0].first;
        for _ in 0..index {
            self.pop();
        }
        let named = &mut self.frames[0];
        // When part of the frame was accepted, an Error about the others comes next.
        let last = ack
            .producer_sequence
            .clamp(named.first.saturating_sub(1), named.last);
        named.first = last + 1;
        self.pop_answered();
        if last < first {
            Answered::Nothing
        } else {
            Answered::Records(Range { first, last })
        }
    }

    /// An Error answers one frame, from the record that it names to the end. Where it counts fewer, workers of the server took the others.
    pub(super) fn on_error(&mut self, number: u16, error: &ErrorBody<'_>) -> Answered {
        if number != 0 && self.finish_request(number) {
            return Answered::Request(number);
        }
        let Some(frame) = self.index(number).map(|index| &mut self.frames[index]) else {
            return Answered::Nothing;
        };
        if frame.first > frame.last {
            return Answered::Nothing;
        }
        let refused = Range {
            first: error.producer_sequence.clamp(frame.first, frame.last),
            last: frame.last,
        };
        // What was accepted before it is still to be acknowledged.
        frame.last = refused.first - 1;
        self.pop_answered();
        if (1..refused.count()).contains(&u64::from(error.count)) {
            Answered::Some(refused)
        } else {
            Answered::Records(refused)
        }
    }

    /// Requests are answered no more.
    pub(super) fn forget_requests(&mut self) {
        self.requests.clear();
    }

    /// Frames that start before `position` are answered no more: which records they had.
    pub(super) fn lose(&mut self, position: u64) -> Option<Range> {
        let mut lost: Option<Range> = None;
        while let Some(&InFlight { first, last, .. }) = self
            .frames
            .front()
            .filter(|frame| frame.position < position)
        {
            if first <= last {
                lost = Some(Range {
                    first: lost.map_or(first, |lost| lost.first),
                    last,
                });
            }
            self.pop();
        }
        lost
    }

    /// Each frame, to be put in again: `again` gets it, with its unanswered records if they are kept, and returns where it is
    /// now. `None` when that does.
    pub(super) fn repeat(
        &mut self,
        mut again: impl FnMut(&InFlight, &[u8]) -> Option<u64>,
    ) -> Option<()> {
        let mut at = 0;
        let retained = self.retained.make_contiguous();
        for frame in &mut self.frames {
            let body = retained.get(at..at + frame.retained)?;
            at += frame.retained;
            if frame.first > frame.last {
                // All of it was refused; it waits for those before it to be answered.
                continue;
            }
            frame.position = again(frame, unanswered(body, frame.first, frame.last))?;
        }
        Some(())
    }

    fn index(&self, number: u16) -> Option<usize> {
        self.frames.iter().position(|frame| frame.number == number)
    }

    /// Frames at the front of which nothing is left are done; others stay for their place.
    fn pop_answered(&mut self) {
        while self
            .frames
            .front()
            .is_some_and(|frame| frame.first > frame.last)
        {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(frame) = self.frames.pop_front() {
            self.retained.drain(..frame.retained);
        }
    }
}

/// The records of a frame's body with these sequences, which are dense.
fn unanswered(body: &[u8], first: u64, last: u64) -> &[u8] {
    let Ok(run) = Run::check(body, u32::MAX) else {
        return body;
    };
    let (mut at, mut start, mut end) = (0, body.len(), 0);
    for raw in run.records() {
        if (first..=last).contains(&raw.sequence()) {
            start = start.min(at);
            end = at + raw.len();
        }
        at += raw.len();
    }
    body.get(start..end).unwrap_or_default()
}

/// Publish frames that may be unanswered: far fewer than there are numbers.
pub(super) const FRAMES_MAX: usize = 8192;
/// Requests that may be unanswered.
const REQUESTS_MAX: usize = 4096;
