//! Seeking by sequence and by time; streams without files.

use trunkline_log::{Log, LogConfig, LogId, Loss, Retention, Run, Seek, Storage};

use crate::world::{SECOND, World, small};

fn filled(seed: u64) -> World {
    let mut world = World::new(small(), seed);
    for n in 0..2500 {
        world.append_waiting(["a", "b"][n % 2], n % 400);
        world.advance(1_000_000 * (n as u64 % 3));
    }
    world.sync_all();
    world
}

#[test]
fn every_sequence_can_be_sought_hot_and_cold() {
    let mut world = filled(1);
    for reopened in [false, true] {
        for sequence in (1..=2500).step_by(61).chain([2500, 2499, 2, 1]) {
            let Seek::At(cursor) = world.log.seek(sequence) else {
                panic!("it is kept")
            };
            assert_eq!(cursor.sequence(), sequence);
            let read = world.read(cursor, world.log.received(), 3000);
            assert_eq!(
                read,
                (sequence..=2500).collect::<Vec<_>>(),
                "reopened: {reopened}"
            );
        }
        assert_eq!(world.log.seek(2501), Seek::At(world.log.seek_end()));
        assert_eq!(
            world.log.seek(2502),
            Seek::OutOfRange {
                first: 1,
                last: 2500
            }
        );
        assert_eq!(
            world.log.seek(0),
            Seek::OutOfRange {
                first: 1,
                last: 2500
            }
        );
        assert_eq!(world.log.seek_last().sequence(), 2500);
        world.reopen().expect("in order");
    }
}

#[test]
fn a_time_leads_to_the_first_record_that_is_not_older() {
    let mut world = filled(2);
    let start = world.told[0].timestamp_ns;
    for time in (0..2600)
        .map(|n| start - 1000 + n * 1_000_000)
        .step_by(37)
        .chain([0, start, start + 1])
    {
        let expected = world.told.iter().position(|told| told.timestamp_ns >= time);
        let cursor = world.log.seek_time(time);
        let read = world.read(cursor, world.log.received(), 10_000);
        assert_eq!(
            read.first().copied(),
            expected.map(|nth| nth as u64 + 1),
            "time {time}"
        );
        assert_eq!(read.len(), expected.map_or(0, |nth| 2500 - nth));
    }
    // A time to come: what is older is passed over when it arrives.
    let cursor = world.log.seek_time(world.now.wall_ns + SECOND);
    world.append_waiting("a", 10);
    world.advance(SECOND);
    world.append_waiting("a", 10);
    assert_eq!(world.read(cursor, world.log.received(), 1000), [2502]);
}

#[test]
fn readers_see_only_what_they_may() {
    let mut world = World::new(small(), 3);
    let cursor = world.log.seek_first();
    world.append("a", 10).expect("room");
    assert_eq!(world.read(cursor, world.log.stored(), 1000), []);
    world.settle();
    assert_eq!(world.read(cursor, world.log.stored(), 1000), [1]);
    assert_eq!(world.read(cursor, world.log.synced(), 1000), []);
}

#[test]
fn a_run_has_at_least_one_record() {
    let mut world = World::new(small(), 4);
    for _ in 0..10 {
        world.append("a", 500).expect("room");
    }
    world.settle();
    let mut cursor = world.log.seek_first();
    let mut runs = 0;
    while let Run::Hot { records, next, .. } =
        world
            .log
            .read(&cursor, world.log.stored(), 1, &mut world.queue)
    {
        assert!(records <= 1);
        cursor = next;
        runs += 1;
    }
    assert!(
        (10..=11).contains(&runs),
        "ten records, and the definition in front of the first"
    );
}

#[test]
fn a_record_longer_than_a_read_comes_whole() {
    let mut world = World::new(
        LogConfig {
            read_bytes: 4096,
            ..small()
        },
        5,
    );
    for n in 0..200 {
        world.append_waiting("a", if n % 3 == 0 { 8000 } else { 100 });
    }
    world.sync_all();
    world.reopen().expect("in order");
    world.read_all();
}

