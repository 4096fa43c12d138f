//! Which frames of a session wait for which workers: its answers, put together and in order.
//!
//! With one worker there is nothing to put together, and sessions have no ledger.

use std::collections::VecDeque;

use trunkline_wire::{Ack, AckLevel, ErrorBody, ErrorCode, ErrorFlags};

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
    /// Workers that have not said everything about their part yet, by bit.
    owners: u64,
    /// There is more than one of them: what was refused by one may lie before what another took.
    several: bool,
    ack: Ack,
    /// It has no records: its Ack is sent for itself, and counts none.
    alone: bool,
    refusal: Option<Box<Refused>>,
}

/// Why records of a frame were refused, or something else that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    code: ErrorCode,
    /// How many records.
    count: u32,
    /// The producer's sequence of the first.
    producer_sequence: u64,
    message: Box<str>,
}

/// What is said to the peer about a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Ack(Ack),
    Refusal(Box<Refused>),
}

struct Ask {
    request: u16,
    waiting: usize,
    count: u32,
    /// Of a Subscribe, its number.
    subscription: Option<u16>,
    /// Workers that said yes, by bit.
    done: u64,
    refusal: Option<(ErrorCode, Box<str>)>,
}

/// What a worker says to a request that all were asked.
pub(super) type Answer = Result<u32, (ErrorCode, Box<str>)>;

/// What came of one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) answer: Answer,
    /// A subscription that has to be ended where it was begun, and the workers, by bit: another one refused it.
    pub(super) withdrawn: Option<(u16, u64)>,
}

impl From<&ErrorBody<'_>> for Refused {
    fn from(error: &ErrorBody<'_>) -> Self {
        Self {
            code: error.code,
            count: error.count,
            producer_sequence: error.producer_sequence,
            message: error.message.into(),
        }
    }
}

impl Refused {
    pub(super) fn body(&self) -> ErrorBody<'_> {
        ErrorBody {
            code: self.code,
            flags: ErrorFlags::empty(),
            count: self.count,
            offset: 0,
            producer_sequence: self.producer_sequence,
            message: &self.message,
        }
    }

    /// Another worker refused records of the same frame: the reason is that of the first record.
    fn join(&mut self, other: Self) {
        let count = self.count.saturating_add(other.count);
        if other.producer_sequence < self.producer_sequence {
            *self = other;
        }
        self.count = count;
    }
}

