//! One run of one contender.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Failure, Figure, Latency, Place};

/// What was measured, and what the machine did meanwhile.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    pub figures: BTreeMap<Figure, f64>,
    /// All latencies, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// Nanoseconds in which a cache line crossed between the two cores, before and after; zero where one core was used.
    pub crossing_ns: [f64; 2],
    /// How often the measuring threads were made to leave their core while the clock ran.
    pub preemptions: u64,
    /// CPU that other programs used, and that the hypervisor took: percent of one core.
    #[serde(default)]
    pub others_percent: f64,
    /// Why the load was less than the one that was asked for, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fell_behind: Option<Failure>,
}

impl Sample {
    pub fn with(mut self, figure: Figure, value: f64) -> Self {
        self.figures.insert(figure, value);
        self
    }

    /// Keeps a histogram, and its percentiles as figures.
    pub fn with_latency(mut self, latency: Latency) -> Self {
        self.figures.extend(latency.figures());
        self.latency = Some(latency);
        self
    }

    /// Whether the cores were at two distances before and after: it belongs to neither.
    pub fn moved(&self) -> bool {
        let [before, after] = self.crossing_ns.map(Place::at);
        !before.agrees(after)
    }

    /// Where it was taken, unless the cores moved.
    pub fn place(&self) -> Place {
        Place::at(self.crossing_ns.iter().sum::<f64>() / 2.0)
    }

    /// Whether it counts nowhere: it was taken at no one distance, or under another load than the row's.
    pub fn is_void(&self) -> bool {
        self.moved() || self.fell_behind.is_some()
    }

    /// Whether others used so much of the machine that the figures say as much about them.
    pub fn disturbed(&self) -> bool {
        self.others_percent > DISTURBED_PERCENT
    }
}

const DISTURBED_PERCENT: f64 = 15.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_two_distances_are_told_apart() {
        let at = |before, after| Sample {
            crossing_ns: [before, after],
            ..Sample::default()
        };
        assert_eq!(at(42.0, 54.0).place(), Place::at(48.0));
        assert!(at(0.0, 0.0).place().is_one_core());
        assert!(at(40.0, 200.0).moved());
        assert!(!at(40.0, 60.0).moved());
    }
}
