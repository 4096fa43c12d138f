//! Which frames of a session wait for which workers: its answers, put together and in order.
//!
//! With one worker there is nothing to put together, and sessions have no ledger.

use std::collections::VecDeque;

use trunkline_wire::{Ack, AckLevel, ErrorCode};

/// What one session waits for.
#[derive(Default)]
pub(super) struct Ledger {
    /// Publish frames that are to be acknowledged, in the order in which they came.
    frames: VecDeque<Waiting>,
    /// Subscribes and unsubscribes.
    asks: Vec<Ask>,
    /// Runs that are on their way to other workers.
    pub(super) runs_out: u32,
}

struct Waiting {
    frame: u16,
    /// Workers whose part is not at its level yet, by bit.
    owners: u64,
    ack: Ack,
    /// It has no records: its Ack is sent for itself, and counts none.
    alone: bool,
    /// A worker refused its part.
    refused: bool,
}

struct Ask {
    request: u16,
    waiting: usize,
    count: u32,
    /// Whether any worker said yes.
    done: bool,
    refusal: Option<(ErrorCode, Box<str>)>,
}

/// What came of a request that all workers were asked.
pub(super) type Answer = Result<u32, (ErrorCode, Box<str>)>;

impl Ledger {
    /// A frame that wants an Ack was dealt out to `owners`; `alone` if it has no records.
    pub(super) fn expect(&mut self, frame: u16, owners: u64, alone: bool) {
        let ack = Ack {
            level: AckLevel::Synced,
            count: 0,
            stream_sequence: 0,
            producer_sequence: 0,
        };
        self.frames.push_back(Waiting {
            frame,
            owners,
            ack,
            alone,
            refused: false,
        });
    }

    /// A worker's part of this and all earlier frames is at its level.
    pub(super) fn on_ack(&mut self, worker: u8, frame: u16, ack: Ack) {
        let Some(index) = self.index(frame) else {
            return;
        };
        let waiting = &mut self.frames[index];
        waiting.ack.count += ack.count;
        waiting.ack.level = lower(waiting.ack.level, ack.level);
        if ack.producer_sequence >= waiting.ack.producer_sequence {
            waiting.ack.producer_sequence = ack.producer_sequence;
            waiting.ack.stream_sequence = ack.stream_sequence;
        }
        self.settle(worker, index);
    }

    /// A worker refused its part of a frame.
    pub(super) fn on_refusal(&mut self, worker: u8, frame: u16) {
        if let Some(index) = self.index(frame) {
            self.frames[index].refused = true;
            self.settle(worker, index);
        }
    }

    fn index(&self, frame: u16) -> Option<usize> {
        self.frames
            .iter()
            .position(|waiting| waiting.frame == frame)
    }

    fn settle(&mut self, worker: u8, up_to: usize) {
        for waiting in self.frames.iter_mut().take(up_to + 1) {
            waiting.owners &= !(1 << worker);
        }
    }

    /// The next Ack that can be said to the peer now.
    pub(super) fn next_ack(&mut self) -> Option<(u16, Ack)> {
        let mut said: Option<(u16, Ack)> = None;
        while let Some(&Waiting {
            frame,
            ack,
            alone,
            refused,
            ..
        }) = self.frames.front().filter(|waiting| waiting.owners == 0)
        {
            let alone = alone && ack.count == 0 && !refused;
            if alone && said.is_some() {
                break;
            }
            self.frames.pop_front();
            if alone {
                return Some((frame, ack));
            }
            if ack.count == 0 {
                continue;
            }
            let count = said.map_or(0, |(_, earlier)| earlier.count);
            said = Some((
                frame,
                Ack {
                    count: count + ack.count,
                    ..ack
                },
            ));
        }
        said
    }

    /// Other workers were asked too.
    pub(super) fn ask(&mut self, request: u16, workers: usize) {
        self.asks.push(Ask {
            request,
            waiting: workers,
            count: 0,
            done: false,
            refusal: None,
        });
    }

