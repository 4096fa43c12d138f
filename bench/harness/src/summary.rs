//! What can be said of samples: medians with the smallest and the largest, near and far apart, bars and whether they are met.

use std::collections::BTreeMap;

use crate::row::{self, Bar, Than};
use crate::sample::Place;
use crate::{Figure, Latency, Sample};

/// One contender's samples of one place.
#[derive(Clone, Debug)]
pub struct Summary {
    pub contender: String,
    pub place: Place,
    pub figures: BTreeMap<Figure, Spread>,
    /// All its samples together.
    pub latency: Option<Latency>,
    pub crossing_ns: f64,
    pub samples: usize,
    /// There were no others: the machine had other work during each of them.
    pub disturbed: bool,
    pub left_out: usize,
}

/// Whether a contender is ours.
pub fn is_ours(summary: &Summary) -> bool {
    row::is_ours(&summary.contender)
}

/// A figure over several samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    /// `None` of nothing.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        Some(Self {
            median: values[values.len() / 2],
            low,
            high,
        })
    }

    fn exactly(value: f64) -> Self {
        let (median, low, high) = (value, value, value);
        Self { median, low, high }
    }

    fn times(self, factor: f64) -> Self {
        Self {
            median: self.median * factor,
            low: self.low * factor,
            high: self.high * factor,
        }
    }
}

/// The summaries of a row: by place, then in the order in which contenders came first.
pub fn of(samples: &[(String, Sample)], nearest_ns: f64, discard_preempted: bool) -> Vec<Summary> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in samples {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let mut summaries = Vec::new();
    for place in [Place::OneCore, Place::Near, Place::Far] {
        for name in &names {
            let own: Vec<&Sample> = samples
                .iter()
                .filter(|(own, _)| own == name)
                .map(|(_, sample)| sample)
                .collect();
            summaries.extend(one(name, &own, place, nearest_ns, discard_preempted));
        }
    }
    summaries
}

fn one(
    name: &str,
    own: &[&Sample],
    place: Place,
    nearest_ns: f64,
    discard_preempted: bool,
) -> Option<Summary> {
    let fits = |sample: &&&Sample| {
        !sample.moved()
            && sample.place(nearest_ns) == place
            && !(discard_preempted && sample.preemptions > 0)
    };
    let fitting: Vec<&Sample> = own.iter().filter(fits).copied().collect();
    let quiet: Vec<&Sample> = fitting
        .iter()
        .filter(|sample| !sample.disturbed())
        .copied()
        .collect();
    let disturbed = quiet.is_empty();
    let kept = if disturbed { fitting } else { quiet };
    let mut values: BTreeMap<Figure, Vec<f64>> = BTreeMap::new();
    let mut latency: Option<Latency> = None;
    for sample in &kept {
        for (figure, value) in &sample.figures {
            values.entry(*figure).or_default().push(*value);
        }
        if let Some(own) = &sample.latency {
            latency.get_or_insert_default().add(own);
        }
    }
    let crossing = Spread::of(kept.iter().map(|sample| sample.crossing_ns[0]).collect())?;
    Some(Summary {
        contender: name.to_owned(),
        place,
        figures: values
            .into_iter()
            .filter_map(|(figure, values)| Some((figure, Spread::of(values)?)))
            .collect(),
        latency,
        crossing_ns: crossing.median,
        samples: kept.len(),
        disturbed,
        left_out: own.len() - kept.len(),
    })
}