#[test]
fn a_stream_in_memory_keeps_the_newest() {
    let config = LogConfig {
        storage: Storage::Memory,
        ..small()
    };
    let mut world = World::new(config, 6);
    let early = world.log.seek_first();
    for _ in 0..3000 {
        world.append("a", 300).expect("the oldest make room");
    }
    assert_eq!(
        (world.log.stored(), world.log.synced()),
        (world.log.received(), world.log.received())
    );
    let first = world.log.first().sequence;
    assert!(first > 1000 && first < 3000);
    assert!(world.log.bytes_kept() > 100 << 10);
    world.flush();
    assert!(world.queue.requests.is_empty());
    let read = world.read(early, world.log.received(), 1 << 16);
    assert_eq!(world.lost, [(1, first - 1, Loss::Removed)]);
    assert_eq!(read, (first..=3000).collect::<Vec<_>>());
    let Seek::At(cursor) = world.log.seek(2500) else {
        panic!("it is kept")
    };
    assert_eq!(world.read(cursor, world.log.received(), 1 << 16).len(), 501);
}

#[test]
fn a_stream_in_memory_can_keep_less() {
    let retention = Retention {
        records_max: Some(100),
        age_ns_max: Some(10 * SECOND),
        ..Retention::default()
    };
    let mut world = World::new(
        LogConfig {
            storage: Storage::Memory,
            retention,
            ..small()
        },
        7,
    );
    for _ in 0..1000 {
        world.append("a", 1000).expect("room");
        world.advance(SECOND / 1000);
    }
    world.advance(2 * SECOND);
    world.flush();
    let kept = world.log.received().sequence - world.log.first().sequence;
    assert!((100..200).contains(&kept), "{kept}");
}

#[test]
fn settings_that_do_not_fit_are_refused_with_the_numbers() {
    let refusal = |config: LogConfig| {
        Log::open_in_memory(LogId(0), &config)
            .expect_err("refused")
            .to_string()
    };
    let text = refusal(LogConfig {
        tail_bytes: 1000,
        ..small()
    });
    assert!(
        text.contains("1000") && text.contains("power of two"),
        "{text}"
    );
    let text = refusal(LogConfig {
        record_bytes_max: 200_000,
        ..small()
    });
    assert!(text.contains("200000") && text.contains("262144"), "{text}");
    let retention = Retention {
        bytes_max: Some(100_000),
        ..Retention::default()
    };
    let text = LogConfig {
        retention,
        ..small()
    }
    .check()
    .expect_err("refused")
    .to_string();
    assert!(text.contains("100000") && text.contains("65536"), "{text}");
    LogConfig::default().check().expect("the defaults fit");
}

#[test]
fn subjects_are_bounded_and_survive() {
    let mut world = World::new(small(), 8);
    for n in 0..100 {
        world.append_waiting(&format!("subject.{n}"), 200);
    }
    assert!(world.log.define("one.more").is_err());
    assert!(world.log.define("").is_err() && world.log.define(&"x".repeat(256)).is_err());
    for n in 0..3000 {
        world.append_waiting(&format!("subject.{}", n % 7), 200);
    }
    world.sync_all();
    let ids: Vec<_> = (0..100)
        .map(|n| world.log.subject_id(&format!("subject.{n}")))
        .collect();
    world.reopen().expect("in order");
    let again: Vec<_> = (0..100)
        .map(|n| world.log.subject_id(&format!("subject.{n}")))
        .collect();
    assert_eq!(
        ids, again,
        "ids keep their meaning while a segment uses them"
    );
    world.read_all();
}

#[test]
fn a_stream_with_smaller_segments_keeps_them_and_refuses_what_they_cannot_hold() {
    let mut world = World::new(small(), 9);
    world.append_waiting("a", 100);
    world.sync_all();
    world.config = LogConfig {
        segment_bytes: 1 << 20,
        tail_bytes: 1 << 20,
        record_bytes_max: 100 << 10,
        ..small()
    };
    world.reopen().expect("it keeps what it has");
    assert_eq!(world.log.config().segment_bytes, 64 << 10);
    let refused = world.append("a", 20 << 10);
    assert!(
        matches!(refused, Err(trunkline_log::AppendError::TooLarge { .. })),
        "{refused:?}"
    );
    for _ in 0..50 {
        world.append_waiting("a", 15 << 10);
    }
    world.sync_all();
    world.reopen().expect("in order");
    world.read_all();
}