    /// One worker's answer. Returns the answer of all when it is the last: yes if any said yes.
    pub(super) fn on_answer(&mut self, request: u16, result: Answer) -> Option<Answer> {
        let index = self.asks.iter().position(|ask| ask.request == request)?;
        let ask = &mut self.asks[index];
        ask.waiting -= 1;
        match result {
            Ok(count) => {
                ask.done = true;
                ask.count += count;
            }
            Err(refusal) => ask.refusal = Some(refusal),
        }
        if ask.waiting > 0 {
            return None;
        }
        let ask = self.asks.swap_remove(index);
        Some(match ask.refusal {
            Some(refusal) if !ask.done => Err(refusal),
            _ => Ok(ask.count),
        })
    }
}

/// The weaker of two levels: what can be said of both.
fn lower(a: AckLevel, b: AckLevel) -> AckLevel {
    if (a as u8) < (b as u8) { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(count: u32, producer_sequence: u64) -> Ack {
        Ack {
            level: AckLevel::Stored,
            count,
            stream_sequence: producer_sequence,
            producer_sequence,
        }
    }

    #[test]
    fn acknowledges_in_order_whatever_order_workers_answer_in() {
        let mut ledger = Ledger::default();
        ledger.expect(1, 0b01, false);
        ledger.expect(2, 0b10, false);
        ledger.expect(3, 0b11, false);
        ledger.on_ack(1, 3, ack(5, 9));
        assert_eq!(ledger.next_ack(), None, "worker 0 has nothing yet");
        ledger.on_ack(0, 1, ack(2, 2));
        assert_eq!(
            ledger.next_ack(),
            Some((1, ack(2, 2))),
            "frame 2 is counted with frame 3"
        );
        ledger.on_ack(0, 3, ack(1, 8));
        assert_eq!(ledger.next_ack(), Some((3, ack(6, 9))));
        assert_eq!(ledger.next_ack(), None);
    }

    #[test]
    fn a_frame_without_records_is_answered_for_itself_when_all_have_answered() {
        let mut ledger = Ledger::default();
        ledger.expect(1, 0b01, false);
        ledger.expect(2, 0b11, true);
        ledger.expect(3, 0b10, false);
        ledger.on_ack(1, 3, ack(4, 7));
        ledger.on_ack(0, 1, ack(2, 2));
        assert_eq!(ledger.next_ack(), Some((1, ack(2, 2))));
        assert_eq!(ledger.next_ack(), None, "worker 0 is not there yet");
        ledger.on_ack(0, 2, ack(0, 0));
        assert_eq!(ledger.next_ack(), Some((2, ack(0, 0))));
        assert_eq!(ledger.next_ack(), Some((3, ack(4, 7))));
        ledger.expect(4, 0b11, true);
        ledger.on_refusal(1, 4);
        ledger.on_ack(0, 4, ack(0, 0));
        assert_eq!(ledger.next_ack(), None, "the refusal was its answer");
    }

    #[test]
    fn a_refused_part_does_not_hold_up_the_rest() {
        let mut ledger = Ledger::default();
        ledger.expect(1, 0b11, false);
        ledger.expect(2, 0b01, false);
        ledger.on_refusal(1, 1);
        assert_eq!(ledger.next_ack(), None);
        ledger.on_ack(0, 2, ack(3, 7));
        assert_eq!(ledger.next_ack(), Some((2, ack(3, 7))));
    }

    #[test]
    fn a_request_to_all_is_answered_once_with_the_sum() {
        let mut ledger = Ledger::default();
        ledger.ask(4, 2);
        assert_eq!(ledger.on_answer(4, Ok(1)), None);
        assert_eq!(
            ledger.on_answer(4, Err((ErrorCode::NOT_FOUND, "no".into()))),
            Some(Ok(1))
        );
        ledger.ask(5, 2);
        assert_eq!(
            ledger.on_answer(5, Err((ErrorCode::NOT_FOUND, "a".into()))),
            None
        );
        assert_eq!(
            ledger.on_answer(5, Err((ErrorCode::NOT_FOUND, "b".into()))),
            Some(Err((ErrorCode::NOT_FOUND, "b".into())))
        );
    }
}
