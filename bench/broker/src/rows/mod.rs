//! Who is compared at what. No row has one who syncs beside one who does not.

mod bars;
pub mod field;

use std::path::Path;
use std::time::Duration;

use bench_harness::contest::Contest;
use bench_harness::row::{Costs, Effort, Idle, Pinning, Point, Waiting};
use bench_harness::{Bar, Failure, Figure, Options, Row, cores};

use self::bars::{ack_bars, latency_bars, throughput_bars};
use self::field::{Field, Who, Work};
use crate::load::{Acks, Crowd, Flow, Idle as IdleLoad, OpenLoop, Replay, Seats, Wait};
use crate::peer::Keeps;
use crate::peers::nats::{self, Mode as NatsMode};
use crate::peers::redis::{self, Mode as RedisMode};
use crate::peers::trunkline::{Ack, Idle as IdleStrategy};
use crate::peers::{mosquitto, plain, relay};

/// Runs all rows that are wanted.
pub fn run(contest: &mut Contest, options: &Options, ours: &Path) -> Result<(), Failure> {
    let field = Field::find(contest, options, ours)?;
    let seats = Seats {
        cores: cores::pair(),
        data: options.data(),
    };
    if seats.cores.is_none() {
        return Err("two cores are needed".into());
    }
    let rows = Rows {
        field,
        seats,
        quick: options.quick,
    };
    let mut all = rows.throughput();
    all.extend(rows.latency());
    all.extend(rows.acks());
    all.extend(rows.synced());
    all.extend(rows.replay());
    all.extend([rows.idle(), rows.crowd()]);
    contest.run_all(all)
}

struct Rows {
    field: Field,
    seats: Seats,
    quick: bool,
}

impl Rows {
    fn time(&self) -> Duration {
        Duration::from_millis(if self.quick { 800 } else { 1500 })
    }

    fn row(&self, name: String, about: &str, shows: &[Figure], work: Work, who: Vec<Who>) -> Row {
        let effort = if self.quick {
            Effort {
                samples: 3,
                rounds: 3,
            }
        } else {
            Effort {
                samples: 5,
                rounds: 7,
            }
        };
        Row {
            name,
            about: about.into(),
            waiting: Waiting::Sides {
                server: Idle::AsNamed,
                client: work.client_idle(),
            },
            pinning: match self.seats.cores {
                Some(_) => Pinning::Pinned("the server to one core, the client to another"),
                None => Pinning::Unpinned,
            },
            pace: work.pace(),
            costs: Costs::Shown,
            shows: shows.to_vec(),
            bars: Vec::new(),
            // A server that sleeps makes the client leave its core; nobody preempts it.
            point: None,
            discard_preempted: false,
            effort,
            contenders: who
                .into_iter()
                .flatten()
                .map(|who| who.contender(work, &self.seats))
                .collect(),
        }
    }

    fn throughput(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (publishers, subscribers) in [(1, 1), (1, 4), (4, 1)] {
            for bytes in [64, 1024, 16 << 10] {
                let flow = Work::Flow(Flow {
                    publishers,
                    subscribers,
                    bytes,
                    time: self.time(),
                });
                let mut row = self.row(
                    format!("throughput {publishers}→{subscribers}, {}", size(bytes)),
                    "nobody syncs before it answers; 1 MiB under way at most; the rate is that of each subscriber",
                    &[Figure::PerSecond, Figure::CpuUs, Figure::RssMib],
                    flow,
                    self.everybody(),
                );
                if (publishers, subscribers) == (1, 1) {
                    row.bars = throughput_bars(bytes);
                }
                rows.push(row);
            }
        }
        let flow = Work::Flow(Flow {
            publishers: 1,
            subscribers: 1,
            bytes: 64,
            time: self.time(),
        });
        rows.push(self.unpinned().row(
            "throughput 1→1, 64 B, unpinned".into(),
            "nobody syncs before it answers; 1 MiB under way at most",
            &[Figure::PerSecond, Figure::CpuUs, Figure::RssMib],
            flow,
            self.everybody(),
        ));
        rows
    }

