//! Who is compared at what.

use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bench_harness::row::{Costs, Effort, Idle, Pace, Pinning, Waiting};
use bench_harness::server::Meter;
use bench_harness::{Bar, Contender, Failure, Figure, Latency, Row, Sample, cores};

use crate::client::{self, Load};
use crate::crowd::{self, Crowd};
use crate::seats;
use crate::servers::{Server, Tuning};
use crate::settings;
use crate::thread_time::ThreadTime;

/// All rows.
pub fn rows(quick: bool) -> Result<Vec<Row>, Failure> {
    if cores::pair().is_none() {
        return Err("two cores are needed".into());
    }
    let rows = Rows { quick };
    Ok(vec![
        rows.round_trip(true),
        rows.round_trip(false),
        rows.many(1),
        rows.many(16),
        rows.crowd(),
    ])
}

struct Rows {
    quick: bool,
}

impl Rows {
    fn row(&self, name: &str, about: &str, shows: &[Figure], contenders: Vec<Contender>) -> Row {
        let effort = if self.quick {
            Effort {
                samples: 3,
                rounds: 3,
            }
        } else {
            Effort {
                samples: 9,
                rounds: 20,
            }
        };
        Row {
            name: name.into(),
            about: about.into(),
            waiting: Waiting::Sides {
                server: Idle::Parks,
                client: Idle::Parks,
            },
            pinning: Pinning::Pinned("server and client to a core each"),
            pace: Pace::ClosedLoop,
            costs: Costs::NotShown(
                "no memory beside the rate: server and client are threads of one process; the row of idle connections has it",
            ),
            shows: shows.to_vec(),
            bars: Vec::new(),
            point: None,
            discard_preempted: false,
            effort,
            contenders,
        }
    }

    fn round_trip(&self, spin: bool) -> Row {
        let tuning = Tuning {
            spin,
            ..Tuning::default()
        };
        let mut servers = vec![Server::Epoll(tuning), Server::Uring(tuning)];
        if spin {
            servers.push(Server::RawSpin);
        } else {
            servers.push(Server::RawEpoll);
            servers.extend(PEERS);
        }
        let rounds = if self.quick { 5_000 } else { 30_000 };
        let contenders = servers
            .iter()
            .map(|server| contender(*server, move |server| round_trips(server, rounds)));
        let (words, idle) = if spin {
            ("both spin", Idle::Spins)
        } else {
            ("the server parks", Idle::Parks)
        };
        let mut row = self.row(
            &format!("echo of 64 B, round trip, {words}"),
            "one connection",
            &[Figure::P50Us, Figure::P99Us, Figure::P999Us],
            contenders.collect(),
        );
        row.waiting = Waiting::Sides {
            server: idle,
            client: Idle::Spins,
        };
        row.costs = Costs::Shown;
        if spin {
            let names = [Server::Epoll(tuning), Server::Uring(tuning)].map(Server::name);
            row.bars = names
                .iter()
                .map(|name| Bar::times(name, Figure::P50Us, 1.2, &Server::RawSpin.name()))
                .collect();
        }
        row
    }

    fn crowd(&self) -> Row {
        let crowd = Crowd {
            connections: 10_000,
        };
        let contenders = crowd::SERVERS.into_iter().map(|server| {
            Contender::new(server.name(), settings::of(server), move || {
                crowd.measure(server)
            })
        });
        let mut row = self.row(
            "10,000 idle connections",
            "each has had one frame of 64 B echoed; resident memory of a server that is a process of its own, without the kernel's for sockets",
            &[Figure::ConnectionKib, Figure::RssMib],
            contenders.collect(),
        );
        row.costs = Costs::Shown;
        // Memory does not vary as time does.
        row.effort = Effort {
            samples: 3,
            rounds: 6,
        };
        row
    }

    fn many(&self, depth: usize) -> Row {
        let tuning = Tuning::default();
        let mut servers = vec![
            Server::Epoll(tuning),
            Server::Uring(tuning),
            Server::RawEpoll,
        ];
        servers.extend(PEERS);
        let time = Duration::from_millis(if self.quick { 300 } else { 1000 });
        let contenders = servers
            .iter()
            .map(|server| contender(*server, move |server| load(server, depth, time)));
        let mut row = self.row(
            &format!("echo of 64 B, 64 connections, {depth} in flight on each"),
            "CPU is that of the server's thread",
            &[Figure::CpuUs, Figure::PerSecond],
            contenders.collect(),
        );
        // What `Auto` picks, here and by decision 0401; the raw loop is a bound, not a reactor.
        let name = Server::Epoll(tuning).name();
        let bar = |peer: Server| Bar::times(&name, Figure::CpuUs, 1.0, &peer.name());
        row.bars = PEERS.into_iter().map(bar).collect();
        row
    }
}

const PEERS: [Server; 5] = [
    Server::Mio,
    Server::Tokio,
    Server::Monoio,
    Server::Compio,
    Server::Glommio,
];

fn contender(
    server: Server,
    run: impl Fn(Server) -> Result<Sample, Failure> + 'static,
) -> Contender {
    let run = move || {
        let pair = seats();
        let before = cores::crossing_ns(pair);
        let mut sample = cores::on_core(Some(pair[1]), || run(server))?;
        sample.crossing_ns = [before, cores::crossing_ns(pair)];
        Ok(sample)
    };
    Contender::new(server.name(), settings::of(server), run)
}

fn round_trips(server: Server, rounds: usize) -> Result<Sample, Failure> {
    let (address, thread) = start(server, 1);
    let meter = Meter::start(None);
    let trips = client::ping(address, rounds / 5, rounds)?;
    let reading = meter.read(None);
    ended(thread)?;
    let mut latency = Latency::default();
    trips.iter().for_each(|ns| latency.record(*ns));
    let mut sample = Sample::default().with_latency(latency);
    sample.others_percent = reading.others_percent;
    Ok(sample)
}

fn load(server: Server, depth: usize, time: Duration) -> Result<Sample, Failure> {
    const CONNECTIONS: usize = 64;
    let (address, thread) = start(server, CONNECTIONS);
    let clock = ThreadTime::of(&thread);
    let mut load = Load::connect(address, CONNECTIONS, depth)?;
    load.run(time / 3)?;
    let (meter, before, begin) = (Meter::start(None), clock.read(), Instant::now());
    let messages = load.run(time)? as f64;
    let (wall, cpu) = (begin.elapsed(), clock.read() - before);
    let reading = meter.read(None);
    load.close()?;
    ended(thread)?;
    let mut sample = Sample::default()
        .with(Figure::CpuUs, cpu.as_secs_f64() * 1e6 / messages)
        .with(Figure::PerSecond, messages / wall.as_secs_f64());
    sample.others_percent = reading.others_percent;
    Ok(sample)
}

/// Waits for a server whose connections are closed. One that has failed its client is left alone: it may never end.
fn ended(thread: JoinHandle<()>) -> Result<(), Failure> {
    thread
        .join()
        .map_err(|_| "a call of the server failed; see above".into())
}

/// A server on a thread of its own, for so many connections.
pub fn start(server: Server, connections: usize) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let core = seats()[0];
    let thread = std::thread::spawn(move || {
        trunkline_reactor::pin_current_thread(core).unwrap();
        server.serve(listener, connections);
    });
    (address, thread)
}
