//! Pauses between tries to connect: doubling, with jitter, so that the clients of a server do not all come back at once.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    max: Duration,
    random: u64,
}

impl Backoff {
    pub(super) fn new(max: Duration) -> Self {
        // Keyed at random for each process: enough for a jitter.
        let random = RandomState::new().hash_one(0) | 1;
        Self {
            next: FIRST,
            max,
            random,
        }
    }

    /// The next pause: between half of its step and the whole.
    pub(super) fn pause(&mut self) -> Duration {
        let step = self.next.min(self.max);
        self.next = (step * 2).min(self.max);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let share = (self.random >> 40) as f64 / (1u64 << 24) as f64;
        step.mul_f64(0.5 + share / 2.0)
    }

    pub(super) fn reset(&mut self) {
        self.next = FIRST;
    }
}

const FIRST: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_anew() {
        let max = Duration::from_millis(100);
        let mut backoff = Backoff::new(max);
        for step in [20, 40, 80, 100, 100] {
            let pause = backoff.pause();
            assert!(
                pause >= Duration::from_millis(step) / 2 && pause <= Duration::from_millis(step)
            );
        }
        backoff.reset();
        assert!(backoff.pause() <= FIRST);
    }
}