/// Lines for a terminal: a table for each place, the best first, `▶` before what is ours.
pub fn table(summaries: &[Summary], shows: &[Figure]) -> Vec<String> {
    let mut lines = Vec::new();
    for place in [Place::OneCore, Place::Near, Place::Far] {
        let sorted = sorted(summaries, place, shows[0]);
        let Some(first) = sorted.first() else {
            continue;
        };
        if place != Place::OneCore {
            lines.push(format!(
                "cores {}: a line crosses in {:.0} ns",
                place.word(),
                first.crossing_ns
            ));
        }
        let ours = sorted
            .iter()
            .find(|summary| is_ours(summary))
            .and_then(|summary| summary.figures.get(&shows[0]));
        let width = sorted
            .iter()
            .map(|summary| summary.contender.chars().count())
            .max()
            .unwrap_or(0);
        for summary in &sorted {
            let mark = if is_ours(summary) { '▶' } else { ' ' };
            let mut line = format!("{mark} {:width$}", summary.contender);
            for figure in shows {
                let Some(spread) = summary.figures.get(figure) else {
                    continue;
                };
                let [median, low, high] =
                    [spread.median, spread.low, spread.high].map(|value| figure.show(value));
                line += &format!(
                    "  {} {median} [{low}–{high}] {}",
                    figure.label(),
                    figure.unit()
                );
            }
            if let (Some(ours), Some(own)) = (ours, summary.figures.get(&shows[0])) {
                line += &format!("  ours = {:.2}×", ours.median / own.median);
            }
            line += &format!("  n={}", summary.samples);
            if summary.left_out > 0 {
                line += &format!(", {} left out", summary.left_out);
            }
            if summary.disturbed {
                line += ", DISTURBED";
            }
            lines.push(line);
        }
    }
    lines
}

/// Those of one place, the best at a figure first.
pub fn sorted(summaries: &[Summary], place: Place, figure: Figure) -> Vec<&Summary> {
    let mut sorted: Vec<&Summary> = summaries
        .iter()
        .filter(|summary| summary.place == place)
        .collect();
    let key = |summary: &Summary| {
        let median = summary.figures.get(&figure).map(|spread| spread.median);
        let worst = if figure.more_is_better() {
            f64::MIN
        } else {
            f64::MAX
        };
        median.unwrap_or(worst)
    };
    sorted.sort_by(|a, b| key(a).total_cmp(&key(b)));
    if figure.more_is_better() {
        sorted.reverse();
    }
    sorted
}

/// Whether a bar is met, for each place that has what it compares.
pub fn verdicts(bar: &Bar, summaries: &[Summary]) -> Vec<Verdict> {
    let places = [Place::OneCore, Place::Near, Place::Far].into_iter();
    places
        .filter_map(|place| verdict(bar, summaries, place))
        .collect()
}

/// Samples from which on a spread says something.
const ENOUGH: usize = 3;

/// What became of a bar.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub result: Met,
    pub place: Place,
    pub text: String,
}

/// Whether it is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    Yes,
    /// The medians miss it, by less than the samples vary.
    WithinSpread,
    No,
}

impl Met {
    pub fn word(self) -> &'static str {
        match self {
            Self::Yes => "met",
            Self::WithinSpread => "missed within the spread",
            Self::No => "missed",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "bar {}: {}", self.result.word(), self.text)
    }
}

