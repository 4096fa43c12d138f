//! What time retention goes by: the wall clock, as far as it is believed.
//!
//! Stamps of records are the wall clock's, and what retention removes does not come back. So a wall clock that goes forward by much more than the steady one
//! is not believed at once. Until it is, retention goes by the time that it was plus what the steady clock has counted since: nothing is removed
//! before its time, and what is due by then goes. When the log is opened, the newest record's time takes the place of the time that it was.
//!
//! A clock that stays ahead is right in the end: it had been wrong before, or the machine was off. It is believed once the hold is over:
//!
//! * after the limit of age itself, for by then everything that was there when the clock went forward is too old by the steady clock as well;
//! * after [`HOLD_NS`] at the latest. Who is woken has the time to set the clock, and a machine that runs for a working day at a time gets to the end of it.
//!
//! A clock that goes back is believed: less is removed then.

use crate::mark::Now;

/// How far the wall clock is believed.
#[derive(Debug)]
pub(crate) struct WallClock {
    /// Wall clock minus steady clock, as they are believed.
    believed: Option<i128>,
    /// It is the newest record's time that is believed: the clock was not looked at since the log was opened, or is behind it.
    by_record: Option<u64>,
    held: Option<Hold>,
}

/// A clock that is not believed yet.
#[derive(Clone, Copy, Debug)]
struct Hold {
    until_ns: u64,
    /// What is believed then. What the clock gains meanwhile is held in its turn.
    offset: i128,
}

/// A wall clock that gains more than this on the steady one between two looks, or is so much later than the newest record when the log is opened, is not believed at once.
const JUMP_NS: i128 = 3_600_000_000_000;
/// It is believed after this at the latest: six hours.
const HOLD_NS: u64 = 6 * 3_600_000_000_000;

impl WallClock {
    /// Of a log whose newest record is of `newest_ns`; 0 if it has none.
    pub(crate) fn new(newest_ns: u64) -> Self {
        Self {
            believed: None,
            by_record: Some(newest_ns).filter(|ns| *ns > 0),
            held: None,
        }
    }