    /// The same, nobody bound to a core.
    fn unpinned(&self) -> Self {
        let seats = Seats {
            cores: None,
            ..self.seats.clone()
        };
        Self {
            field: self.field.clone(),
            seats,
            quick: self.quick,
        }
    }

    /// All who do not sync.
    fn everybody(&self) -> Vec<Who> {
        vec![
            self.field.ours(IdleStrategy::Adaptive, Ack::Stored),
            self.field.ours(IdleStrategy::Adaptive, Ack::Received),
            nats::peer(&self.field, NatsMode::Core),
            nats::peer(&self.field, NatsMode::JetStream),
            redis::peer(&self.field, RedisMode::PubSub),
            redis::peer(&self.field, RedisMode::StreamEverySecond),
            mosquitto::peer(&self.field, false),
            relay::peer(false),
            relay::peer(true),
        ]
    }

    fn latency(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for wait in [Wait::Spin, Wait::Park] {
            for rate in [1_000.0, 10_000.0, 100_000.0] {
                let open = OpenLoop {
                    rate,
                    bytes: 64,
                    time: self.time(),
                    wait,
                };
                let mut who = vec![
                    self.field.ours(IdleStrategy::Adaptive, Ack::Stored),
                    self.field.ours(IdleStrategy::Park, Ack::Stored),
                    nats::peer(&self.field, NatsMode::Core),
                    nats::peer(&self.field, NatsMode::JetStream),
                    redis::peer(&self.field, RedisMode::PubSub),
                ];
                if wait == Wait::Spin {
                    who.insert(0, self.field.ours_visible_received(IdleStrategy::Spin));
                    who.insert(1, self.field.ours(IdleStrategy::Spin, Ack::Stored));
                }
                let mut row = self.row(
                    format!("latency at {} k/s, 64 B, {}", rate / 1e3, wait.words()),
                    "publish to delivery; nobody syncs",
                    &[
                        Figure::P50Us,
                        Figure::P99Us,
                        Figure::P999Us,
                        Figure::MaxUs,
                        Figure::CpuUs,
                    ],
                    Work::OpenLoop(open),
                    who,
                );
                row.point = Some(Point {
                    curve: format!("latency, 64 B, {}", wait.words()),
                    axis: "messages per second".into(),
                    at: rate,
                });
                if rate == 10_000.0 {
                    row.bars = latency_bars(wait);
                }
                rows.push(row);
            }
        }
        rows
    }

    fn acks(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (window, wait) in [(1, Wait::Spin), (1, Wait::Park), (1000, Wait::Spin)] {
            let acks = Acks {
                publishers: 1,
                window,
                bytes: 64,
                time: self.time(),
                wait,
            };
            let mut row = self.row(
                format!("acknowledged, 64 B, window {window}, {}", wait.words()),
                "publish to acknowledgement; nobody syncs",
                &ACKS,
                Work::Acks(acks),
                vec![
                    self.field.ours(IdleStrategy::Spin, Ack::Stored),
                    self.field.ours(IdleStrategy::Adaptive, Ack::Stored),
                    self.field.ours(IdleStrategy::Park, Ack::Stored),
                    nats::peer(&self.field, NatsMode::JetStream),
                    redis::peer(&self.field, RedisMode::Stream),
                    redis::peer(&self.field, RedisMode::StreamEverySecond),
                    mosquitto::peer(&self.field, true),
                    plain::peer(Keeps::Nothing, true),
                    plain::peer(Keeps::Nothing, false),
                    plain::peer(Keeps::PageCache, false),
                ],
            );
            row.bars = ack_bars(window, wait);
            rows.push(row);
        }
        rows
    }

