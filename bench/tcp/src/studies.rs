//! What decided between ways of doing it in our reactor, rather than between us and others; `docs/decision/` quotes it.
//!
//! ```text
//! bench-tcp study latency  [ROUNDS]          one connection, both sides spin: p50 and p99 against the raw non-blocking loop
//! bench-tcp study features [ROUNDS] [MS]     CPU per message for each feature of the io_uring back-end, and for pools of several sizes
//! bench-tcp study turns    [ROUNDS] [MS]     the same for how many sockets the readiness back-end serves in one turn
//! bench-tcp study choice   [ROUNDS] [MS]     what decides between the back-ends: parked round trip, 1, 64 and 512 connections
//! bench-tcp study files    [ROUNDS] [FOLDER] one synced kilobyte at a time: every way to write, against the plain calls
//! ```
//! Server and client are threads pinned to different cores. Servers are measured in turn, again and again; figures are
//! medians with the smallest and the largest, ratios are medians of per-round ratios.

use std::time::Duration;

use crate::client::{self, Load};
use crate::rows::start;
use crate::seats;
use crate::servers::{Server, Tuning};
use crate::thread_time::ThreadTime;

/// Runs one of them.
pub fn run(words: &[String]) {
    let mut args = words.iter().cloned();
    let what = args.next().unwrap_or_default();
    let mut number = |default: u64| {
        args.next()
            .map_or(default, |text| text.parse().expect("a number"))
    };
    let rounds = number(7) as usize;
    let plain = Tuning::default();
    let spin = Tuning {
        spin: true,
        ..plain
    };
    trunkline_reactor::pin_current_thread(seats()[1]).unwrap();
    match what.as_str() {
        "latency" => latency(
            &[
                Server::RawSpin,
                Server::Epoll(spin),
                Server::Uring(spin),
                Server::Uring(Tuning {
                    queued_sends: true,
                    ..spin
                }),
            ],
            rounds,
        ),
        "features" => {
            let slice = Duration::from_millis(number(300));
            let servers = [
                Server::Mio,
                Server::Epoll(plain),
                Server::Uring(plain),
                Server::Uring(Tuning {
                    registered_files: true,
                    ..plain
                }),
                Server::Uring(Tuning {
                    zero_copy: true,
                    ..plain
                }),
                Server::Uring(Tuning {
                    buffers: Some((64, 4096)),
                    ..plain
                }),
                Server::Uring(Tuning {
                    buffers: Some((128, 32768)),
                    ..plain
                }),
                Server::Uring(Tuning {
                    buffers: Some((256, 16384)),
                    ..plain
                }),
                Server::Epoll(Tuning {
                    buffers: Some((256, 16384)),
                    ..plain
                }),
            ];
            cpu(&servers, 64, 1, rounds, slice);
            cpu(&servers, 64, 16, rounds, slice);
            latency(
                &[
                    Server::RawSpin,
                    Server::Uring(spin),
                    Server::Uring(Tuning {
                        registered_files: true,
                        ..spin
                    }),
                    Server::Uring(Tuning {
                        zero_copy: true,
                        ..spin
                    }),
                    Server::Uring(Tuning {
                        sqpoll: true,
                        ..spin
                    }),
                ],
                rounds,
            );
        }
        "turns" => {
            let slice = Duration::from_millis(number(300));
            let turns = |sockets| {
                Server::Epoll(Tuning {
                    sockets_per_turn: Some(sockets),
                    ..plain
                })
            };
            let servers = [
                Server::Mio,
                turns(1),
                turns(4),
                turns(8),
                turns(16),
                turns(32),
                turns(1024),
            ];
            cpu(&servers, 64, 1, rounds, slice);
            cpu(&servers, 64, 16, rounds, slice);
        }
        "choice" => {
            let slice = Duration::from_millis(number(300));
            let queued = Tuning {
                queued_sends: true,
                ..plain
            };
            let servers = [
                Server::Mio,
                Server::Epoll(plain),
                Server::Uring(plain),
                Server::Uring(queued),
            ];
            latency(&servers, rounds);
            cpu(&servers, 1, 1, rounds, slice);
            cpu(&servers, 64, 1, rounds, slice);
            cpu(&servers, 64, 16, rounds, slice);
            cpu(&servers, 512, 1, rounds, slice);
        }
        "files" => {
            let folder = args
                .next()
                .map_or_else(std::env::temp_dir, Into::into)
                .join("bench-tcp-files");
            std::fs::create_dir_all(&folder).unwrap();
            sync_cases(&folder, rounds);
            std::fs::remove_dir_all(&folder).unwrap();
        }
        // For a profiler: `bench-tcp study one-epoll` keeps one server busy.
        "one-mio" => cpu(&[Server::Mio], 64, 1, rounds, Duration::from_secs(1)),
        "one-epoll" => cpu(
            &[Server::Epoll(plain)],
            64,
            1,
            rounds,
            Duration::from_secs(1),
        ),
        "one-uring" => cpu(
            &[Server::Uring(plain)],
            64,
            1,
            rounds,
            Duration::from_secs(1),
        ),
        other => panic!("{other}: latency, features, turns, choice or files"),
    }
}

