//! Streams that this shard would have, were it possible to open them: what is published to them is refused with the reason.
//!
//! Such a stream has no log and no place among the streams, so nothing can be read from it. Its durable cursors stay where they are, for the day
//! on which it is opened.

use crate::Now;
use crate::shard::Shard;
use crate::stream::StreamPlan;
use trunkline_route::{Pattern, Subject};

/// A stream that could not be opened.
#[derive(Debug)]
pub(crate) struct Unopened {
    /// What it is called by those who were refused. Never that of another one.
    pub(crate) number: u32,
    pub(crate) name: Box<str>,
    patterns: Vec<Pattern>,
    /// Why, for people.
    pub(crate) reason: Box<str>,
}

impl Shard {
    /// Refuses what is published to a stream that cannot be opened, with this reason. The caller sees to it that no other stream captures
    /// its subjects.
    pub fn add_unopened(&mut self, plan: StreamPlan, reason: &str) {
        self.unopened_count += 1;
        self.unopened.push(Unopened {
            number: self.unopened_count,
            name: plan.name,
            patterns: plan.patterns,
            reason: reason.into(),
        });
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// Gives such a stream up, with its durable cursors. False: there is none of this name.
    pub fn remove_unopened(&mut self, name: &str, now: Now) -> bool {
        if !self.take_unopened(name) {
            return false;
        }
        for cursor in self.cursors.of_stream(name) {
            self.forget_cursor(cursor, now);
        }
        true
    }

    /// Forgets such a stream and leaves its durable cursors where they are: it can be opened now, or there is another reason. False: there is none of
    /// this name.
    pub fn take_unopened(&mut self, name: &str) -> bool {
        let Some(at) = self
            .unopened
            .iter()
            .position(|unopened| *unopened.name == *name)
        else {
            return false;
        };
        self.unopened.swap_remove(at);
        self.epoch = self.epoch.wrapping_add(1);
        true
    }
}

/// The number of the one that would capture a subject.
pub(crate) fn capturing(unopened: &[Unopened], subject: Subject<'_>) -> Option<u32> {
    let captures = |known: &&Unopened| {
        let mut patterns = known.patterns.iter();
        patterns.any(|pattern| pattern.matches(subject))
    };
    unopened.iter().find(captures).map(|known| known.number)
}
