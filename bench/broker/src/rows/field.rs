//! Who is there, in which settings.

use std::path::{Path, PathBuf};

use bench_harness::contest::Contest;
use bench_harness::installed::{find_program, version};
use bench_harness::row::{self, Pace};
use bench_harness::{Contender, Failure, Options, Sample};

use crate::load::{Acks, Crowd, Flow, Idle, OpenLoop, Replay, Seats, Wait};
use crate::peer::Peer;
use crate::peers::PROGRAMS;
use crate::peers::trunkline::{Ack, Idle as IdleStrategy, Trunkline};

/// Any of the loads.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    Flow(Flow),
    OpenLoop(OpenLoop),
    Acks(Acks),
    Replay(Replay),
    Idle(Idle),
    Crowd(Crowd),
}

impl Work {
    /// How the client waits.
    pub fn client_idle(self) -> row::Idle {
        match self {
            Self::OpenLoop(OpenLoop { wait, .. }) | Self::Acks(Acks { wait, .. })
                if wait == Wait::Park =>
            {
                row::Idle::Parks
            }
            Self::Idle(_) | Self::Crowd(_) => row::Idle::Parks,
            _ => row::Idle::Spins,
        }
    }

    pub fn pace(self) -> Pace {
        match self {
            Self::OpenLoop(_) => Pace::OpenLoop,
            Self::Flow(_) | Self::Acks(_) | Self::Replay(_) => Pace::ClosedLoop,
            Self::Idle(_) | Self::Crowd(_) => Pace::Still,
        }
    }
}

/// A broker of whatever kind, when it is there.
pub type Who = Option<Box<dyn Candidate>>;

/// Who can be compared. Behind the call all is of one kind again: what is measured calls nothing through a table.
pub trait Candidate {
    fn contender(&self, work: Work, seats: &Seats) -> Contender;
}

impl<P: Peer> Candidate for P {
    fn contender(&self, work: Work, seats: &Seats) -> Contender {
        contender(self.clone(), work, seats)
    }
}

fn contender<P: Peer>(peer: P, work: Work, seats: &Seats) -> Contender {
    let (name, settings, keeps) = (peer.name(), peer.settings(), peer.keeps());
    let seats = seats.clone();
    let run = move || -> Result<Sample, Failure> {
        match work {
            Work::Flow(flow) => flow.run(&peer, &seats),
            Work::OpenLoop(open) => open.run(&peer, &seats),
            Work::Acks(acks) => acks.run(&peer, &seats),
            Work::Replay(replay) => replay.run(&peer, &seats),
            Work::Idle(idle) => idle.run(&peer, &seats),
            Work::Crowd(crowd) => crowd.run(&peer, &seats),
        }
    };
    Contender::new(name, settings, run).keeping(keeps)
}

/// A peer's program.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// What the peer is called.
    pub name: &'static str,
    pub file: &'static str,
    /// The variable that says where it is, when it is not where programs are.
    pub variable: &'static str,
    /// What makes it say its version.
    pub version: &'static str,
}

/// The programs that are there.
#[derive(Clone, Debug)]
pub struct Field {
    ours: PathBuf,
    found: Vec<(&'static str, PathBuf)>,
}

impl Field {
    /// Looks for everybody, and notes versions, and who is absent.
    pub fn find(contest: &mut Contest, options: &Options, ours: &Path) -> Result<Self, Failure> {
        contest.peer("trunkline", &version_of(ours, "--version"))?;
        let mut field = Self {
            ours: ours.to_owned(),
            found: Vec::new(),
        };
        if options.ours {
            return Ok(field);
        }
        for program in PROGRAMS {
            let Program {
                name,
                file,
                variable,
                version,
            } = program;
            if let Some(path) = find_program(variable, file) {
                contest.peer(name, &version_of(&path, version))?;
                field.found.push((name, path));
            } else {
                let why = format!(
                    "no {file}; `cargo xtask bench --peers --install` gets it, or {variable} names it"
                );
                contest.absent(name, &why)?;
            }
        }
        contest.absent(
            "Iggy",
            "its server is in no package registry; it would have to be built from its sources",
        )?;
        Ok(field)
    }

    pub fn ours(&self, idle: IdleStrategy, ack: Ack) -> Who {
        Some(Box::new(Trunkline::new(self.ours.clone(), idle, ack)))
    }

    pub fn ours_visible_received(&self, idle: IdleStrategy) -> Who {
        let ours = Trunkline::new(self.ours.clone(), idle, Ack::Stored);
        Some(Box::new(ours.visible_received()))
    }

    /// A peer, where its program is there.
    pub fn with<P: Peer>(&self, program: &Program, make: impl FnOnce(PathBuf) -> P) -> Who {
        let (_, path) = self.found.iter().find(|(name, _)| *name == program.name)?;
        Some(Box::new(make(path.clone())))
    }
}

fn version_of(program: &Path, argument: &str) -> String {
    version(program, argument).unwrap_or_else(|| "unknown".into())
}