    fn synced(&self) -> Vec<Row> {
        // Whoever waits for a disk leaves the core to others: bound to one, a server that spins would keep its own syncs from it.
        let free = self.unpinned();
        let mut rows = Vec::new();
        for (publishers, window) in [(1, 1), (64, 1), (1, 1000), (64, 1000)] {
            let acks = Acks {
                publishers,
                window,
                bytes: 1024,
                time: self.time(),
                wait: Wait::Park,
            };
            let mut row = free.row(
                format!("synced, 1 KiB, {publishers} publishers, window {window}"),
                "publish to acknowledgement; every message is on the device before that",
                &ACKS,
                Work::Acks(acks),
                vec![
                    self.field.ours(IdleStrategy::Spin, Ack::Synced),
                    self.field.ours(IdleStrategy::Adaptive, Ack::Synced),
                    self.field.ours(IdleStrategy::Adaptive, Ack::SyncedDirect),
                    nats::peer(&self.field, NatsMode::JetStreamSync),
                    redis::peer(&self.field, RedisMode::StreamAlways),
                    plain::peer(Keeps::Synced, false),
                ],
            );
            let name = "trunkline synced, adaptive";
            row.bars.push(match window {
                1 => Bar::times(name, Figure::PerSecond, 1.0, "plain loop, synced, parks"),
                _ => Bar::value(name, Figure::PerSecond, 300_000.0),
            });
            row.bars.push(Bar::times(
                name,
                Figure::PerSecond,
                2.0,
                "JetStream, synced, parks",
            ));
            rows.push(row);
        }
        rows
    }

    fn replay(&self) -> Vec<Row> {
        let sizes = [(64, 1_000_000), (1024, 200_000)];
        let row = |(bytes, count): (usize, u64)| {
            let count = if self.quick { count / 5 } else { count };
            self.row(
                format!("replay from the start, {}", size(bytes)),
                &format!("{count} messages that were acknowledged before; nobody syncs"),
                &[Figure::PerSecond, Figure::CpuUs, Figure::RssMib],
                Work::Replay(Replay { count, bytes }),
                vec![
                    self.field.ours(IdleStrategy::Adaptive, Ack::Stored),
                    nats::peer(&self.field, NatsMode::JetStream),
                    redis::peer(&self.field, RedisMode::StreamEverySecond),
                ],
            )
        };
        sizes.into_iter().map(row).collect()
    }

    fn idle(&self) -> Row {
        let idle = IdleLoad {
            time: Duration::from_secs(if self.quick { 2 } else { 10 }),
        };
        let mut row = self.unpinned().row(
            "idle server".into(),
            "one subscriber is connected, nothing is published",
            &[Figure::IdlePercent, Figure::RssMib],
            Work::Idle(idle),
            vec![
                self.field.ours(IdleStrategy::Adaptive, Ack::Stored),
                nats::peer(&self.field, NatsMode::Core),
                nats::peer(&self.field, NatsMode::JetStream),
                redis::peer(&self.field, RedisMode::PubSub),
                mosquitto::peer(&self.field, false),
            ],
        );
        let name = "trunkline stored, adaptive";
        row.bars = vec![
            Bar::value(name, Figure::IdlePercent, 0.5),
            Bar::value(name, Figure::RssMib, 40.0),
        ];
        row
    }

    fn crowd(&self) -> Row {
        let crowd = Crowd {
            connections: 10_000,
            time: Duration::from_secs(if self.quick { 1 } else { 5 }),
        };
        self.unpinned().row(
            "10,000 idle subscribers".into(),
            "each on a connection of its own, nothing is published; resident memory of the server without the kernel's for sockets; \
             limits of connections are raised where there are some (trunkline: limits.connections, Redis: --maxclients)",
            &[Figure::ConnectionKib, Figure::RssMib, Figure::IdlePercent],
            Work::Crowd(crowd),
            vec![
                self.field.ours(IdleStrategy::Adaptive, Ack::Stored),
                nats::peer(&self.field, NatsMode::Core),
                redis::peer(&self.field, RedisMode::PubSub),
                mosquitto::peer(&self.field, false),
            ],
        )
    }
}

/// What rows of acknowledgements show.
const ACKS: [Figure; 5] = [
    Figure::PerSecond,
    Figure::P50Us,
    Figure::P99Us,
    Figure::CpuUs,
    Figure::RssMib,
];

fn size(bytes: usize) -> String {
    if bytes < 1024 {
        format!("{bytes} B")
    } else {
        format!("{} KiB", bytes / 1024)
    }
}
