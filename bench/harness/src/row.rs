//! Rows: who does the same work, under which terms, and what is to be reached.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Failure, Figure, Sample};

/// Contenders who do the same work.
pub struct Row {
    pub name: String,
    /// What is done. How it is done follows from the other fields, in [`text`](Self::text).
    pub about: String,
    pub waiting: Waiting,
    pub pinning: Pinning,
    pub pace: Pace,
    pub costs: Costs,
    /// The columns; the first is what is compared.
    pub shows: Vec<Figure>,
    pub bars: Vec<Bar>,
    /// Where it stands among rows that differ in one number only.
    pub point: Option<Point>,
    /// Preempted samples do not count. With more threads than cores every sample is one.
    pub discard_preempted: bool,
    pub effort: Effort,
    pub contenders: Vec<Contender>,
}

impl Row {
    /// What is done, and under which terms.
    pub fn text(&self) -> String {
        let terms = [
            self.about.clone(),
            self.waiting.to_string(),
            self.pinning.to_string(),
            self.pace.to_string(),
            match self.shows.contains(&Figure::PerSecond) {
                true => self.costs.to_string(),
                false => String::new(),
            },
        ];
        let said: Vec<String> = terms.into_iter().filter(|term| !term.is_empty()).collect();
        said.join("; ")
    }

    /// Refuses what would mislead.
    ///
    /// # Errors
    /// The row shows a rate without what it costs, some sync before they answer and others do not, or a contender's settings
    /// are not said.
    pub fn check(&self) -> Result<(), Failure> {
        let refuse = |why: String| Err(format!("the row `{}` is refused: {why}", self.name));
        if let Some(figure) = self.unshown_cost() {
            return refuse(format!(
                "it shows a rate, and neither {} nor why it does not",
                figure.label()
            ));
        }
        let syncs = |contender: &&Contender| contender.keeps == Keeps::Synced;
        if let (Some(one), Some(other)) = (
            self.contenders.iter().find(syncs),
            self.contenders.iter().find(|contender| !syncs(contender)),
        ) {
            return refuse(format!(
                "{} syncs before it answers, {} does not",
                one.name, other.name
            ));
        }
        if let Some(silent) = self
            .contenders
            .iter()
            .find(|contender| contender.settings.is_empty())
        {
            return refuse(format!("the settings of {} are not said", silent.name));
        }
        Ok(())
    }

    /// What ought to stand beside a rate, and does not.
    fn unshown_cost(&self) -> Option<Figure> {
        let explained = matches!(self.costs, Costs::NotShown(why) if !why.is_empty());
        if explained || !self.shows.contains(&Figure::PerSecond) {
            return None;
        }
        COSTS
            .into_iter()
            .find(|figure| !self.shows.contains(figure))
    }

    /// Refuses a sample that has a rate, and not the costs that the row promises.
    pub(crate) fn check_sample(&self, sample: &Sample) -> Result<(), Failure> {
        let promised =
            self.costs == Costs::Shown && sample.figures.contains_key(&Figure::PerSecond);
        let missing = COSTS
            .into_iter()
            .find(|figure| self.shows.contains(figure) && !sample.figures.contains_key(figure));
        match missing {
            Some(figure) if promised => Err(format!("{} was not measured", figure.label())),
            _ => Ok(()),
        }
    }

    /// Whether a sample is one of those that are wanted.
    pub(crate) fn is_good(&self, sample: &Sample) -> bool {
        let preempted = self.discard_preempted && sample.preemptions > 0;
        !(sample.is_void() || sample.disturbed() || preempted)
    }
}

/// What stands beside each rate.
const COSTS: [Figure; 2] = [Figure::CpuUs, Figure::RssMib];

/// What is done while there is nothing to do: the idle strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// There is always something to do.
    Never,
    All(Idle),
    Sides {
        server: Idle,
        client: Idle,
    },
}

