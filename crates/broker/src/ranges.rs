//! A set of sequences as ranges: what was delivered and is not confirmed, what is to be delivered again.

use std::collections::VecDeque;

/// Disjoint ranges `first..=last` in order, no two of which touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges {
    ranges: VecDeque<(u64, u64)>,
}

impl Ranges {
    /// How many ranges there are.
    pub(crate) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// The lowest sequence.
    pub(crate) fn first(&self) -> Option<u64> {
        self.ranges.front().map(|range| range.0)
    }

    /// The lowest range.
    pub(crate) fn front(&self) -> Option<(u64, u64)> {
        self.ranges.front().copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.ranges.iter().copied()
    }

    pub(crate) fn clear(&mut self) {
        self.ranges.clear();
    }

    /// How many sequences there are.
    #[cfg(test)]
    pub(crate) fn count(&self) -> u64 {
        self.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Whether all of `first..=last` is in it.
    pub(crate) fn contains(&self, first: u64, last: u64) -> bool {
        let at = self.ranges.partition_point(|range| range.1 < last);
        self.ranges.get(at).is_some_and(|range| range.0 <= first)
    }

    /// Adds `first..=last`. Behind what is there, which is the common case, this is one comparison.
    pub(crate) fn insert(&mut self, first: u64, last: u64) {
        debug_assert!(first <= last);
        match self.ranges.back_mut() {
            Some(back) if first == back.1 + 1 => back.1 = last,
            Some(back) if first <= back.1 => self.merge(first, last),
            _ => self.ranges.push_back((first, last)),
        }
    }

    #[cold]
    fn merge(&mut self, mut first: u64, mut last: u64) {
        // The ranges that overlap or touch are from..to.
        let from = self.ranges.partition_point(|range| range.1 + 1 < first);
        let to = self
            .ranges
            .partition_point(|range| range.0 <= last.saturating_add(1));
        if from < to {
            first = first.min(self.ranges[from].0);
            last = last.max(self.ranges[to - 1].1);
            self.ranges.drain(from..to);
        }
        self.ranges.insert(from, (first, last));
    }

    /// Takes `first..=last` out.
    pub(crate) fn remove(&mut self, first: u64, last: u64) {
        let mut at = self.ranges.partition_point(|range| range.1 < first);
        while let Some(&(low, high)) = self.ranges.get(at) {
            if low > last {
                return;
            }
            match (low < first, high > last) {
                (true, true) => {
                    self.ranges[at].1 = first - 1;
                    self.ranges.insert(at + 1, (last + 1, high));
                    return;
                }
                (true, false) => {
                    self.ranges[at].1 = first - 1;
                    at += 1;
                }
                (false, true) => {
                    self.ranges[at].0 = last + 1;
                    return;
                }
                (false, false) => {
                    self.ranges.remove(at);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_agree_with_a_set(steps in prop::collection::vec((any::<bool>(), 1_u64..60, 0_u64..12), 0..60)) {
            let (mut ranges, mut model) = (Ranges::default(), BTreeSet::new());
            for (insert, first, len) in steps {
                if insert {
                    ranges.insert(first, first + len);
                    model.extend(first..=first + len);
                } else {
                    ranges.remove(first, first + len);
                    model.retain(|n| !(first..=first + len).contains(n));
                }
                prop_assert_eq!(ranges.contains(first, first + len), (first..=first + len).all(|n| model.contains(&n)));
                let flat: Vec<u64> = ranges.iter().flat_map(|(first, last)| first..=last).collect();
                prop_assert_eq!(&flat, &model.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(ranges.count(), model.len() as u64);
                prop_assert!(ranges.iter().zip(ranges.iter().skip(1)).all(|(a, b)| a.1 + 1 < b.0), "some touch: {:?}", ranges);
            }
        }
    }
}
