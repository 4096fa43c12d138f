//! One run of one contender.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Figure, Latency};

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
}

/// How far apart the cores were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    OneCore,
    Near,
    Far,
}

impl Place {
    pub fn word(self) -> &'static str {
        match self {
            Self::OneCore => "one, or unpinned",
            Self::Near => "near",
            Self::Far => "far",
        }
    }
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
        let [before, after] = self.crossing_ns;
        before.max(after) > MOVED * before.min(after)
    }

    /// Whether others used so much of the machine that the figures say as much about them.
    pub fn disturbed(&self) -> bool {
        self.others_percent > DISTURBED_PERCENT
    }

    /// Near is what is within a factor of the nearest that a run has seen.
    pub fn place(&self, nearest_ns: f64) -> Place {
        match self.crossing_ns {
            [0.0, 0.0] => Place::OneCore,
            [before, after] if before.max(after) <= NEAR * nearest_ns => Place::Near,
            _ => Place::Far,
        }
    }
}

/// A pair of calibrations that differ by more was taken on two placements.
const MOVED: f64 = 1.6;
/// Placements seen so far differ by a factor of three and more.
const NEAR: f64 = 1.8;
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
        assert_eq!(at(42.0, 55.0).place(40.0), Place::Near);
        assert_eq!(at(200.0, 210.0).place(40.0), Place::Far);
        assert_eq!(at(0.0, 0.0).place(40.0), Place::OneCore);
        assert!(at(40.0, 200.0).moved());
        assert!(!at(40.0, 60.0).moved());
    }
}
