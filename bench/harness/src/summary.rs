//! What can be said of a row's samples: medians with the smallest and the largest, each distance of the cores by itself, and
//! what became of its bars.

use std::collections::BTreeMap;
use std::fmt;

use crate::row::{self, BEST_OF_OURS, Bar, Than};
use crate::{Failure, Figure, Latency, Place, Sample};

/// A row's contenders, and what they came to.
#[derive(Debug, Default)]
pub struct Standing {
    /// All that took part.
    pub contenders: Vec<String>,
    /// Who failed, and why. Whatever such a one reached before counts for nothing.
    pub failed: Vec<(String, Failure)>,
    /// By place, the nearest first, then in the order of contenders.
    pub summaries: Vec<Summary>,
}

/// One contender's samples of one place.
#[derive(Clone, Debug)]
pub struct Summary {
    pub contender: String,
    pub place: Place,
    pub figures: BTreeMap<Figure, Spread>,
    /// All its samples together.
    pub latency: Option<Latency>,
    pub samples: usize,
    /// There were no others: the machine had other work during each of them.
    pub disturbed: bool,
    pub left_out: usize,
}

/// Whether a sample does not count.
fn is_out(sample: &Sample, discard_preempted: bool) -> bool {
    sample.is_void() || (discard_preempted && sample.preemptions > 0)
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
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => (values[middle - 1] + values[middle]) / 2.0,
            _ => values[middle],
        };
        Some(Self { median, low, high })
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

impl Standing {
    /// What these samples came to; samples taken at different distances stay apart.
    pub fn of(
        contenders: Vec<String>,
        failed: Vec<(String, Failure)>,
        samples: &[(String, Sample)],
        discard_preempted: bool,
    ) -> Self {
        let standing = Self {
            contenders,
            failed,
            summaries: Vec::new(),
        };
        let places = Place::grouped(standing.distances(samples, discard_preempted));
        standing.at(&places, samples, discard_preempted)
    }

