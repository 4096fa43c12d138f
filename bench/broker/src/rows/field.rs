//! Who is there, in which settings.

use std::path::{Path, PathBuf};

use bench_harness::contest::Contest;
use bench_harness::installed::{find_program, version};
use bench_harness::row::{self, Pace};
use bench_harness::{Contender, Failure, Options, Sample};

use crate::load::{Acks, Crowd, Flow, Idle, OpenLoop, Replay, Seats, Wait};
use crate::peer::{Keeps, Peer};
use crate::peers::mosquitto::Mosquitto;
use crate::peers::nats::{Mode as NatsMode, Nats};
use crate::peers::plain::Plain;
use crate::peers::redis::{Mode as RedisMode, Redis};
use crate::peers::relay::Relay;
use crate::peers::trunkline::{Ack, Idle as IdleStrategy, Trunkline};

/// Any of the brokers.
#[derive(Clone, Debug)]
pub enum Any {
    Trunkline(Trunkline),
    Nats(Nats),
    Redis(Redis),
    Mosquitto(Mosquitto),
    Plain(Plain),
    Relay(Relay),
}

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

impl Any {
    pub fn contender(self, work: Work, seats: &Seats) -> Contender {
        match self {
            Self::Trunkline(peer) => contender(peer, work, seats),
            Self::Nats(peer) => contender(peer, work, seats),
            Self::Redis(peer) => contender(peer, work, seats),
            Self::Mosquitto(peer) => contender(peer, work, seats),
            Self::Plain(peer) => contender(peer, work, seats),
            Self::Relay(peer) => contender(peer, work, seats),
        }
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

/// Everybody who is there.
#[derive(Clone)]
pub struct Field {
    ours: PathBuf,
    nats: Option<PathBuf>,
    redis: Option<PathBuf>,
    mosquitto: Option<PathBuf>,
}

impl Field {
    pub fn find(contest: &mut Contest, options: &Options, ours: &Path) -> Result<Self, Failure> {
        let mut find = |name: &str, program: &str, variable: &str, argument: &str| {
            if options.ours {
                return Ok(None);
            }
            let Some(path) = find_program(variable, program) else {
                let why = format!(
                    "no {program}; `cargo xtask bench --peers --install` gets it, or {variable} names it"
                );
                contest.absent(name, &why)?;
                return Ok(None);
            };
            contest.peer(
                name,
                &version(&path, argument).unwrap_or_else(|| "unknown".into()),
            )?;
            Ok::<_, Failure>(Some(path))
        };
        let nats = find("NATS", "nats-server", "TRUNKLINE_BENCH_NATS", "--version")?;
        let redis = find(
            "Redis",
            "redis-server",
            "TRUNKLINE_BENCH_REDIS",
            "--version",
        )?;
        let mosquitto = find("Mosquitto", "mosquitto", "TRUNKLINE_BENCH_MOSQUITTO", "-h")?;
        if !options.ours {
            contest.absent(
                "Iggy",
                "its server is in no package registry; it would have to be built from its sources",
            )?;
        }
        contest.peer(
            "trunkline",
            &version(ours, "--version").unwrap_or_else(|| "unknown".into()),
        )?;
        Ok(Self {
            ours: ours.to_owned(),
            nats,
            redis,
            mosquitto,
        })
    }

    pub fn ours(&self, idle: IdleStrategy, ack: Ack) -> Option<Any> {
        Some(Any::Trunkline(Trunkline::new(self.ours.clone(), idle, ack)))
    }

    pub fn ours_visible_received(&self, idle: IdleStrategy) -> Option<Any> {
        Some(Any::Trunkline(
            Trunkline::new(self.ours.clone(), idle, Ack::Stored).visible_received(),
        ))
    }

    pub fn nats(&self, mode: NatsMode) -> Option<Any> {
        Some(Any::Nats(Nats {
            binary: self.nats.clone()?,
            mode,
        }))
    }

    pub fn redis(&self, mode: RedisMode) -> Option<Any> {
        Some(Any::Redis(Redis {
            binary: self.redis.clone()?,
            mode,
        }))
    }

    pub fn mosquitto(&self, acknowledged: bool) -> Option<Any> {
        Some(Any::Mosquitto(Mosquitto {
            binary: self.mosquitto.clone()?,
            acknowledged,
        }))
    }
}

pub fn plain(keeps: Keeps, spins: bool) -> Option<Any> {
    Some(Any::Plain(Plain { keeps, spins }))
}