impl Waiting {
    /// Whether its Error comes before its Ack: where records are taken that lie behind the first refused one, the Ack counts them, too, and only who
    /// knows what was refused can tell what it is about.
    fn is_mixed(&self) -> bool {
        self.several
            && self
                .refusal
                .as_ref()
                .is_some_and(|refusal| self.ack.producer_sequence >= refusal.producer_sequence)
    }
}

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
            several: owners.count_ones() > 1,
            ack,
            alone,
            refusal: None,
        });
    }

    /// Whether a frame that comes now and is dealt out to `owners` may have one Ack with the frame before it: if one and the same worker has both.
    pub(super) fn may_join(&self, owners: u64) -> bool {
        let last = self.frames.back();
        last.is_some_and(|last| !last.several && last.owners == owners)
    }

    /// A worker's part of this and all earlier frames is at its level. With `in_part`, that is not all of this one: a refusal follows.
    pub(super) fn on_ack(&mut self, worker: u8, frame: u16, ack: Ack, in_part: bool) {
        let Some(index) = self.index(frame) else {
            return;
        };
        let done = if in_part { index } else { index + 1 };
        self.settle(worker, done, ack.level);
        let waiting = &mut self.frames[index];
        waiting.ack.count += ack.count;
        waiting.ack.level = waiting.ack.level.min(ack.level);
        if ack.producer_sequence >= waiting.ack.producer_sequence {
            waiting.ack.producer_sequence = ack.producer_sequence;
            waiting.ack.stream_sequence = ack.stream_sequence;
        }
    }

    /// A worker refused its part of a frame, or what is left of it. False if nothing waits for that.
    pub(super) fn on_refusal(&mut self, worker: u8, frame: u16, error: &ErrorBody<'_>) -> bool {
        let Some(index) = self.index(frame) else {
            return false;
        };
        let refused = Refused::from(error);
        match &mut self.frames[index].refusal {
            Some(earlier) => earlier.join(refused),
            none => *none = Some(Box::new(refused)),
        }
        self.settle(worker, index + 1, AckLevel::Synced);
        true
    }

    fn index(&self, frame: u16) -> Option<usize> {
        self.frames
            .iter()
            .position(|waiting| waiting.frame == frame)
    }

    /// A worker has said everything about its parts of so many frames. What it said nothing of before is at this level.
    fn settle(&mut self, worker: u8, frames: usize, level: AckLevel) {
        for waiting in self.frames.iter_mut().take(frames) {
            if waiting.owners & 1 << worker != 0 {
                waiting.owners &= !(1 << worker);
                waiting.ack.level = waiting.ack.level.min(level);
            }
        }
    }

    /// The next thing that can be said to the peer now. Frames are acknowledged together as long as the level is the same.
    pub(super) fn next_said(&mut self) -> Option<(u16, Said)> {
        let mut said: Option<(u16, Ack)> = None;
        while let Some(waiting) = self
            .frames
            .front_mut()
            .filter(|waiting| waiting.owners == 0)
        {
            let (frame, ack) = (waiting.frame, waiting.ack);
            if waiting.refusal.is_some() && (ack.count == 0 || waiting.is_mixed()) {
                if said.is_some() {
                    break;
                }
                let refusal = waiting.refusal.take();
                if ack.count == 0 {
                    self.frames.pop_front();
                }
                return refusal.map(|refusal| (frame, Said::Refusal(refusal)));
            }
            let alone = waiting.alone && ack.count == 0;
            let differs = said.is_some_and(|(_, said)| said.level != ack.level);
            if said.is_some() && (alone || (differs && ack.count > 0)) {
                break;
            }
            if ack.count > 0 {
                let before = said.map_or(0, |(_, said)| said.count);
                let count = before + ack.count;
                said = Some((frame, Ack { count, ..ack }));
            }
            if waiting.refusal.is_some() {
                // What is left of it is next.
                waiting.ack.count = 0;
                break;
            }
            self.frames.pop_front();
            if alone {
                return Some((frame, Said::Ack(ack)));
            }
        }
        said.map(|(frame, ack)| (frame, Said::Ack(ack)))
    }

    /// Other workers were asked too; for a Subscribe, with the number of the subscription.
    pub(super) fn ask(&mut self, request: u16, workers: usize, subscription: Option<u16>) {
        self.asks.push(Ask {
            request,
            waiting: workers,
            count: 0,
            subscription,
            done: 0,
            refusal: None,
        });
    }

    /// One worker's answer. Returns what came of the request when it is the last: yes if all said yes.
    pub(super) fn on_answer(
        &mut self,
        worker: u8,
        request: u16,
        answer: Answer,
    ) -> Option<Outcome> {
        let index = self.asks.iter().position(|ask| ask.request == request)?;
        let ask = &mut self.asks[index];
        ask.waiting -= 1;
        match answer {
            Ok(count) => {
                ask.done |= 1 << worker;
                ask.count += count;
            }
            Err(refusal) => {
                ask.refusal.get_or_insert(refusal);
            }
        }
        if ask.waiting > 0 {
            return None;
        }
        let ask = self.asks.swap_remove(index);
        Some(match ask.refusal {
            None => Outcome {
                answer: Ok(ask.count),
                withdrawn: None,
            },
            Some(refusal) => Outcome {
                answer: Err(refusal),
                withdrawn: ask
                    .subscription
                    .map(|number| (number, ask.done))
                    .filter(|(_, workers)| *workers != 0),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(count: u32, producer_sequence: u64) -> Ack {
        ack_at(AckLevel::Stored, count, producer_sequence)
    }

    fn ack_at(level: AckLevel, count: u32, producer_sequence: u64) -> Ack {
        Ack {
            level,
            count,
            stream_sequence: producer_sequence,
            producer_sequence,
        }
    }

    fn error(count: u32, producer_sequence: u64, message: &str) -> ErrorBody<'_> {
        ErrorBody {
            count,
            producer_sequence,
            ..ErrorBody::new(ErrorCode::READ_ONLY, message)
        }
    }

    /// All that can be said now.
    fn said(ledger: &mut Ledger) -> Vec<(u16, Said)> {
        std::iter::from_fn(|| ledger.next_said()).collect()
    }

    fn acked(frame: u16, ack: Ack) -> (u16, Said) {
        (frame, Said::Ack(ack))
    }

    fn refused(frame: u16, error: &ErrorBody<'_>) -> (u16, Said) {
        (frame, Said::Refusal(Box::new(error.into())))
    }

    #[test]
    fn acknowledges_in_order_whatever_order_workers_answer_in() {
        let mut ledger = Ledger::default();
        ledger.expect(1, 0b01, false);
        ledger.expect(2, 0b10, false);
        ledger.expect(3, 0b11, false);
        ledger.on_ack(1, 2, ack(3, 5), false);
        ledger.on_ack(1, 3, ack(2, 9), false);
        assert_eq!(said(&mut ledger), [], "worker 0 has nothing yet");
        ledger.on_ack(0, 1, ack(2, 2), false);
        assert_eq!(said(&mut ledger), [acked(2, ack(5, 5))]);
        ledger.on_ack(0, 3, ack(1, 8), false);
        assert_eq!(said(&mut ledger), [acked(3, ack(3, 9))]);
    }

    #[test]
    fn a_worker_may_answer_frames_in_a_row_that_are_all_its_own_together() {
        let mut ledger = Ledger::default();
        assert!(!ledger.may_join(0b10), "there is none before it");
        ledger.expect(1, 0b10, false);
        assert!(ledger.may_join(0b10) && !ledger.may_join(0b01) && !ledger.may_join(0b11));
        ledger.expect(2, 0b10, false);
        ledger.on_ack(1, 2, ack(5, 9), false);
        assert!(!ledger.may_join(0b10), "it has answered");
        assert_eq!(said(&mut ledger), [acked(2, ack(5, 9))]);
        ledger.expect(3, 0b11, false);
        assert!(!ledger.may_join(0b11), "their Acks come at different times");
        ledger.on_ack(0, 3, ack(1, 10), false);
        assert!(!ledger.may_join(0b10), "its Ack is of that frame alone");
    }

    #[test]
    fn an_ack_names_no_frame_that_has_not_reached_its_level() {
        let mut ledger = Ledger::default();
        let levels = [AckLevel::Stored, AckLevel::Received, AckLevel::Synced];
        ledger.expect(1, 0b10, false);
        ledger.expect(2, 0b01, false);
        ledger.expect(3, 0b01, false);
        ledger.expect(4, 0b10, false);
        ledger.expect(5, 0b11, false);
        ledger.on_ack(0, 2, ack_at(levels[1], 1, 2), false);
        ledger.on_ack(0, 3, ack_at(levels[2], 1, 3), false);
        ledger.on_ack(0, 5, ack_at(levels[2], 1, 6), false);
        assert_eq!(said(&mut ledger), [], "worker 1 is slow");
        ledger.on_ack(1, 1, ack_at(levels[0], 1, 1), false);
        ledger.on_ack(1, 4, ack_at(levels[2], 1, 4), false);
        // The weakest of a frame's parts is what can be said of it.
        ledger.on_ack(1, 5, ack_at(levels[0], 1, 5), false);
        let expected = [
            acked(1, ack_at(levels[0], 1, 1)),
            acked(2, ack_at(levels[1], 1, 2)),
            acked(4, ack_at(levels[2], 2, 4)),
            acked(5, ack_at(levels[0], 2, 6)),
        ];
        assert_eq!(said(&mut ledger), expected);
    }

    #[test]
    fn a_frame_without_records_is_answered_for_itself_when_all_have_answered() {
        let mut ledger = Ledger::default();
        ledger.expect(1, 0b01, false);
        ledger.expect(2, 0b11, true);
        ledger.expect(3, 0b10, false);
        ledger.on_ack(1, 2, ack(0, 0), false);
        ledger.on_ack(1, 3, ack(4, 7), false);
        ledger.on_ack(0, 1, ack(2, 2), false);
        assert_eq!(said(&mut ledger), [acked(1, ack(2, 2))]);
        ledger.on_ack(0, 2, ack(0, 0), false);
        assert_eq!(
            said(&mut ledger),
            [acked(2, ack(0, 0)), acked(3, ack(4, 7))]
        );
        ledger.expect(4, 0b11, true);
        assert!(ledger.on_refusal(1, 4, &error(0, 0, "no")));
        assert_eq!(said(&mut ledger), [], "worker 0 has yet to say");
        ledger.on_ack(0, 4, ack(0, 0), false);
        assert_eq!(
            said(&mut ledger),
            [refused(4, &error(0, 0, "no"))],
            "that is its answer"
        );
    }

    #[test]
    fn what_one_worker_refuses_of_its_frame_comes_behind_what_it_took() {
        let mut ledger = Ledger::default();
        ledger.expect(1, 0b01, false);
        ledger.expect(2, 0b01, false);
        ledger.on_ack(0, 1, ack(2, 2), true);
        assert_eq!(said(&mut ledger), [], "there is more to be said of it");
        assert!(ledger.on_refusal(0, 1, &error(1, 3, "full")));
        let expected = [acked(1, ack(2, 2)), refused(1, &error(1, 3, "full"))];
        assert_eq!(said(&mut ledger), expected);
        ledger.on_ack(0, 2, ack(1, 4), false);
        assert_eq!(said(&mut ledger), [acked(2, ack(1, 4))]);
        assert!(!ledger.on_refusal(0, 7, &error(0, 0, "no publish")));
    }

    #[test]
    fn a_frame_that_several_workers_refuse_has_one_error_which_is_the_first_records() {
        let mut ledger = Ledger::default();
        ledger.expect(1, 0b111, false);
        ledger.expect(2, 0b001, false);
        assert!(ledger.on_refusal(1, 1, &error(2, 5, "later")));
        ledger.on_ack(0, 1, ack(1, 1), true);
        assert!(ledger.on_refusal(0, 1, &error(3, 4, "first")));
        ledger.on_ack(0, 2, ack(1, 10), false);
        assert_eq!(said(&mut ledger), [], "worker 2 has yet to say");
        ledger.on_ack(2, 1, ack(1, 2), false);
        let expected = [
            acked(1, ack(2, 2)),
            refused(1, &error(5, 4, "first")),
            acked(2, ack(1, 10)),
        ];
        assert_eq!(said(&mut ledger), expected);
    }

    #[test]
    fn where_records_behind_a_refused_one_were_taken_the_error_comes_first() {
        let mut ledger = Ledger::default();
        ledger.expect(1, 0b10, false);
        ledger.expect(2, 0b11, false);
        ledger.expect(3, 0b10, false);
        ledger.on_ack(1, 1, ack(1, 1), false);
        ledger.on_ack(1, 2, ack(2, 5), false);
        ledger.on_ack(1, 3, ack(1, 6), false);
        assert_eq!(said(&mut ledger), [acked(1, ack(1, 1))]);
        assert!(ledger.on_refusal(0, 2, &error(2, 2, "full")));
        let expected = [refused(2, &error(2, 2, "full")), acked(3, ack(3, 6))];
        assert_eq!(said(&mut ledger), expected);
    }

    #[test]
    fn a_request_to_all_is_answered_once_with_the_sum() {
        let mut ledger = Ledger::default();
        ledger.ask(4, 2, Some(7));
        assert_eq!(ledger.on_answer(0, 4, Ok(1)), None);
        let done = Outcome {
            answer: Ok(3),
            withdrawn: None,
        };
        assert_eq!(ledger.on_answer(1, 4, Ok(2)), Some(done));
    }

    #[test]
    fn a_request_that_one_worker_refuses_is_refused_and_ended_where_it_was_begun() {
        let no = |why: &str| Err((ErrorCode::TOO_MANY, why.into()));
        let mut ledger = Ledger::default();
        ledger.ask(4, 3, Some(7));
        assert_eq!(ledger.on_answer(2, 4, Ok(0)), None);
        assert_eq!(ledger.on_answer(1, 4, no("full")), None);
        let refused = Outcome {
            answer: no("full"),
            withdrawn: Some((7, 0b101)),
        };
        assert_eq!(ledger.on_answer(0, 4, Ok(1)), Some(refused));
        // Where nobody began it there is nothing to end: that of this number is another.
        ledger.ask(5, 2, Some(7));
        assert_eq!(ledger.on_answer(0, 5, no("a")), None);
        let refused = Outcome {
            answer: no("a"),
            withdrawn: None,
        };
        assert_eq!(ledger.on_answer(1, 5, no("b")), Some(refused));
        // Nor is what was ended begun again.
        ledger.ask(6, 2, None);
        assert_eq!(ledger.on_answer(0, 6, Ok(0)), None);
        let refused = Outcome {
            answer: no("a"),
            withdrawn: None,
        };
        assert_eq!(ledger.on_answer(1, 6, no("a")), Some(refused));
    }
}
