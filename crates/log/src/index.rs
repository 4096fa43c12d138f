//! The sparse index: sequence and time to position, a hint for each 64 KiB.

use std::collections::VecDeque;

/// At `position` starts a record; the next data record there has `sequence`; nothing before is younger than `timestamp_ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) sequence: u64,
    pub(crate) timestamp_ns: u64,
    pub(crate) position: u64,
}

/// Entries in order. When there would be too many, every second one is dropped: seeks then read a little more.
#[derive(Debug)]
pub(crate) struct Index {
    entries: VecDeque<Entry>,
    /// Distance between two entries, doubled each time the index is thinned.
    stride: u64,
}

/// 1.5 MiB: at one entry for each 64 KiB, 4 GiB of stream before the first thinning.
pub(crate) const ENTRIES_MAX: usize = 64 << 10;

impl Index {
    pub(crate) fn new(stride: u64) -> Self {
        Self {
            entries: VecDeque::with_capacity(ENTRIES_MAX),
            stride,
        }
    }

    /// Adds an entry unless it is closer to the last one than the index is dense.
    pub(crate) fn push(&mut self, entry: Entry) {
        if let Some(last) = self.entries.back() {
            debug_assert!(last.sequence <= entry.sequence && last.position <= entry.position);
            if entry.sequence == last.sequence || entry.position - last.position < self.stride {
                return;
            }
        }
        self.insert(entry);
    }

    /// Adds an entry however close it is to the last one: what a seal lists, and the first place behind damage.
    pub(crate) fn insert(&mut self, entry: Entry) {
        if self
            .entries
            .back()
            .is_some_and(|last| entry.sequence <= last.sequence)
        {
            return;
        }
        if self.entries.len() == ENTRIES_MAX {
            self.thin();
        }
        self.entries.push_back(entry);
    }

    #[cold]
    fn thin(&mut self) {
        let mut nth = 0_usize;
        self.entries.retain(|_| {
            nth += 1;
            nth % 2 == 1
        });
        self.stride *= 2;
    }

    /// The last entry at or before `sequence`.
    pub(crate) fn at_sequence(&self, sequence: u64) -> Option<&Entry> {
        self.before(
            self.entries
                .partition_point(|entry| entry.sequence <= sequence),
        )
    }

    /// The last entry before which everything is older than `timestamp_ns`.
    pub(crate) fn at_time(&self, timestamp_ns: u64) -> Option<&Entry> {
        self.before(
            self.entries
                .partition_point(|entry| entry.timestamp_ns < timestamp_ns),
        )
    }

    /// The last entry at or before `position`.
    pub(crate) fn at_position(&self, position: u64) -> Option<&Entry> {
        self.before(
            self.entries
                .partition_point(|entry| entry.position <= position),
        )
    }

    /// The first entry behind `position`.
    pub(crate) fn after_position(&self, position: u64) -> Option<&Entry> {
        self.entries.get(
            self.entries
                .partition_point(|entry| entry.position <= position),
        )
    }

    fn before(&self, count: usize) -> Option<&Entry> {
        self.entries.get(count.checked_sub(1)?)
    }

    /// The entries of the stretch that starts at `position`.
    pub(crate) fn since(&self, position: u64) -> impl Iterator<Item = &Entry> {
        self.entries.range(
            self.entries
                .partition_point(|entry| entry.position < position)..,
        )
    }

    /// Forgets everything before `position`.
    pub(crate) fn remove_before(&mut self, position: u64) {
        while self
            .entries
            .front()
            .is_some_and(|entry| entry.position < position)
        {
            self.entries.pop_front();
        }
    }

    pub(crate) fn front(&self) -> Option<&Entry> {
        self.entries.front()
    }

    pub(crate) fn second(&self) -> Option<&Entry> {
        self.entries.get(1)
    }

    pub(crate) fn pop_front(&mut self) {
        self.entries.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u64) -> Entry {
        Entry {
            sequence: n,
            timestamp_ns: 10 * n,
            position: 100 * n,
        }
    }

    #[test]
    fn finds_the_entry_at_or_before() {
        let mut index = Index::new(100);
        for n in [1, 3, 5] {
            index.push(entry(n));
        }
        assert_eq!(index.at_sequence(0), None);
        assert_eq!(index.at_sequence(4), Some(&entry(3)));
        assert_eq!(index.at_sequence(5), Some(&entry(5)));
        assert_eq!(
            index.at_time(30),
            Some(&entry(1)),
            "a record of time 30 may lie before entry 3"
        );
        assert_eq!(index.at_time(31), Some(&entry(3)));
        assert_eq!(index.after_position(300), Some(&entry(5)));
        assert_eq!(index.since(300).count(), 2);
        index.remove_before(301);
        assert_eq!(index.front(), Some(&entry(5)));
    }

    #[test]
    fn thins_itself_instead_of_growing() {
        let mut index = Index::new(100);
        for n in 1..=(ENTRIES_MAX as u64 * 3) {
            index.push(entry(n));
        }
        assert!(index.entries.len() <= ENTRIES_MAX);
        assert!(index.entries.capacity() < 2 * ENTRIES_MAX);
        for sequence in [1, 77, 70_000, ENTRIES_MAX as u64 * 3] {
            let found = index.at_sequence(sequence).expect("the first entry stays");
            assert!(found.sequence <= sequence && sequence - found.sequence < 8);
        }
    }
}
