//! Samples of all contenders of a row in turn, and what can be said of them.

use std::fmt::Write as _;

/// One run of one contender.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub ns_per_operation: f64,
    /// A line's way between the cores before and after; zero where one core was used.
    pub crossing_ns: [f64; 2],
    /// Interruptions of either thread while the clock ran.
    pub preemptions: u64,
}

impl Sample {
    fn moved(&self) -> bool {
        let [before, after] = self.crossing_ns;
        before.max(after) > MOVED * before.min(after)
    }

    /// Near is what is within [`MOVED`] of the nearest that this run has seen.
    fn place(&self, nearest_ns: f64) -> Place {
        match self.crossing_ns {
            [0.0, 0.0] => Place::OneCore,
            [before, after] if before.max(after) <= MOVED * nearest_ns => Place::Near,
            _ => Place::Far,
        }
    }
}

/// A pair of calibrations that differ by more was taken on two placements.
const MOVED: f64 = 1.6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    OneCore,
    Near,
    Far,
}

pub struct Contender {
    pub name: &'static str,
    pub ours: bool,
    pub run: Box<dyn FnMut() -> Sample>,
}

pub struct Row {
    pub name: &'static str,
    /// Operations per nanosecond are shown as M/s; otherwise nanoseconds.
    pub rate: bool,
    /// Preempted samples are discarded; with more threads than cores every sample is.
    pub discard_preempted: bool,
    pub contenders: Vec<Contender>,
}

pub struct Effort {
    /// Good samples wanted of each contender.
    pub samples: usize,
    /// Rounds after which a row ends whatever was discarded.
    pub rounds: usize,
}

#[derive(Default)]
struct Tally {
    kept: Vec<Sample>,
    preempted: usize,
    moved: usize,
}

/// Runs the row and prints it. Returns one line of JSON per contender and place.
pub fn run(row: &mut Row, effort: &Effort) -> String {
    let count = row.contenders.len();
    let mut tallies: Vec<Tally> = (0..count).map(|_| Tally::default()).collect();
    for round in 0..effort.rounds {
        if tallies.iter().all(|tally| tally.kept.len() >= effort.samples) {
            break;
        }
        for turn in 0..count {
            // Another one begins each round: what comes periodically meets all of them.
            let index = (turn + round) % count;
            let sample = (row.contenders[index].run)();
            let tally = &mut tallies[index];
            if row.discard_preempted && sample.preemptions > 0 {
                tally.preempted += 1;
            } else if sample.moved() {
                tally.moved += 1;
            } else {
                tally.kept.push(sample);
            }
        }
    }
    report(row, &tallies)
}

fn report(row: &Row, tallies: &[Tally]) -> String {
    let mut json = String::new();
    eprintln!("\n{}", row.name);
    let crossings = tallies.iter().flat_map(|tally| &tally.kept).map(|sample| sample.crossing_ns[0]);
    let nearest_ns = crossings.fold(f64::MAX, f64::min);
    for place in [Place::OneCore, Place::Near, Place::Far] {
        let figures: Vec<(usize, Figures)> = tallies
            .iter()
            .enumerate()
            .filter_map(|(index, tally)| Some((index, Figures::of(tally, place, nearest_ns)?)))
            .collect();
        let ours = figures.iter().filter(|(index, _)| row.contenders[*index].ours);
        let Some(ours) = ours.map(|(_, figures)| figures.median).min_by(f64::total_cmp) else { continue };
        if place != Place::OneCore {
            eprintln!("  cores {place:?}: a line crosses in {:.0} ns", figures[0].1.crossing_ns);
        }
        let mut sorted = figures.clone();
        sorted.sort_by(|a, b| a.1.median.total_cmp(&b.1.median));
        for (index, figures) in &sorted {
            let contender = &row.contenders[*index];
            let tally = &tallies[*index];
            let show = |ns: f64| if row.rate { 1000.0 / ns } else { ns };
            let (low, high) = (show(figures.low), show(figures.high));
            eprintln!(
                "  {mark} {name:28} {median:8.2} [{low:.2}–{high:.2}] {unit}  ours = {ratio:.2}×  n={count} (left out: {preempted} preempted, {moved} moved)",
                mark = if contender.ours { '▶' } else { ' ' },
                name = contender.name,
                median = show(figures.median),
                low = low.min(high),
                high = low.max(high),
                unit = if row.rate { "M/s" } else { "ns" },
                ratio = figures.median / ours,
                count = figures.count,
                preempted = tally.preempted,
                moved = tally.moved,
            );
            writeln!(
                json,
                r#"{{"row":"{}","place":"{place:?}","contender":"{}","ours":{},"ns_median":{:.4},"ns_min":{:.4},"ns_max":{:.4},"crossing_ns":{:.1},"samples":{}}}"#,
                row.name,
                contender.name,
                contender.ours,
                figures.median,
                figures.low,
                figures.high,
                figures.crossing_ns,
                figures.count
            )
            .expect("a string takes all");
        }
    }
    json
}

#[derive(Clone, Copy)]
struct Figures {
    median: f64,
    low: f64,
    high: f64,
    crossing_ns: f64,
    count: usize,
}

impl Figures {
    fn of(tally: &Tally, place: Place, nearest_ns: f64) -> Option<Self> {
        let kept: Vec<&Sample> = tally.kept.iter().filter(|sample| sample.place(nearest_ns) == place).collect();
        let mut times: Vec<f64> = kept.iter().map(|sample| sample.ns_per_operation).collect();
        let mut crossings: Vec<f64> = kept.iter().map(|sample| sample.crossing_ns[0]).collect();
        times.sort_by(f64::total_cmp);
        crossings.sort_by(f64::total_cmp);
        Some(Self {
            median: *times.get(times.len() / 2)?,
            low: *times.first()?,
            high: *times.last()?,
            crossing_ns: crossings[crossings.len() / 2],
            count: times.len(),
        })
    }
}