fn verdict(bar: &Bar, summaries: &[Summary], place: Place) -> Option<Verdict> {
    let figure = bar.figure;
    let own = |name: &str| {
        let mut of_place = summaries.iter().filter(|summary| summary.place == place);
        let summary = of_place.find(|summary| summary.contender == name)?;
        Some((*summary.figures.get(&figure)?, summary.samples))
    };
    let (ours, mut samples) = own(&bar.contender)?;
    let (wanted, than) = match &bar.than {
        Than::Value(value) => (Spread::exactly(*value), String::new()),
        Than::Peer(peer, factor) => {
            let than = format!(" = {factor} × {peer}");
            let (theirs, count) = own(peer)?;
            samples = samples.min(count);
            (theirs.times(*factor), than)
        }
        Than::BestPeer(factor) => {
            let best = sorted(summaries, place, figure)
                .into_iter()
                .find(|summary| !is_ours(summary))?;
            samples = samples.min(best.samples);
            (
                best.figures.get(&figure)?.times(*factor),
                format!(" = {factor} × {}", best.contender),
            )
        }
    };
    let (met, touches) = if figure.more_is_better() {
        (ours.median >= wanted.median, ours.high >= wanted.low)
    } else {
        (ours.median <= wanted.median, ours.low <= wanted.high)
    };
    let result = match (met, touches) {
        (true, _) => Met::Yes,
        (false, true) => Met::WithinSpread,
        (false, false) => Met::No,
    };
    let sign = if figure.more_is_better() {
        '≥'
    } else {
        '≤'
    };
    let few = if samples < ENOUGH {
        format!(", of few samples: {samples}")
    } else {
        String::new()
    };
    let text = format!(
        "{}, {}: {} {} {sign} {}{than}{few}",
        bar.contender,
        figure.label(),
        figure.show(ours.median),
        figure.unit(),
        figure.show(wanted.median)
    );
    Some(Verdict {
        result,
        place,
        text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(ns: f64, crossing_ns: f64) -> Sample {
        Sample {
            crossing_ns: [crossing_ns; 2],
            ..Sample::default()
        }
        .with(Figure::Ns, ns)
    }

    #[test]
    fn near_and_far_are_never_mixed() {
        let samples = [(1.0, 40.0), (3.0, 41.0), (2.0, 40.0), (90.0, 200.0)]
            .map(|(ns, far)| ("a".into(), sample(ns, far)));
        let summaries = of(&samples, 40.0, false);
        assert_eq!(summaries.len(), 2);
        assert_eq!(
            summaries[0].figures[&Figure::Ns],
            Spread {
                median: 2.0,
                low: 1.0,
                high: 3.0
            }
        );
        assert_eq!((summaries[1].place, summaries[1].samples), (Place::Far, 1));
    }

    #[test]
    fn disturbed_samples_count_only_when_there_are_no_others() {
        let noisy = Sample {
            others_percent: 80.0,
            ..sample(9.0, 0.0)
        };
        let both = [
            ("a".to_owned(), sample(1.0, 0.0)),
            ("a".to_owned(), noisy.clone()),
        ];
        assert_eq!(of(&both, 40.0, false)[0].figures[&Figure::Ns].high, 1.0);
        let alone = of(&[("a".to_owned(), noisy)], 40.0, false);
        assert!(alone[0].disturbed && alone[0].samples == 1);
    }

    #[test]
    fn bars_know_which_way_is_better() {
        let samples = [
            ("trunkline".to_owned(), sample(5.0, 0.0)),
            ("peer".to_owned(), sample(6.0, 0.0)),
        ];
        let summaries = of(&samples, 40.0, false);
        let result = |bar: Bar| verdicts(&bar, &summaries)[0].result;
        let (trunkline, ns) = ("trunkline", Figure::Ns);
        assert_eq!(result(Bar::times_best(trunkline, ns, 1.0)), Met::Yes);
        assert_eq!(result(Bar::times(trunkline, ns, 0.7, "peer")), Met::No);
        assert_eq!(result(Bar::value(trunkline, ns, 5.0)), Met::Yes);
        assert!(verdicts(&Bar::times(trunkline, ns, 1.0, "nobody"), &summaries).is_empty());
    }

    #[test]
    fn a_verdict_on_few_samples_says_so() {
        let text = |count: usize| {
            let ours = (0..count).map(|_| ("trunkline".to_owned(), sample(5.0, 0.0)));
            let peers = (0..3).map(|_| ("peer".to_owned(), sample(6.0, 0.0)));
            let summaries = of(&ours.chain(peers).collect::<Vec<_>>(), 40.0, false);
            let bar = Bar::times("trunkline", Figure::Ns, 1.0, "peer");
            verdicts(&bar, &summaries)[0].text.clone()
        };
        assert!(text(1).ends_with(", of few samples: 1"));
        assert!(!text(3).contains("samples"));
    }

    #[test]
    fn a_bar_that_is_missed_by_less_than_samples_vary_says_so() {
        let samples = [5.0, 6.0, 7.0].map(|ns| ("trunkline".to_owned(), sample(ns, 0.0)));
        let summaries = of(&samples, 40.0, false);
        let result = |ns| verdicts(&Bar::value("trunkline", Figure::Ns, ns), &summaries)[0].result;
        assert_eq!(
            [4.9, 5.5, 6.0].map(result),
            [Met::No, Met::WithinSpread, Met::Yes]
        );
    }
}
