//! How far apart the cores were: samples of different distances are never mixed.

use std::fmt;

/// Distances of which the largest is within a factor of the smallest, as nanoseconds in which a line crosses; zero where one
/// core was used, or nobody was bound to one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    pub low_ns: f64,
    pub high_ns: f64,
}

impl Place {
    pub fn at(ns: f64) -> Self {
        Self {
            low_ns: ns,
            high_ns: ns,
        }
    }

    pub fn is_one_core(self) -> bool {
        self.high_ns == 0.0
    }

    /// Whether all of both lies within the factor.
    pub fn agrees(self, other: Self) -> bool {
        self.high_ns.max(other.high_ns) <= MOVED * self.low_ns.min(other.low_ns)
    }

    pub fn has(self, other: Self) -> bool {
        self.low_ns <= other.low_ns && other.high_ns <= self.high_ns
    }

    /// The least number of places that agree in themselves, the nearest first.
    pub fn grouped(places: impl Iterator<Item = Self>) -> Vec<Self> {
        let mut sorted: Vec<Self> = places.collect();
        sorted.sort_by(|a, b| a.low_ns.total_cmp(&b.low_ns));
        let mut groups: Vec<Self> = Vec::new();
        for place in sorted {
            match groups.last_mut() {
                Some(group) if group.agrees(place) => {
                    group.high_ns = group.high_ns.max(place.high_ns);
                }
                _ => groups.push(place),
            }
        }
        groups
    }

    /// The sentence above a table; nothing where no line crosses.
    pub fn sentence(self) -> Option<String> {
        (!self.is_one_core()).then(|| format!("A line crosses between the cores in {self}."))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [low, high] = [self.low_ns, self.high_ns].map(|ns| format!("{ns:.0}"));
        match self.is_one_core() {
            true => f.write_str("one core, or unpinned"),
            false if low == high => write!(f, "{low} ns"),
            false => write!(f, "{low}–{high} ns"),
        }
    }
}

/// Calibrations that differ by more were taken on two placements: those seen so far differ by a factor of three and more.
const MOVED: f64 = 1.6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_that_differ_by_more_than_the_factor_are_apart() {
        let groups = Place::grouped(
            [200.0, 41.0, 0.0, 60.0, 40.0, 66.0, 310.0]
                .map(Place::at)
                .into_iter(),
        );
        let words: Vec<String> = groups.iter().map(Place::to_string).collect();
        assert_eq!(
            words,
            ["one core, or unpinned", "40–60 ns", "66 ns", "200–310 ns"]
        );
    }

    #[test]
    fn places_agree_when_all_of_both_does() {
        let place = |low_ns, high_ns| Place { low_ns, high_ns };
        assert!(place(40.0, 50.0).agrees(place(45.0, 64.0)));
        assert!(!place(40.0, 50.0).agrees(place(45.0, 65.0)));
        assert!(!Place::at(0.0).agrees(Place::at(40.0)));
        assert!(Place::at(0.0).agrees(Place::at(0.0)));
    }
}
