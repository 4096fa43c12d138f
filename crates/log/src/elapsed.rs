//! What is too old by the steady clock alone.
//!
//! Stamps of records never go back. One that was made while the wall clock was years ahead makes all after it as late, and by their stamps none of them is old until
//! that time has come. But what has been in the log for longer than the limit of age is too old whatever its stamp says, and the steady clock knows how long that is, from when the log
//! was opened.

use std::collections::VecDeque;

/// Where the log ended, and when: everything before was there by then.
#[derive(Debug, Default)]
pub(crate) struct Elapsed {
    /// Steady time and position, oldest first.
    ends: VecDeque<(u64, u64)>,
    old: u64,
}

/// What is too old may stay for this part of the limit longer.
const PARTS: u64 = 16;

impl Elapsed {
    /// The position before which everything is older than `age_ns_max`, in a log that ends at `end` now.
    pub(crate) fn look(&mut self, mono_ns: u64, end: u64, age_ns_max: u64) -> u64 {
        while let Some(&(since_ns, end)) = self.ends.front()
            && mono_ns.saturating_sub(since_ns) >= age_ns_max
        {
            self.old = end;
            self.ends.pop_front();
        }
        let step_ns = age_ns_max / PARTS;
        let is_due = |(since_ns, _): &(u64, u64)| mono_ns.saturating_sub(*since_ns) >= step_ns;
        if self.ends.back().is_none_or(is_due) {
            self.ends.push_back((mono_ns, end));
        }
        self.old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_for_as_long_as_the_limit_is_old_and_at_most_a_sixteenth_later() {
        let mut elapsed = Elapsed::default();
        for second in 0..10_000 {
            let old = elapsed.look(second, second, 160);
            assert!(old <= second.saturating_sub(160), "{old} at {second}");
            assert!(old + 171 > second, "{old} at {second}");
            assert!(elapsed.ends.len() <= 17);
        }
    }

    #[test]
    fn a_limit_that_is_shorter_than_the_looks_are_apart_is_kept_at_the_next_one() {
        let mut elapsed = Elapsed::default();
        assert_eq!(elapsed.look(1000, 7, 3), 0);
        assert_eq!(elapsed.look(2000, 9, 3), 7);
        assert_eq!(elapsed.look(2000, 9, 3), 7);
        assert_eq!(elapsed.look(3000, 9, 3), 9);
    }
}