    /// The distances of the samples that count.
    pub fn distances<'a>(
        &'a self,
        samples: &'a [(String, Sample)],
        discard_preempted: bool,
    ) -> impl Iterator<Item = Place> + 'a {
        let counted = samples.iter().filter(move |(name, sample)| {
            !self.has_failed(name) && !is_out(sample, discard_preempted)
        });
        counted.map(|(_, sample)| sample.place())
    }

    /// What the samples came to at these places.
    pub fn at(
        &self,
        places: &[Place],
        samples: &[(String, Sample)],
        discard_preempted: bool,
    ) -> Self {
        let mut summaries = Vec::new();
        for place in places {
            let names = self.contenders.iter();
            for name in names.filter(|name| !self.has_failed(name)) {
                let own = samples.iter().filter(|(own, _)| own == name);
                let (out, fitting): (Vec<&Sample>, Vec<&Sample>) = own
                    .map(|(_, sample)| sample)
                    .filter(|sample| sample.moved() || place.has(sample.place()))
                    .partition(|sample| is_out(sample, discard_preempted));
                summaries.extend(one(name, *place, fitting, out.len()));
            }
        }
        Self {
            contenders: self.contenders.clone(),
            failed: self.failed.clone(),
            summaries,
        }
    }

    fn has_failed(&self, name: &str) -> bool {
        self.failed.iter().any(|(failed, _)| failed == name)
    }

    /// The places that have figures, the nearest first.
    pub fn places(&self) -> Vec<Place> {
        let mut places: Vec<Place> = self.summaries.iter().map(|own| own.place).collect();
        places.dedup();
        places
    }

    /// Those of one place, the best at a figure first.
    pub fn sorted(&self, place: Place, figure: Figure) -> Vec<&Summary> {
        let at_place = self.summaries.iter().filter(|own| own.place == place);
        let mut sorted: Vec<&Summary> = at_place.collect();
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

    /// Who did not fail, and none of whose samples counts.
    pub fn without(&self) -> Vec<&str> {
        let names = self.contenders.iter().map(String::as_str);
        names
            .filter(|name| !self.has_failed(name))
            .filter(|name| self.summaries.iter().all(|own| own.contender != *name))
            .collect()
    }

    /// Lines for a terminal: a table for each place, the best first, `▶` before what is ours; then who has no figures.
    pub fn table(&self, shows: &[Figure]) -> Vec<String> {
        let mut lines = Vec::new();
        for place in self.places() {
            lines.extend(place.sentence());
            lines.extend(table(&self.sorted(place, shows[0]), shows));
        }
        let without = self.without().into_iter();
        lines.extend(without.map(|name| format!("  {name}: no sample counts")));
        let failed = self.failed.iter();
        lines.extend(failed.map(|(name, why)| format!("  {name} FAILED: {why}")));
        lines
    }

    /// What became of a bar in each place in which its contender has samples: what is ahead near and behind far is both. Where it
    /// has few says nothing beside where it has [`ENOUGH`]. A bar that cannot be judged anywhere has a verdict too.
    pub fn verdicts(&self, bar: &Bar) -> Vec<Verdict> {
        let stands_for = |own: &&Summary| match bar.contender.as_str() {
            BEST_OF_OURS => is_ours(own),
            name => own.contender == name,
        };
        let own: Vec<&Summary> = self.summaries.iter().filter(stands_for).collect();
        let most = own.iter().map(|summary| summary.samples).max();
        let wanted = most.map_or(0, |most| most.min(ENOUGH));
        let judged = own.iter().filter(|summary| summary.samples >= wanted);
        let mut places: Vec<Place> = judged.map(|summary| summary.place).collect();
        places.dedup();
        if places.is_empty() {
            let text = format!("{bar}: {}", self.why_none(&bar.contender));
            let (result, place) = (Met::NotJudged, None);
            return vec![Verdict {
                result,
                place,
                text,
            }];
        }
        places
            .into_iter()
            .map(|place| self.verdict(bar, place))
            .collect()
    }

    fn verdict(&self, bar: &Bar, place: Place) -> Verdict {
        let judged = self.judged(bar, place);
        let (result, text) = judged.unwrap_or_else(|why| (Met::NotJudged, format!("{bar}: {why}")));
        Verdict {
            result,
            place: Some(place),
            text,
        }
    }

    /// Whether a bar is met in a place; otherwise why nobody can say.
    fn judged(&self, bar: &Bar, place: Place) -> Result<(Met, String), Failure> {
        let figure = bar.figure;
        let (ours, own) = self.reached(&bar.contender, figure, place)?;
        let mut compared = vec![own];
        let (wanted, than) = match &bar.than {
            Than::Value(value) => (Spread::exactly(*value), String::new()),
            Than::Peer(peer, factor) => {
                let (theirs, summary) = self.reached(peer, figure, place)?;
                compared.push(summary);
                (theirs.times(*factor), format!(" = {factor} × {peer}"))
            }
            Than::BestPeer(factor) => {
                let (theirs, summary) = self.best_peer(figure, place)?;
                compared.push(summary);
                let absent = self.absent_peers(figure, place);
                let than = format!(" = {factor} × {}{absent}", summary.contender);
                (theirs.times(*factor), than)
            }
        };
        let text = format!(
            "{}, {}: {} {} {} {}{than}{}",
            own.contender,
            figure.label(),
            figure.show(ours.median),
            figure.unit(),
            if figure.more_is_better() {
                '≥'
            } else {
                '≤'
            },
            figure.show(wanted.median),
            doubts(&compared)
        );
        Ok((met(figure, ours, wanted), text))
    }

    /// What somebody reached in a place, or why there is nothing to compare.
    fn reached(
        &self,
        name: &str,
        figure: Figure,
        place: Place,
    ) -> Result<(Spread, &Summary), Failure> {
        if name == BEST_OF_OURS {
            return self
                .best_of(is_ours, figure, place)
                .ok_or_else(|| "none of ours has a sample at this distance".to_owned());
        }
        let mut at_place = self.summaries.iter().filter(|own| own.place == place);
        let own = at_place.find(|own| own.contender == name);
        let own = own.ok_or_else(
            || match self.summaries.iter().any(|s| s.contender == name) {
                true => format!("{name} has no sample at this distance"),
                false => self.why_none(name),
            },
        )?;
        let spread = own.figures.get(&figure);
        let spread = spread.ok_or_else(|| format!("{name} has no such figure"))?;
        Ok((*spread, own))
    }

    fn best_peer(&self, figure: Figure, place: Place) -> Result<(Spread, &Summary), Failure> {
        let best = self.best_of(|own| !is_ours(own), figure, place);
        Ok(best.ok_or("no peer has a sample at this distance")?)
    }

    fn best_of(
        &self,
        counts: impl Fn(&Summary) -> bool,
        figure: Figure,
        place: Place,
    ) -> Option<(Spread, &Summary)> {
        let mut sorted = self.sorted(place, figure);
        sorted.retain(|own| counts(own) && own.figures.contains_key(&figure));
        // One lucky sample is not the best beside those who have enough of them.
        let most = sorted.iter().map(|own| own.samples).max()?;
        let best = sorted
            .into_iter()
            .find(|own| own.samples >= most.min(ENOUGH))?;
        Some((best.figures[&figure], best))
    }

    /// Peers who could have been the best, had they any sample.
    fn absent_peers(&self, figure: Figure, place: Place) -> String {
        let peers = self.contenders.iter().filter(|name| !row::is_ours(name));
        let reasons = peers.filter_map(|name| self.reached(name, figure, place).err());
        let reasons: Vec<String> = reasons.collect();
        if reasons.is_empty() {
            return String::new();
        }
        format!(" ({})", reasons.join(", "))
    }

    /// Why somebody has no figures at all.
    fn why_none(&self, name: &str) -> String {
        if name == BEST_OF_OURS {
            "none of ours has a sample that counts".to_owned()
        } else if self.has_failed(name) {
            format!("{name} failed")
        } else if self.contenders.iter().any(|own| own == name) {
            format!("no sample of {name} counts")
        } else {
            format!("{name} took no part")
        }
    }
}

