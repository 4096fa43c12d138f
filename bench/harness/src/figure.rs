//! What can be measured.

use serde::{Deserialize, Serialize};

/// A number of a sample. The name in results is the variant in snake case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Messages or operations per second.
    PerSecond,
    /// Nanoseconds of one operation.
    Ns,
    /// Latency at percentiles, in microseconds.
    P50Us,
    P90Us,
    P99Us,
    P999Us,
    P9999Us,
    MaxUs,
    /// CPU time of the server, in microseconds for one message: the same number as seconds for a million.
    CpuUs,
    /// Resident memory of the server at the end, in MiB.
    RssMib,
    /// CPU of a server that has nothing to do, in percent of one core.
    IdlePercent,
    /// Memory for one idle connection, in KiB.
    ConnectionKib,
    /// Records for each flush of the device, whoever asked for it.
    PerFlush,
    /// Turns that could not append all that was owed, since a log's tail was full.
    FullTurns,
}

impl Figure {
    /// The word at the head of a column.
    pub fn label(self) -> &'static str {
        match self {
            Self::PerSecond => "rate",
            Self::Ns => "time",
            Self::P50Us => "p50",
            Self::P90Us => "p90",
            Self::P99Us => "p99",
            Self::P999Us => "p99.9",
            Self::P9999Us => "p99.99",
            Self::MaxUs => "max",
            Self::CpuUs => "server CPU",
            Self::RssMib => "server RSS",
            Self::IdlePercent => "idle CPU",
            Self::ConnectionKib => "per connection",
            Self::PerFlush => "per flush",
            Self::FullTurns => "tail full",
        }
    }

    /// The unit that [`show`](Self::show) leaves out.
    pub fn unit(self) -> &'static str {
        match self {
            Self::PerSecond => "/s",
            Self::Ns => "ns",
            Self::P50Us
            | Self::P90Us
            | Self::P99Us
            | Self::P999Us
            | Self::P9999Us
            | Self::MaxUs => "µs",
            Self::CpuUs => "µs/msg",
            Self::RssMib => "MiB",
            Self::IdlePercent => "% of a core",
            Self::ConnectionKib => "KiB",
            Self::PerFlush => "records",
            Self::FullTurns => "turns",
        }
    }

    /// Whether more is better.
    pub fn more_is_better(self) -> bool {
        matches!(self, Self::PerSecond | Self::PerFlush)
    }

    /// A value with three digits or more, and a letter for thousands and millions of a rate.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::PerSecond if value >= 1e6 => format!("{} M", digits(value / 1e6)),
            Self::PerSecond if value >= 1e3 => format!("{} k", digits(value / 1e3)),
            _ => digits(value),
        }
    }
}

fn digits(value: f64) -> String {
    let places = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_people_read() {
        assert_eq!(Figure::PerSecond.show(3_210_000.0), "3.21 M");
        assert_eq!(Figure::PerSecond.show(84_300.0), "84.3 k");
        assert_eq!(Figure::CpuUs.show(0.05), "0.050");
        assert_eq!(Figure::P50Us.show(123.4), "123");
    }

    #[test]
    fn names_in_results_stay() {
        let name = |figure| serde_json::to_string(&figure).unwrap();
        assert_eq!(name(Figure::PerSecond), "\"per_second\"");
        assert_eq!(name(Figure::P999Us), "\"p999_us\"");
        assert_eq!(name(Figure::P9999Us), "\"p9999_us\"");
    }
}
