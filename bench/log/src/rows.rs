//! Who is compared at what. No row has one who syncs beside one who does not.

use std::time::Duration;

use bench_harness::row::{Costs, Effort, Idle, Keeps, Pace, Pinning, Waiting};
use bench_harness::{Bar, Contender, Figure, Options, Row};

use crate::appender::{Open, Syncs};
use crate::appenders::{fjall, okaywal, plain, redb, rocksdb, trunkline};
use crate::turns::{self, Backend};
use crate::writers::Writers;

/// All rows; RocksDB takes part where it is installed.
pub fn rows(options: &Options, has_rocksdb: bool) -> Vec<Row> {
    let mut rows: Vec<Row> = [1, 8, 64]
        .into_iter()
        .map(|writers| appends(options, writers, Syncs::Each, has_rocksdb))
        .collect();
    rows.push(appends(options, 1, Syncs::Never, has_rocksdb));
    rows.push(stalls(options));
    rows
}

fn appends(options: &Options, writers: usize, sync: Syncs, has_rocksdb: bool) -> Row {
    let time = Duration::from_millis(if options.quick { 700 } else { 2000 });
    let work = Writers {
        count: writers,
        bytes: 1024,
        sync,
        time,
    };
    let mut stores: Vec<(&str, &str, Open)> = vec![
        (
            "trunkline log",
            "Log over the server's files, group commit by whoever comes first",
            trunkline::open,
        ),
        (
            "plain calls",
            "pwrite to a file that is written already, group commit by whoever comes first",
            plain::open,
        ),
        (
            "fjall",
            "insert, persist(SyncData) for each where it syncs",
            fjall::open,
        ),
        (
            "redb",
            "a transaction for each, Durability::None where it does not sync",
            redb::open,
        ),
    ];
    if has_rocksdb {
        stores.push((
            "RocksDB WAL",
            "defaults: the log written by each put, groups of writers; sync where it syncs",
            rocksdb::open,
        ));
        stores.push((
            "RocksDB WAL, pipelined",
            "as the other, with enable_pipelined_write",
            rocksdb::open_pipelined,
        ));
    }
    if sync == Syncs::Each {
        stores.push((
            "okaywal",
            "defaults: files of 1 MiB, used again and again; an entry of one chunk for each",
            okaywal::open,
        ));
        stores.push((
            "okaywal, 64 MiB",
            "preallocate_bytes and checkpoint_after_bytes 64 MiB, as long as our segments",
            okaywal::open_large,
        ));
    }
    let (name, keeps, about) = match sync {
        Syncs::Each => (
            "synced append",
            Keeps::Synced,
            "every append waits until its record is on the device",
        ),
        Syncs::Never => (
            "append without a sync",
            Keeps::PageCache,
            "an append returns when the system has the record, or the store's memory",
        ),
    };
    let contender = |(name, settings, open): (&'static str, &str, Open)| {
        let data = options.data();
        Contender::new(name, settings, move || work.run(open, &data)).keeping(keeps)
    };
    let peers = if sync == Syncs::Each {
        &["plain calls", "okaywal", "okaywal, 64 MiB"][..]
    } else {
        &[]
    };
    let mut shows = vec![
        Figure::PerSecond,
        Figure::P50Us,
        Figure::P99Us,
        Figure::P999Us,
        Figure::CpuUs,
    ];
    if sync == Syncs::Each {
        shows.push(Figure::PerFlush);
    }
    Row {
        name: format!("{name}, 1 KiB, {writers} writers"),
        about: format!(
            "{about}; CPU is that of the whole process, writers and store; the data is in {}",
            options.data().display()
        ),
        waiting: Waiting::All(Idle::Parks),
        pinning: Pinning::Unpinned,
        pace: Pace::ClosedLoop,
        costs: Costs::NotShown(
            "no memory beside the rate: all stores are opened in turn in one process, which keeps what it was given",
        ),
        shows,
        bars: peers
            .iter()
            .map(|peer| Bar::times("trunkline log", Figure::PerSecond, 1.0, peer))
            .collect(),
        point: None,
        discard_preempted: false,
        effort: effort(options),
        contenders: stores.into_iter().map(contender).collect(),
    }
}

fn stalls(options: &Options) -> Row {
    let time = Duration::from_millis(if options.quick { 1500 } else { 4000 });
    let ours = |backend: Backend| {
        let data = options.data();
        let name = format!("trunkline log, {}", backend.word());
        Contender::new(name, turns::OURS, move || turns::ours(backend, time, &data))
            .keeping(Keeps::PageCache)
    };
    let data = options.data();
    let plain = Contender::new(
        "plain write, another thread syncs",
        turns::PLAIN,
        move || turns::plain(time, &data),
    )
    .keeping(Keeps::PageCache);
    Row {
        name: "turns of a worker at 100 MB/s".into(),
        about: "1 KiB records are appended at 100 MB/s, written and synced all the time; the time of each turn of the \
                appending thread"
            .into(),
        waiting: Waiting::All(Idle::Spins),
        pinning: Pinning::Pinned("the appending thread to one core; what syncs for ours to the other, for the plain write unpinned"),
        pace: Pace::ClosedLoop,
        costs: Costs::NotShown(
            "no CPU and no memory beside the rate, which is that of all: who spins takes the whole core",
        ),
        shows: vec![
            Figure::P9999Us,
            Figure::P50Us,
            Figure::P999Us,
            Figure::MaxUs,
            Figure::PerSecond,
            Figure::FullTurns,
        ],
        bars: vec![Bar::value("trunkline log, epoll", Figure::P9999Us, 200.0)],
        point: None,
        discard_preempted: false,
        effort: effort(options),
        contenders: vec![ours(Backend::Epoll), ours(Backend::Uring), plain],
    }
}

fn effort(options: &Options) -> Effort {
    if options.quick {
        Effort {
            samples: 3,
            rounds: 3,
        }
    } else {
        Effort {
            samples: 7,
            rounds: 14,
        }
    }
}