/// How one side waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    Spins,
    SpinsAndYields,
    Parks,
    /// Each in another way, which its name says.
    AsNamed,
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spins => "spins",
            Self::SpinsAndYields => "spins and then yields",
            Self::Parks => "parks",
            Self::AsNamed => "waits as its name says",
        })
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("nobody ever waits"),
            Self::All(idle) => write!(f, "everybody {idle}"),
            Self::Sides { server, client } => write!(f, "the server {server}, the client {client}"),
        }
    }
}

/// Who is bound to which core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinning {
    /// And how.
    Pinned(&'static str),
    Unpinned,
}

impl fmt::Display for Pinning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pinned(how) => write!(f, "pinned: {how}"),
            Self::Unpinned => f.write_str("unpinned: everybody is where the system puts it"),
        }
    }
}

/// What says when the next operation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The clock. Times are from when an operation was due.
    OpenLoop,
    /// The end of one before it. A delay keeps operations from being begun, which percentiles then lack.
    ClosedLoop,
    /// Nothing is sent.
    Still,
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenLoop => "open loop, from when an operation was due",
            Self::ClosedLoop => {
                "closed loop: one that is late delays those after it, whose times do not say so"
            }
            Self::Still => "nothing is sent meanwhile",
        })
    }
}

/// Whether what a rate costs, the CPU and the memory of the server, stands beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Costs {
    Shown,
    /// At least one of the two does not, and why.
    NotShown(&'static str),
}

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shown => Ok(()),
            Self::NotShown(why) => f.write_str(why),
        }
    }
}

/// A row of several that are one curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// What they have in common.
    pub curve: String,
    /// In what they differ, with its unit.
    pub axis: String,
    pub at: f64,
}

/// Who does it.
pub struct Contender {
    pub name: String,
    pub ours: bool,
    /// Everything that was set, for the reader.
    pub settings: String,
    pub keeps: Keeps,
    pub run: Box<dyn FnMut() -> Result<Sample, Failure>>,
}

impl Contender {
    /// One that keeps nothing.
    pub fn new(
        name: impl Into<String>,
        settings: impl Into<String>,
        run: impl FnMut() -> Result<Sample, Failure> + 'static,
    ) -> Self {
        let name = name.into();
        Self {
            ours: is_ours(&name),
            name,
            settings: settings.into(),
            keeps: Keeps::Nothing,
            run: Box::new(run),
        }
    }

    #[must_use]
    pub fn keeping(mut self, keeps: Keeps) -> Self {
        self.keeps = keeps;
        self
    }
}

/// What becomes of a message before it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keeps {
    /// Nothing is stored.
    #[default]
    Nothing,
    /// It is written to a file, or to memory that is; a crash of the system takes it back.
    PageCache,
    /// It is on the device.
    Synced,
}

/// Whether a contender is ours.
pub fn is_ours(name: &str) -> bool {
    name.starts_with(OURS)
}

/// How our names begin.
pub const OURS: &str = "trunkline";

/// In the place of a name in a [`Bar`]: whoever of ours is the best in that place, where several uses of ours stand beside
/// several uses of a peer.
pub const BEST_OF_OURS: &str = "the best of ours";

/// How much is spent on a row.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Good samples wanted of each contender.
    pub samples: usize,
    /// Rounds after which the row ends, whatever was left out.
    pub rounds: usize,
}

/// What one of our figures must reach.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bar {
    pub contender: String,
    pub figure: Figure,
    pub than: Than,
}

/// What a bar compares with: the figure is to be as good as so many times that, or better.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Than {
    /// The best who is not ours.
    BestPeer(f64),
    /// One of them.
    Peer(String, f64),
    /// A number.
    Value(f64),
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.figure.more_is_better() {
            '≥'
        } else {
            '≤'
        };
        write!(f, "{}, {} {sign} ", self.contender, self.figure.label())?;
        match &self.than {
            Than::BestPeer(factor) => write!(f, "{factor} × the best peer"),
            Than::Peer(peer, factor) => write!(f, "{factor} × {peer}"),
            Than::Value(value) => f.write_str(&self.figure.show(*value)),
        }
    }
}