/// The summary of those who count: the quiet ones, or all when there are none.
fn one(name: &str, place: Place, fitting: Vec<&Sample>, out: usize) -> Option<Summary> {
    let (loud, quiet): (Vec<&Sample>, Vec<&Sample>) =
        fitting.into_iter().partition(|sample| sample.disturbed());
    let disturbed = quiet.is_empty();
    let (kept, left_out) = match disturbed {
        true => (loud, out),
        false => (quiet, out + loud.len()),
    };
    if kept.is_empty() {
        return None;
    }
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
    Some(Summary {
        contender: name.to_owned(),
        place,
        figures: values
            .into_iter()
            .filter_map(|(figure, values)| Some((figure, Spread::of(values)?)))
            .collect(),
        latency,
        samples: kept.len(),
        disturbed,
        left_out,
    })
}

/// The lines of one place.
fn table(sorted: &[&Summary], shows: &[Figure]) -> Vec<String> {
    let ours = sorted.iter().find(|summary| is_ours(summary));
    let ours = ours.and_then(|summary| summary.figures.get(&shows[0]));
    let names = sorted.iter().map(|own| own.contender.chars().count());
    let width = names.max().unwrap_or(0);
    let line = |summary: &&Summary| {
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
        line
    };
    sorted.iter().map(line).collect()
}

/// Samples from which on a spread says something.
pub const ENOUGH: usize = 3;

/// What became of a bar.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub result: Met,
    /// `None` where its contender has no figures at all.
    pub place: Option<Place>,
    pub text: String,
}

