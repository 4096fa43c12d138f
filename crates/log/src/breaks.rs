//! Where in the tail the log's own records stand: a run that is handed to readers ends there.

use std::collections::VecDeque;

use crate::layout::PAGE_BYTES;
use crate::mark::Mark;

/// The log's own records in the tail, in order. Between two of them, everything is data and definitions.
#[derive(Debug)]
pub(crate) struct Breaks {
    breaks: VecDeque<Break>,
}

/// Neighbouring own records count as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Break {
    pub(crate) start: Mark,
    pub(crate) end: u64,
}

impl Breaks {
    /// A mark that fills its page moves on by half a page or more on average with the next one; stride marks are rare.
    pub(crate) fn new(tail_bytes: u64) -> Self {
        Self {
            breaks: VecDeque::with_capacity((tail_bytes / PAGE_BYTES) as usize * 2 + 8),
        }
    }

    pub(crate) fn push(&mut self, start: Mark, end: u64) {
        match self.breaks.back_mut() {
            Some(last) if last.end == start.position => last.end = end,
            _ => self.breaks.push_back(Break { start, end }),
        }
    }

    pub(crate) fn last_end(&self) -> Option<u64> {
        self.breaks.back().map(|last| last.end)
    }

    /// The first that ends behind `position`.
    #[inline]
    pub(crate) fn after(&self, position: u64) -> Option<&Break> {
        match self.breaks.back() {
            // The reader is near the end: nothing to search.
            Some(last) if last.end <= position => None,
            _ => self
                .breaks
                .get(self.breaks.partition_point(|one| one.end <= position)),
        }
    }

    pub(crate) fn remove_before(&mut self, position: u64) {
        while self.breaks.front().is_some_and(|one| one.end <= position) {
            self.breaks.pop_front();
        }
    }
}