fn latency(servers: &[Server], rounds: usize) {
    println!("one connection, 64 B, the client spins: round trip in µs");
    let mut p50s = vec![Vec::new(); servers.len()];
    let mut p99s = vec![Vec::new(); servers.len()];
    for _ in 0..rounds {
        for (place, server) in servers.iter().enumerate() {
            let (address, thread) = start(*server, 1);
            let mut trips = client::ping(address, 2_000, 10_000).unwrap();
            thread.join().unwrap();
            trips.sort_unstable();
            p50s[place].push(trips[trips.len() / 2] as f64 / 1000.0);
            p99s[place].push(trips[trips.len() * 99 / 100] as f64 / 1000.0);
        }
    }
    for (place, server) in servers.iter().enumerate() {
        let (p50, p99) = (spread(&p50s[place]), spread(&p99s[place]));
        let ratio = spread(&ratios(&p50s[place], &p50s[0]));
        println!(
            "  {:<44} p50 {p50}   p99 {p99}   p50 / {} {ratio}",
            server.name(),
            servers[0].name()
        );
    }
}

fn sync_cases(folder: &std::path::Path, rounds: usize) {
    use crate::files::{Case, Way};
    let case = |way, uring, direct, spin| Case {
        way,
        uring,
        direct,
        spin,
    };
    let mut cases = vec![
        case(Way::PlainSync, false, false, false),
        case(Way::PlainDsync, false, false, false),
        case(Way::PlainDsync, false, true, false),
    ];
    for spin in [false, true] {
        for uring in [false, true] {
            cases.push(case(Way::OneOp, uring, false, spin));
            cases.push(case(Way::InlineThenSync, uring, false, spin));
            cases.push(case(Way::OneOp, uring, true, spin));
        }
    }
    println!("one synced 1 KiB write at a time: µs");
    let mut p50s = vec![Vec::new(); cases.len()];
    let mut p99s = vec![Vec::new(); cases.len()];
    for _ in 0..rounds {
        for (place, case) in cases.iter().enumerate() {
            let mut times = case.run(folder, 500);
            times.sort_by(f64::total_cmp);
            p50s[place].push(times[times.len() / 2]);
            p99s[place].push(times[times.len() * 99 / 100]);
        }
    }
    for (place, case) in cases.iter().enumerate() {
        let ratio = spread(&ratios(&p50s[place], &p50s[0]));
        let (p50, p99) = (spread(&p50s[place]), spread(&p99s[place]));
        println!(
            "  {:<52} p50 {p50}   p99 {p99}   / the first {ratio}",
            case.name()
        );
    }
}

fn cpu(servers: &[Server], connections: usize, depth: usize, rounds: usize, slice: Duration) {
    println!(
        "{connections} connections, 64 B, {depth} in flight on each, the server parks: µs of its CPU per message"
    );
    let mut running: Vec<_> = servers
        .iter()
        .map(|server| {
            let (address, thread) = start(*server, connections);
            let time = ThreadTime::of(&thread);
            let mut load = Load::connect(address, connections, depth).unwrap();
            load.run(slice / 3).unwrap();
            (load, time, thread)
        })
        .collect();
    let mut costs = vec![Vec::new(); servers.len()];
    let mut rates = vec![Vec::new(); servers.len()];
    for _ in 0..rounds {
        for (place, (load, time, _)) in running.iter_mut().enumerate() {
            let (before, start) = (time.read(), std::time::Instant::now());
            let messages = load.run(slice).unwrap();
            costs[place].push((time.read() - before).as_secs_f64() * 1e6 / messages as f64);
            rates[place].push(messages as f64 / start.elapsed().as_secs_f64() / 1e3);
        }
    }
    for (load, _, thread) in running {
        drop(load);
        thread.join().unwrap();
    }
    for (place, server) in servers.iter().enumerate() {
        let ratio = spread(&ratios(&costs[place], &costs[0]));
        let (cost, rate) = (spread(&costs[place]), spread(&rates[place]));
        println!(
            "  {:<44} {cost}   / {} {ratio}   k/s {rate}",
            server.name(),
            servers[0].name()
        );
    }
}

fn ratios(of: &[f64], to: &[f64]) -> Vec<f64> {
    of.iter().zip(to).map(|(of, to)| of / to).collect()
}

/// `median [smallest-largest]`.
fn spread(values: &[f64]) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let digits = if sorted[0] < 20.0 { 3 } else { 0 };
    let median = sorted[sorted.len() / 2];
    format!(
        "{median:.digits$} [{:.digits$}-{:.digits$}]",
        sorted[0],
        sorted[sorted.len() - 1]
    )
}