impl Bar {
    pub fn value(contender: &str, figure: Figure, value: f64) -> Self {
        Self {
            contender: contender.into(),
            figure,
            than: Than::Value(value),
        }
    }

    pub fn times_best(contender: &str, figure: Figure, factor: f64) -> Self {
        Self {
            contender: contender.into(),
            figure,
            than: Than::BestPeer(factor),
        }
    }

    pub fn times(contender: &str, figure: Figure, factor: f64, peer: &str) -> Self {
        Self {
            contender: contender.into(),
            figure,
            than: Than::Peer(peer.into(), factor),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn row(contenders: Vec<Contender>) -> Row {
        Row {
            name: "work".into(),
            about: "what is done".into(),
            waiting: Waiting::Never,
            pinning: Pinning::Unpinned,
            pace: Pace::ClosedLoop,
            costs: Costs::Shown,
            shows: vec![Figure::Ns],
            bars: Vec::new(),
            point: None,
            discard_preempted: true,
            effort: Effort {
                samples: 2,
                rounds: 5,
            },
            contenders,
        }
    }

    fn contender(name: &str) -> Contender {
        Contender::new(name, "none", || Ok(Sample::default()))
    }

    #[test]
    fn a_row_says_how_it_was_done() {
        let row = Row {
            waiting: Waiting::Sides {
                server: Idle::AsNamed,
                client: Idle::Spins,
            },
            costs: Costs::NotShown("no memory, since"),
            shows: vec![Figure::PerSecond],
            ..row(Vec::new())
        };
        let text = row.text();
        for said in [
            "what is done; the server waits as its name says, the client spins;",
            "unpinned",
            "closed loop",
            "no memory, since",
        ] {
            assert!(text.contains(said), "{text}");
        }
    }

    #[test]
    fn a_rate_without_what_it_costs_is_refused() {
        let shows = |shows: &[Figure], costs| {
            let row = Row {
                shows: shows.to_vec(),
                costs,
                ..row(vec![contender("a")])
            };
            row.check()
        };
        let all = [Figure::PerSecond, Figure::CpuUs, Figure::RssMib];
        let why = shows(&all[..2], Costs::Shown).unwrap_err();
        assert!(why.contains("server RSS"), "{why}");
        assert!(shows(&all[..1], Costs::NotShown("")).is_err());
        assert!(shows(&all[..1], Costs::NotShown("both spin")).is_ok());
        assert!(shows(&all, Costs::Shown).is_ok());
        assert!(shows(&all[1..], Costs::Shown).is_ok());
    }

    #[test]
    fn a_sample_without_what_its_rate_costs_is_refused() {
        let row = Row {
            shows: vec![Figure::PerSecond, Figure::CpuUs, Figure::RssMib],
            ..row(Vec::new())
        };
        let sample = Sample::default()
            .with(Figure::PerSecond, 1.0)
            .with(Figure::CpuUs, 1.0);
        assert!(row.check_sample(&sample).is_err());
        assert!(row.check_sample(&sample.with(Figure::RssMib, 1.0)).is_ok());
    }

    #[test]
    fn one_who_syncs_does_not_stand_beside_one_who_does_not() {
        let with = |keeps: [Keeps; 2]| {
            row(keeps.map(|keeps| contender("a").keeping(keeps)).into()).check()
        };
        assert!(with([Keeps::Synced, Keeps::PageCache]).is_err());
        assert!(with([Keeps::Nothing, Keeps::Synced]).is_err());
        assert!(with([Keeps::Synced, Keeps::Synced]).is_ok());
        assert!(with([Keeps::Nothing, Keeps::PageCache]).is_ok());
    }

    #[test]
    fn settings_must_be_said() {
        let silent = Contender::new("a", "", || Ok(Sample::default()));
        assert!(row(vec![silent]).check().is_err());
    }
}