    /// Whether it is another time by the wall clock than is believed.
    pub(crate) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// The time that may be used to throw records away which are too old after `age_ns_max`.
    pub(crate) fn look(&mut self, now: Now, age_ns_max: u64) -> u64 {
        let steady = i128::from(now.mono_ns);
        let offset = i128::from(now.wall_ns) - steady;
        let mut believed = match (self.believed, self.by_record) {
            (Some(believed), _) => believed,
            (None, Some(newest_ns)) => i128::from(newest_ns) - steady,
            (None, None) => offset,
        };
        if let Some(over) = self.held.take_if(|held| held.until_ns <= now.mono_ns) {
            believed = over.offset.min(offset);
            self.by_record = None;
        }
        if offset - believed > JUMP_NS {
            self.held.get_or_insert(Hold {
                until_ns: now.mono_ns.saturating_add(age_ns_max.min(HOLD_NS)),
                offset,
            });
        } else {
            self.held = None;
            // Before the clock has come to the newest record's time, it has not shown that it is right.
            if self.by_record.is_none() || offset >= believed {
                believed = offset;
                self.by_record = None;
            }
        }
        self.believed = Some(believed);
        u64::try_from(believed.min(offset) + steady).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const HOUR: u64 = 3600 * SECOND;
    const YEAR: u64 = 8766 * HOUR;
    const START: u64 = 50 * YEAR;

    /// Both clocks, and the time that is gone by, in seconds since the start.
    struct Seen {
        clock: WallClock,
        now: Now,
        age_ns: u64,
    }

    impl Seen {
        fn new(newest_ns: u64, age_ns: u64) -> Self {
            Self {
                clock: WallClock::new(newest_ns),
                now: Now {
                    mono_ns: 77 * HOUR,
                    wall_ns: START,
                },
                age_ns,
            }
        }

        fn after(&mut self, ns: u64) -> i128 {
            self.now.mono_ns += ns;
            self.now.wall_ns += ns;
            let time = self.clock.look(self.now, self.age_ns);
            (i128::from(time) - i128::from(START)) / i128::from(SECOND)
        }
    }

    #[test]
    fn a_clock_that_keeps_pace_is_believed_and_one_that_goes_back_too() {
        let mut seen = Seen::new(0, 24 * HOUR);
        assert_eq!(seen.after(0), 0);
        assert_eq!(seen.after(10 * SECOND), 10);
        seen.now.wall_ns += HOUR;
        assert_eq!(seen.after(0), 3610);
        seen.now.wall_ns -= 2 * HOUR;
        assert_eq!(seen.after(0), 10 - 3600);
        assert!(!seen.clock.is_held());
    }

    #[test]
    fn a_clock_that_jumps_is_held_for_six_hours_and_time_goes_on() {
        let mut seen = Seen::new(0, YEAR);
        seen.after(0);
        seen.now.wall_ns += YEAR;
        assert_eq!(seen.after(10 * SECOND), 10);
        assert!(seen.clock.is_held());
        assert_eq!(seen.after(6 * HOUR - SECOND), 6 * 3600 + 9);
        // From the moment at which it was seen.
        assert_eq!(seen.after(SECOND), 8766 * 3600 + 6 * 3600 + 10);
        assert!(!seen.clock.is_held());
    }

    #[test]
    fn the_hold_is_no_longer_than_the_limit_of_age() {
        let mut seen = Seen::new(0, 60 * SECOND);
        seen.after(0);
        seen.now.wall_ns += YEAR;
        assert_eq!(seen.after(0), 0);
        assert_eq!(seen.after(59 * SECOND), 59);
        assert_eq!(seen.after(SECOND), 8766 * 3600 + 60);
    }

    #[test]
    fn a_clock_that_is_set_right_ends_the_hold() {
        let mut seen = Seen::new(0, YEAR);
        seen.after(0);
        seen.now.wall_ns += YEAR;
        seen.after(SECOND);
        seen.now.wall_ns -= YEAR;
        assert_eq!(seen.after(SECOND), 2);
        assert!(!seen.clock.is_held());
        seen.now.wall_ns += YEAR;
        assert_eq!(seen.after(5 * HOUR), 2 + 5 * 3600);
        assert_eq!(seen.after(5 * HOUR), 2 + 10 * 3600, "a new hold");
    }

    #[test]
    fn each_jump_is_held_in_its_turn() {
        let mut seen = Seen::new(0, HOUR);
        seen.after(0);
        seen.now.wall_ns += YEAR;
        seen.after(0);
        seen.now.wall_ns += YEAR;
        assert_eq!(seen.after(HOUR - SECOND), 3599);
        assert_eq!(seen.after(SECOND), 8766 * 3600 + 3600, "the first one");
        assert!(seen.clock.is_held());
        assert_eq!(seen.after(HOUR), 2 * 8766 * 3600 + 7200);
        assert!(!seen.clock.is_held());
    }

    #[test]
    fn when_a_log_is_opened_the_newest_record_is_what_the_clock_is_held_against() {
        // Down for half an hour: nobody wonders.
        let mut seen = Seen::new(START - HOUR / 2, YEAR);
        assert_eq!(seen.after(0), 0);
        assert!(!seen.clock.is_held());
        // For a year, or the clock is wrong.
        let mut seen = Seen::new(START - YEAR, YEAR);
        assert_eq!(seen.after(0), -8766 * 3600);
        assert!(seen.clock.is_held());
        assert_eq!(seen.after(6 * HOUR), 6 * 3600);
        assert!(!seen.clock.is_held());
    }

    #[test]
    fn a_clock_that_begins_in_the_past_and_is_set_is_not_held() {
        let mut seen = Seen::new(START, YEAR);
        seen.now.wall_ns = 30 * YEAR;
        let behind = -i128::from(20 * 8766 * 3600);
        assert_eq!(seen.after(0), behind);
        assert_eq!(seen.after(30 * SECOND), behind + 30);
        assert!(!seen.clock.is_held());
        seen.now.wall_ns = START + HOUR / 2;
        assert_eq!(seen.after(0), 1800);
        assert!(!seen.clock.is_held());
    }
}
