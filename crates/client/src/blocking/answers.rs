//! What became of published records, for those who ask later.

use std::collections::VecDeque;

use trunkline_wire::{Ack, AckLevel, ErrorCode};

use crate::error::Error;
use crate::outlet::Range;

/// A record was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// What it has survived.
    pub level: AckLevel,
    /// The stream's sequence of the last record that was acknowledged together with it: its own, when it was the last
    /// that was published.
    pub last_stream_sequence: u64,
}

/// The latest answers. Bounded: one who waits for a record asks soon after it was answered.
#[derive(Debug)]
pub(super) struct Answers {
    acks: VecDeque<(u64, Acked)>,
    refused: VecDeque<(Range, ErrorCode, Box<str>)>,
    lost: VecDeque<Range>,
    /// Of a record up to here, the answer may be among those that are no longer kept.
    forgotten: u64,
    /// How many records were refused and lost since somebody asked.
    refused_records: u64,
    lost_records: u64,
}

impl Answers {
    pub(super) fn new() -> Self {
        Self {
            acks: VecDeque::with_capacity(ACKS_MAX),
            refused: VecDeque::new(),
            lost: VecDeque::new(),
            forgotten: 0,
            refused_records: 0,
            lost_records: 0,
        }
    }

    pub(super) fn ack(&mut self, range: Range, ack: &Ack) {
        if self.acks.len() == ACKS_MAX
            && let Some((last, _)) = self.acks.pop_front()
        {
            self.forgotten = self.forgotten.max(last);
        }
        let acked = Acked {
            level: ack.level,
            last_stream_sequence: ack.stream_sequence,
        };
        self.acks.push_back((range.last, acked));
    }

    pub(super) fn refuse(&mut self, range: Range, code: ErrorCode, message: &str) {
        if self.refused.len() == OTHERS_MAX
            && let Some((range, ..)) = self.refused.pop_front()
        {
            self.forgotten = self.forgotten.max(range.last);
        }
        self.refused_records += range.count();
        self.refused.push_back((range, code, message.into()));
    }

    pub(super) fn lose(&mut self, range: Range) {
        if self.lost.len() == OTHERS_MAX
            && let Some(range) = self.lost.pop_front()
        {
            self.forgotten = self.forgotten.max(range.last);
        }
        self.lost_records += range.count();
        self.lost.push_back(range);
    }

    /// What became of a record that is answered.
    pub(super) fn outcome(&self, sequence: u64) -> Result<Acked, Error> {
        if let Some((_, code, message)) = self
            .refused
            .iter()
            .find(|(range, ..)| range.contains(sequence))
        {
            return Err(Error::Refused {
                code: *code,
                message: message.clone(),
            });
        }
        if self.lost.iter().any(|range| range.contains(sequence)) {
            return Err(Error::Indeterminate);
        }
        // The next Ack that is kept says nothing about a record whose own answer is not.
        if sequence <= self.forgotten {
            return Err(Error::Indeterminate);
        }
        let index = self.acks.partition_point(|(last, _)| *last < sequence);
        self.acks
            .get(index)
            .map(|(_, acked)| *acked)
            .ok_or(Error::Indeterminate)
    }

    /// How many records were refused, and how many lost, since this was asked last.
    pub(super) fn take_failures(&mut self) -> (u64, u64) {
        (
            std::mem::take(&mut self.refused_records),
            std::mem::take(&mut self.lost_records),
        )
    }

    /// The last refusal, if there was one.
    pub(super) fn last_refusal(&self) -> Option<Error> {
        let (_, code, message) = self.refused.back()?;
        Some(Error::Refused {
            code: *code,
            message: message.clone(),
        })
    }

    /// The last acknowledgement.
    pub(super) fn last_ack(&self) -> Option<Acked> {
        self.acks.back().map(|(_, acked)| *acked)
    }
}

const ACKS_MAX: usize = 4096;
const OTHERS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn only(sequence: u64) -> Range {
        Range {
            first: sequence,
            last: sequence,
        }
    }

    fn ack(level: AckLevel, sequence: u64) -> Ack {
        Ack {
            level,
            count: 1,
            stream_sequence: sequence,
            producer_sequence: sequence,
        }
    }

    #[test]
    fn an_answer_that_is_no_longer_kept_is_not_replaced_by_the_next_one() {
        let mut answers = Answers::new();
        answers.ack(only(1), &ack(AckLevel::Received, 1));
        assert_eq!(answers.outcome(1).unwrap().level, AckLevel::Received);
        let last = ACKS_MAX as u64 + 1;
        for sequence in 2..=last {
            answers.ack(only(sequence), &ack(AckLevel::Synced, sequence));
        }
        assert!(matches!(answers.outcome(1), Err(Error::Indeterminate)));
        for sequence in [2, last] {
            let acked = answers.outcome(sequence).unwrap();
            assert_eq!(acked.last_stream_sequence, sequence);
        }
    }

    #[test]
    fn a_refusal_or_a_loss_that_is_no_longer_kept_does_not_become_an_ack() {
        for refused in [true, false] {
            let mut answers = Answers::new();
            for sequence in 1..=OTHERS_MAX as u64 + 1 {
                if refused {
                    answers.refuse(only(sequence), ErrorCode::NO_STREAM, "");
                } else {
                    answers.lose(only(sequence));
                }
            }
            let next = OTHERS_MAX as u64 + 2;
            answers.ack(only(next), &ack(AckLevel::Synced, next));
            assert!(matches!(answers.outcome(1), Err(Error::Indeterminate)));
            assert!(answers.outcome(2).is_err());
            assert!(answers.outcome(next).is_ok());
        }
    }
}