/// Whether it is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    Yes,
    /// The medians miss it, by less than the samples vary.
    WithinSpread,
    No,
    /// Nobody can say: somebody failed, took no part, or has no sample that counts.
    NotJudged,
}

impl Met {
    pub fn word(self) -> &'static str {
        match self {
            Self::Yes => "met",
            Self::WithinSpread => "missed within the spread",
            Self::No => "missed",
            Self::NotJudged => "not judged",
        }
    }
}

impl Verdict {
    /// The distance at which it holds, for a table.
    pub fn distance(&self) -> String {
        self.place
            .map_or_else(String::new, |place| place.to_string())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bar {}: {}", self.result.word(), self.text)?;
        match self.place {
            Some(place) if !place.is_one_core() => write!(f, " ({place})"),
            _ => Ok(()),
        }
    }
}

fn met(figure: Figure, ours: Spread, wanted: Spread) -> Met {
    let (met, touches) = if figure.more_is_better() {
        (ours.median >= wanted.median, ours.high >= wanted.low)
    } else {
        (ours.median <= wanted.median, ours.low <= wanted.high)
    };
    match (met, touches) {
        (true, _) => Met::Yes,
        (false, true) => Met::WithinSpread,
        (false, false) => Met::No,
    }
}

/// Why a verdict on these may not hold.
fn doubts(compared: &[&Summary]) -> String {
    let mut text = String::new();
    let samples = compared.iter().map(|own| own.samples).min().unwrap_or(0);
    if samples < ENOUGH {
        text += &format!(", of few samples: {samples}");
    }
    let disturbed = compared.iter().filter(|own| own.disturbed);
    let names: Vec<&str> = disturbed.map(|own| own.contender.as_str()).collect();
    if !names.is_empty() {
        text += &format!(", disturbed: {}", names.join(", "));
    }
    text
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

    fn disturbed(sample: Sample) -> Sample {
        Sample {
            others_percent: 80.0,
            ..sample
        }
    }

    /// Names, times, distances.
    fn standing<const N: usize>(samples: [(&str, f64, f64); N]) -> Standing {
        let of = |(name, ns, far): (&str, f64, f64)| (name.to_owned(), sample(ns, far));
        of_samples(samples.map(of).into(), &[])
    }

    fn of_samples(samples: Vec<(String, Sample)>, failed: &[&str]) -> Standing {
        let mut names: Vec<String> = samples.iter().map(|(name, _)| name.clone()).collect();
        names.dedup();
        let failed = failed
            .iter()
            .map(|name| ((*name).into(), "lost one".into()));
        Standing::of(names, failed.collect(), &samples, false)
    }

    fn bar(factor: f64, peer: &str) -> Bar {
        Bar::times("trunkline", Figure::Ns, factor, peer)
    }

    #[test]
    fn the_median_of_two_lies_between_them() {
        let median = |values: &[f64]| Spread::of(values.to_vec()).unwrap().median;
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[9.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn samples_of_different_distances_are_never_mixed() {
        let own = standing([
            ("a", 1.0, 40.0),
            ("a", 3.0, 42.0),
            ("a", 2.0, 41.0),
            ("a", 90.0, 200.0),
            ("a", 500.0, 500.0),
        ]);
        let places: Vec<String> = own.places().iter().map(Place::to_string).collect();
        assert_eq!(places, ["40–42 ns", "200 ns", "500 ns"]);
        let near = Spread {
            median: 2.0,
            low: 1.0,
            high: 3.0,
        };
        assert_eq!(own.summaries[0].figures[&Figure::Ns], near);
        assert_eq!(
            own.table(&[Figure::Ns])[0],
            "A line crosses between the cores in 40–42 ns."
        );
    }

    #[test]
    fn disturbed_samples_count_only_when_there_are_no_others() {
        let noisy = || ("a".to_owned(), disturbed(sample(9.0, 0.0)));
        let both = of_samples(vec![("a".to_owned(), sample(1.0, 0.0)), noisy()], &[]);
        assert_eq!(both.summaries[0].figures[&Figure::Ns].high, 1.0);
        assert_eq!(both.summaries[0].left_out, 1);
        let alone = of_samples(vec![noisy()], &[]);
        assert!(alone.summaries[0].disturbed && alone.summaries[0].samples == 1);
    }

    #[test]
    fn who_failed_has_no_figures_whatever_came_before() {
        let samples = ["trunkline", "peer"].map(|name| (name.to_owned(), sample(5.0, 0.0)));
        let own = of_samples(samples.into(), &["peer"]);
        assert_eq!(own.summaries.len(), 1);
        assert!(own.table(&[Figure::Ns])[1].contains("peer FAILED: lost one"));
        let verdict = &own.verdicts(&bar(1.0, "peer"))[0];
        assert_eq!(verdict.result, Met::NotJudged);
        assert!(verdict.text.ends_with("peer failed"), "{verdict}");
    }

    #[test]
    fn bars_know_which_way_is_better() {
        let own = standing([("trunkline", 5.0, 0.0), ("peer", 6.0, 0.0)]);
        let result = |bar: Bar| own.verdicts(&bar)[0].result;
        let (trunkline, ns) = ("trunkline", Figure::Ns);
        assert_eq!(result(Bar::times_best(trunkline, ns, 1.0)), Met::Yes);
        assert_eq!(result(bar(0.7, "peer")), Met::No);
        assert_eq!(result(Bar::value(trunkline, ns, 5.0)), Met::Yes);
    }

    #[test]
    fn a_bar_that_cannot_be_judged_says_why() {
        let own = of_samples(vec![("peer".to_owned(), sample(6.0, 0.0))], &["trunkline"]);
        let why = |own: &Standing, bar: Bar| {
            let verdicts = own.verdicts(&bar);
            assert_eq!(verdicts.len(), 1);
            assert_eq!(verdicts[0].result, Met::NotJudged);
            verdicts[0].text.clone()
        };
        assert_eq!(
            why(&own, bar(1.0, "peer")),
            "trunkline, time ≤ 1 × peer: trunkline failed"
        );
        let alone = standing([("trunkline", 5.0, 0.0)]);
        assert!(why(&alone, bar(1.0, "nobody")).ends_with("nobody took no part"));
        let best = Bar::times_best("trunkline", Figure::Ns, 1.0);
        assert!(why(&alone, best).ends_with("no peer has a sample at this distance"));
        let moved = Sample {
            crossing_ns: [40.0, 200.0],
            ..sample(5.0, 0.0)
        };
        let own = of_samples(vec![("trunkline".to_owned(), moved)], &[]);
        assert!(why(&own, bar(1.0, "peer")).ends_with("no sample of trunkline counts"));
    }

    #[test]
    fn bars_are_judged_at_each_distance_by_itself() {
        let own = standing([
            ("trunkline", 5.0, 40.0),
            ("trunkline", 9.0, 200.0),
            ("trunkline", 9.0, 500.0),
            ("peer", 6.0, 41.0),
            ("peer", 6.0, 210.0),
        ]);
        let results: Vec<Met> = own
            .verdicts(&bar(1.0, "peer"))
            .iter()
            .map(|verdict| verdict.result)
            .collect();
        assert_eq!(results, [Met::Yes, Met::No, Met::NotJudged]);
    }

    #[test]
    fn a_distance_of_few_samples_says_nothing_beside_one_of_enough() {
        let own = standing([
            ("trunkline", 5.0, 40.0),
            ("trunkline", 5.0, 40.0),
            ("trunkline", 5.0, 40.0),
            ("trunkline", 9.0, 200.0),
            ("peer", 6.0, 40.0),
            ("peer", 6.0, 200.0),
        ]);
        let verdicts = own.verdicts(&bar(1.0, "peer"));
        assert_eq!(verdicts.len(), 1);
        assert_eq!(verdicts[0].result, Met::Yes);
    }

    #[test]
    fn the_best_of_ours_stands_for_all_of_them_at_each_distance() {
        let own = standing([
            ("trunkline a", 5.0, 40.0),
            ("trunkline b", 7.0, 40.0),
            ("peer", 6.0, 40.0),
            ("trunkline a", 9.0, 200.0),
            ("trunkline b", 7.0, 200.0),
            ("peer", 6.0, 200.0),
        ]);
        let best = Bar::times_best(BEST_OF_OURS, Figure::Ns, 1.0);
        let verdicts = own.verdicts(&best);
        let results: Vec<Met> = verdicts.iter().map(|verdict| verdict.result).collect();
        assert_eq!(results, [Met::Yes, Met::No]);
        assert!(
            verdicts[0].text.starts_with("trunkline a, "),
            "{}",
            verdicts[0]
        );
        assert!(
            verdicts[1].text.starts_with("trunkline b, "),
            "{}",
            verdicts[1]
        );
        let verdicts = standing([("peer", 6.0, 40.0)]).verdicts(&best);
        assert_eq!(verdicts.len(), 1);
        assert_eq!(
            verdicts[0].text,
            "the best of ours, time ≤ 1 × the best peer: none of ours has a sample that counts"
        );
    }

    #[test]
    fn one_lucky_sample_is_not_the_best() {
        let own = standing([
            ("trunkline, lucky", 1.0, 0.0),
            ("trunkline", 5.0, 0.0),
            ("trunkline", 5.0, 0.0),
            ("trunkline", 5.0, 0.0),
            ("peer", 3.0, 0.0),
        ]);
        let best = Bar::times_best(BEST_OF_OURS, Figure::Ns, 1.0);
        let verdict = &own.verdicts(&best)[0];
        assert_eq!(verdict.result, Met::No, "{verdict}");
    }

    #[test]
    fn the_best_is_said_to_be_the_best_of_those_who_are_left() {
        let samples = ["trunkline", "peer", "other"].map(|name| (name.into(), sample(5.0, 0.0)));
        let own = of_samples(samples.into(), &["other"]);
        let verdicts = own.verdicts(&Bar::times_best("trunkline", Figure::Ns, 1.0));
        assert!(
            verdicts[0].text.contains("× peer (other failed)"),
            "{}",
            verdicts[0]
        );
    }

    #[test]
    fn a_verdict_on_few_samples_says_so() {
        let text = |count: usize| {
            let ours = (0..count).map(|_| ("trunkline".to_owned(), sample(5.0, 0.0)));
            let peers = (0..3).map(|_| ("peer".to_owned(), sample(6.0, 0.0)));
            let own = of_samples(ours.chain(peers).collect(), &[]);
            own.verdicts(&bar(1.0, "peer"))[0].text.clone()
        };
        assert!(text(1).ends_with(", of few samples: 1"));
        assert!(!text(3).contains("samples"));
    }

    #[test]
    fn a_verdict_on_disturbed_samples_says_so() {
        let samples = [
            ("trunkline".to_owned(), sample(5.0, 0.0)),
            ("peer".to_owned(), disturbed(sample(6.0, 0.0))),
        ];
        let own = of_samples(samples.into(), &[]);
        let verdicts = own.verdicts(&bar(1.0, "peer"));
        assert!(
            verdicts[0].text.ends_with(", disturbed: peer"),
            "{}",
            verdicts[0]
        );
    }

    #[test]
    fn a_bar_that_is_missed_by_less_than_samples_vary_says_so() {
        let own = standing([5.0, 6.0, 7.0].map(|ns| ("trunkline", ns, 0.0)));
        let result = |ns| own.verdicts(&Bar::value("trunkline", Figure::Ns, ns))[0].result;
        assert_eq!(
            [4.9, 5.5, 6.0].map(result),
            [Met::No, Met::WithinSpread, Met::Yes]
        );
    }
}
