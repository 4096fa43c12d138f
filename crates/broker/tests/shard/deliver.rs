//! What subscribers get: when, from where on, which of it.

use trunkline_broker::{Limits, ShardConfig};
use trunkline_log::{LogConfig, Request, Storage};
use trunkline_wire::{AckLevel, ErrorCode, GapReason, Positions, Start, Subscribe};

use crate::world::{Got, World, request, retention, session, small_log};

/// Numbers of records as text.
fn numbers(records: Vec<(u64, String)>) -> Vec<u64> {
    records
        .into_iter()
        .map(|(_, body)| body.trim_end_matches('.').parse().unwrap())
        .collect()
}

fn storages() -> [(Storage, AckLevel); 2] {
    [
        (Storage::Files, AckLevel::Stored),
        (Storage::Memory, AckLevel::Received),
    ]
}

#[test]
fn a_subscriber_gets_what_is_published_in_order() {
    for (storage, level) in storages() {
        let mut world = World::new();
        world.add("main", 0, &[">"], level, small_log(storage));
        let (producer, subscriber) = (world.open(1), world.open(2));
        assert_eq!(world.subscribe(subscriber, 7, ">", Start::New), 1);
        world.fill(producer, "a", 500, 64);
        let got = world.got(subscriber);
        let expected = Got::Subscribed {
            channel: 0,
            subscription: 7,
            stream: "main".into(),
            next: 1,
            first: 1,
            last: 0,
        };
        assert_eq!(got[0], expected);
        let records: Vec<_> = got
            .into_iter()
            .filter_map(crate::world::as_record)
            .collect();
        assert!(records.iter().map(|(sequence, _)| *sequence).eq(1..=500));
        assert!(numbers(records).into_iter().eq(0..500));
    }
}

#[test]
fn nobody_sees_a_record_before_it_is_at_its_streams_level() {
    for level in [AckLevel::Stored, AckLevel::Synced] {
        let mut world = World::new();
        world.add("main", 0, &[">"], level, small_log(Storage::Files));
        let (producer, subscriber) = (world.open(1), world.open(2));
        world.subscribe(subscriber, 1, ">", Start::First);
        // Also when the publisher asks for less.
        world.publish_at(producer, AckLevel::Received, &[("a", b"1")]);
        for _ in 0..10 {
            world.turn();
            world.send();
        }
        assert!(world.records(subscriber).is_empty());
        let mut steps = 0;
        while world.records(subscriber).is_empty() {
            let log = world.shard.log(trunkline_log::LogId(0)).unwrap();
            let reached = if level == AckLevel::Stored {
                log.stored()
            } else {
                log.synced()
            };
            assert_eq!(reached.sequence, 1, "it is at its level and not seen");
            assert!(world.answer_disk(1) == 1);
            world.turn();
            world.send();
            steps += 1;
        }
        assert!(steps >= 1);
    }
}

#[test]
fn a_stream_that_says_so_shows_records_as_soon_as_they_are_received() {
    let mut world = World::new();
    world
        .try_add(
            "main",
            0,
            &[">"],
            AckLevel::Synced,
            AckLevel::Received,
            small_log(Storage::Files),
        )
        .unwrap();
    let (producer, subscriber) = (world.open(1), world.open(2));
    world.subscribe(subscriber, 1, ">", Start::New);
    world.publish(producer, &[("a", b"1")]);
    world.turn();
    world.send();
    assert_eq!(world.records(subscriber), [(1, "1".into())]);
    assert_eq!(world.acks(producer), [], "the ack waits for its level");
    world.settle();
    assert_eq!(world.acks(producer).len(), 1);
}

#[test]
fn a_subscription_starts_where_it_asks() {
    for (storage, level) in storages() {
        let starts = |times: &[u64]| {
            [
                (Start::New, 11),
                (Start::First, 1),
                (Start::Last, 10),
                (Start::Sequence(4), 4),
                (Start::Sequence(0), 1),
                (Start::Sequence(11), 11),
                (Start::Sequence(100), 11),
                (Start::Time(times[6]), 7),
                (Start::Time(times[6] - 1), 7),
                (Start::Time(times[6] + 1), 8),
                (Start::Time(times[9] + 1), 11),
                (Start::Time(0), 1),
            ]
        };
        for nth in 0..12 {
            let mut world = World::new();
            world.add("main", 0, &[">"], level, small_log(storage));
            let producer = world.open(1);
            let mut times = Vec::new();
            for number in 1..=10_u64 {
                world.advance(10);
                times.push(world.now.wall_ns);
                world.publish(producer, &[("a", number.to_string().as_bytes())]);
                world.settle();
            }
            let (start, first) = starts(&times)[nth];
            let subscriber = world.open(2);
            world.subscribe(subscriber, 1, ">", start);
            world.advance(10);
            world.publish(producer, &[("a", b"11")]);
            world.settle();
            assert!(
                world.sequences(subscriber).into_iter().eq(first..=11),
                "{start:?} on {storage:?}"
            );
        }
    }
}

#[test]
fn a_start_that_is_gone_is_told_with_a_gap() {
    let mut world = World::new();
    let config = LogConfig {
        retention: retention(4),
        ..small_log(Storage::Files)
    };
    world.add("main", 0, &[">"], AckLevel::Stored, config);
    let producer = world.open(1);
    world.fill(producer, "a", 1000, 1000);
    world.advance(5_000);
    world.settle();
    let first = world.shard.stream_info("main").unwrap().first_sequence;
    assert!(first > 100, "{first}");
    let subscriber = world.open(2);
    world.subscribe(subscriber, 1, ">", Start::Sequence(50));
    world.settle();
    let got = world.got(subscriber);
    assert_eq!(
        got[1],
        Got::Gap {
            channel: 0,
            first: 50,
            last: first - 1,
            reason: GapReason::Retention
        }
    );
    let sequences: Vec<u64> = got
        .into_iter()
        .filter_map(crate::world::as_record)
        .map(|(n, _)| n)
        .collect();
    assert!(sequences.into_iter().eq(first..=1000));
}

#[test]
fn a_replay_from_files_is_complete_and_goes_over_into_live_records() {
    let mut world = World::with_main();
    let producer = world.open(1);
    world.fill(producer, "a", 1000, 1000);
    let subscriber = world.open(2);
    world.subscribe(subscriber, 1, ">", Start::First);
    world.fill(producer, "a", 100, 1000);
    assert!(world.sequences(subscriber).into_iter().eq(1..=1100));
    assert_eq!(world.buffers_out(), 0, "every buffer was given back");
}

#[test]
fn a_narrow_pattern_gets_its_records_and_the_definitions_they_need() {
    for (storage, level) in storages() {
        let mut world = World::new();
        world.add("main", 0, &[">"], level, small_log(storage));
        let (producer, subscriber) = (world.open(1), world.open(2));
        world.publish(
            producer,
            &[
                ("orders.eu", b"1"),
                ("orders.us", b"2"),
                ("other", b"3"),
                ("orders.eu", b"4"),
            ],
        );
        world.settle();
        world.subscribe(subscriber, 1, "orders.*", Start::First);
        world.publish(
            producer,
            &[
                ("other", b"5"),
                ("orders.jp", b"6"),
                ("orders.us", b"7"),
                ("orders.jp.x", b"8"),
            ],
        );
        world.settle();
        let got: Vec<_> = world.got(subscriber).split_off(1);
        let expected: Vec<Got> = [(1, "eu"), (2, "us"), (4, "eu"), (6, "jp"), (7, "us")]
            .map(|(sequence, region)| Got::Record {
                channel: 0,
                sequence,
                subject: format!("orders.{region}"),
                body: sequence.to_string().into(),
            })
            .into();
        assert_eq!(got, expected);
    }
}

#[test]
fn a_narrow_pattern_over_many_records_hot_and_cold_misses_none() {
    let mut world = World::with_main();
    let producer = world.open(1);
    let live = world.open(2);
    world.subscribe(live, 1, "s.3", Start::New);
    for nth in 0..3000_u64 {
        let body = vec![b'x'; (nth % 700) as usize];
        world.publish(producer, &[(&format!("s.{}", nth % 7), &body)]);
        if nth % 50 == 0 {
            world.settle();
        }
    }
    world.settle();
    let expected: Vec<u64> = (0..3000).filter(|n| n % 7 == 3).map(|n| n + 1).collect();
    assert_eq!(world.sequences(live), expected);
    let late = world.open(3);
    world.subscribe(late, 1, "s.3", Start::First);
    world.settle();
    assert_eq!(world.sequences(late), expected);
    assert_eq!(world.buffers_out(), 0);
}

#[test]
fn long_stretches_of_a_narrow_pattern_are_not_copied_together() {
    let mut world = World::with_volatile_main();
    let (producer, subscriber) = (world.open(1), world.open(2));
    world.subscribe(subscriber, 1, "a", Start::New);
    let body = [1; 3000];
    world.publish(
        producer,
        &[
            ("a", &body),
            ("a", &body),
            ("b", &body),
            ("a", b"short"),
            ("b", b""),
            ("a", b"short"),
        ],
    );
    world.turn();
    // The definition, a span of two, a copy of two.
    assert_eq!(world.out.frames, 3);
    world.settle();
    assert_eq!(world.sequences(subscriber), [1, 2, 4, 6]);
}

#[test]
fn credit_bounds_what_is_delivered() {
    for pattern in [">", "a"] {
        let mut world = World::with_main();
        let (producer, subscriber) = (world.open(1), world.open(2));
        world
            .subscribe_with(
                subscriber,
                &Subscribe {
                    credit_bytes: 0,
                    ..request(1, pattern)
                },
            )
            .unwrap();
        world.fill(producer, "a", 50, 64);
        assert!(world.records(subscriber).is_empty());
        let record = 40 + 64;
        let mut given = 0;
        let mut seen = 0;
        for _ in 0..200 {
            world.credit(subscriber, 0, 300);
            given += 300;
            world.settle();
            let bytes = world
                .out
                .delivered_bytes
                .get(&(subscriber, 0))
                .copied()
                .unwrap_or(0);
            assert!(
                bytes <= given + record,
                "{bytes} bytes for a credit of {given}"
            );
            seen += world.records(subscriber).len();
        }
        assert_eq!(seen, 50);
    }
}

#[test]
fn a_record_larger_than_the_credit_passes_alone() {
    let mut world = World::with_main();
    let (producer, subscriber) = (world.open(1), world.open(2));
    world
        .subscribe_with(
            subscriber,
            &Subscribe {
                credit_bytes: 1 << 20,
                ..request(1, ">")
            },
        )
        .unwrap();
    world.publish(
        producer,
        &[("a", b"so that the definition is out of the way")],
    );
    world.settle();
    world.close(subscriber);
    let subscriber = world.open(3);
    world
        .subscribe_with(
            subscriber,
            &Subscribe {
                credit_bytes: 100,
                ..request(1, ">")
            },
        )
        .unwrap();
    world.publish(producer, &[("a", &[1; 5000]), ("a", &[2; 5000])]);
    world.settle();
    assert_eq!(world.sequences(subscriber).len(), 1);
    world.credit(subscriber, 0, 4900);
    world.settle();
    assert_eq!(
        world.records(subscriber).len(),
        0,
        "the debt is not paid back"
    );
    world.credit(subscriber, 0, 200);
    world.settle();
    assert_eq!(world.records(subscriber).len(), 1);
}

#[test]
fn what_is_on_its_way_to_a_session_is_bounded_and_goes_on_when_it_has_left() {
    let mut world = World::with_limits(Limits {
        session_in_flight_bytes: 4000,
        run_bytes: 4000,
        ..Limits::default()
    });
    world.add(
        "main",
        0,
        &[">"],
        AckLevel::Received,
        small_log(Storage::Memory),
    );
    let (producer, subscriber) = (world.open(1), world.open(2));
    world.subscribe(subscriber, 1, ">", Start::New);
    world.subscribe(subscriber, 2, "a", Start::New);
    world.stuck.insert(subscriber);
    for _ in 0..50 {
        world.publish(producer, &[("a", &[1; 1000])]);
        world.turn();
    }
    assert!(
        world.in_flight(subscriber) <= 8,
        "{}",
        world.in_flight(subscriber)
    );
    world.stuck.clear();
    world.settle();
    let mut sequences = world.sequences(subscriber);
    assert_eq!(sequences.len(), 100);
    sequences.sort_unstable();
    sequences.dedup();
    assert!(sequences.into_iter().eq(1..=50));
}

#[test]
fn every_subscriber_gets_every_record_once() {
    let mut world = World::with_main();
    let producer = world.open(1);
    let subscribers: Vec<_> = (10..40).map(|slot| world.open(slot)).collect();
    for subscriber in &subscribers {
        world.subscribe(*subscriber, 1, ">", Start::New);
    }
    world.fill(producer, "a", 300, 200);
    for subscriber in subscribers {
        assert!(world.sequences(subscriber).into_iter().eq(1..=300));
    }
}

#[test]
fn a_subscription_over_several_streams_has_a_channel_for_each_also_for_those_that_come_later() {
    let mut world = World::new();
    world.add(
        "left",
        0,
        &["l.>"],
        AckLevel::Received,
        small_log(Storage::Memory),
    );
    world.add(
        "right",
        1,
        &["r.>"],
        AckLevel::Received,
        small_log(Storage::Memory),
    );
    world.add(
        "no",
        2,
        &["n.>"],
        AckLevel::Received,
        small_log(Storage::Memory),
    );
    let (producer, subscriber) = (world.open(1), world.open(2));
    assert_eq!(world.subscribe(subscriber, 1, "*.x", Start::New), 3);
    assert_eq!(world.subscribe(subscriber, 2, "l.>", Start::New), 1);
    assert_eq!(world.subscribe(subscriber, 3, "later.x", Start::New), 0);
    world.add(
        "later",
        3,
        &["later.>"],
        AckLevel::Received,
        small_log(Storage::Memory),
    );
    world.publish(
        producer,
        &[
            ("l.x", b"1"),
            ("r.x", b"2"),
            ("n.y", b"3"),
            ("later.x", b"4"),
        ],
    );
    world.settle();
    let mut got: Vec<(u16, String)> = world
        .got(subscriber)
        .into_iter()
        .filter_map(|got| match got {
            Got::Record {
                channel, subject, ..
            } => Some((channel, subject)),
            _ => None,
        })
        .collect();
    got.sort();
    let expected = [
        (0, "l.x"),
        (1, "r.x"),
        (3, "l.x"),
        (4, "later.x"),
        (5, "later.x"),
    ];
    assert_eq!(
        got,
        expected.map(|(channel, subject)| (channel, subject.to_owned()))
    );
}

#[test]
fn a_subscription_to_one_stream_gets_nothing_of_others() {
    let mut world = World::new();
    world.add(
        "left",
        0,
        &["l.>"],
        AckLevel::Received,
        small_log(Storage::Memory),
    );
    world.add(
        "right",
        1,
        &["r.>"],
        AckLevel::Received,
        small_log(Storage::Memory),
    );
    let subscriber = world.open(2);
    let only = Subscribe {
        stream: "right",
        ..request(1, ">")
    };
    assert_eq!(world.subscribe_with(subscriber, &only), Ok(1));
    let producer = world.open(1);
    world.publish(producer, &[("l.x", b"1"), ("r.x", b"2")]);
    world.settle();
    assert_eq!(world.records(subscriber), [(1, "2".into())]);
}

#[test]
fn a_client_that_comes_back_goes_on_where_it_stood_and_gets_the_rest_from_where_it_says() {
    let mut world = World::new();
    let names = ["left", "right", "fresh"];
    for (id, name) in names.into_iter().enumerate() {
        let (pattern, log) = (format!("{name}.>"), small_log(Storage::Memory));
        world.add(name, id as u32, &[&pattern], AckLevel::Received, log);
    }
    let producer = world.open(1);
    for nth in 1..=3 {
        let body = format!("{nth}");
        for subject in ["left.x", "right.x", "fresh.x"] {
            world.publish(producer, &[(subject, body.as_bytes())]);
        }
    }
    world.settle();
    let mut positions = Vec::new();
    for (stream, next) in [("left", 3), ("gone", 9), ("right", 4)] {
        Positions::push(&mut positions, stream, next).unwrap();
    }
    let subscriber = world.open(2);
    let back = Subscribe {
        start: Start::First,
        positions: Positions::new(&positions).unwrap(),
        ..request(1, ">")
    };
    assert_eq!(world.subscribe_with(subscriber, &back), Ok(3));
    world.settle();
    let mut nexts: Vec<(String, u64)> = Vec::new();
    let mut records = Vec::new();
    for got in world.got(subscriber) {
        match got {
            Got::Subscribed { stream, next, .. } => nexts.push((stream, next)),
            Got::Record {
                subject, sequence, ..
            } => records.push((subject, sequence)),
            other => panic!("{other:?}"),
        }
    }
    nexts.sort();
    records.sort();
    let expected = [("fresh", 1), ("left", 3), ("right", 4)];
    assert_eq!(nexts, expected.map(|(name, next)| (name.to_owned(), next)));
    let expected = [
        ("fresh.x", 1),
        ("fresh.x", 2),
        ("fresh.x", 3),
        ("left.x", 3),
    ];
    assert_eq!(records, expected.map(|(name, at)| (name.to_owned(), at)));

    // A stream of a name that was known, but is new, has nothing in common with the old one.
    let log = small_log(Storage::Memory);
    world.add("gone", 9, &["gone.>"], AckLevel::Received, log);
    for _ in 0..3 {
        world.publish(producer, &[("gone.x", b"again")]);
    }
    world.settle();
    assert_eq!(world.sequences(subscriber), [1, 2, 3]);
}

#[test]
fn after_unsubscribe_nothing_comes_and_the_number_is_free_again() {
    let mut world = World::with_main();
    let (producer, subscriber) = (world.open(1), world.open(2));
    world.subscribe(subscriber, 1, ">", Start::New);
    let twice = world.subscribe_with(subscriber, &request(1, "a"));
    assert_eq!(twice.unwrap_err().code, ErrorCode::EXISTS);
    world
        .shard
        .unsubscribe(subscriber, 1, world.now, &mut world.out)
        .unwrap();
    world.publish(producer, &[("a", b"1")]);
    world.settle();
    assert!(world.records(subscriber).is_empty());
    let gone = world
        .shard
        .unsubscribe(subscriber, 1, world.now, &mut world.out);
    assert_eq!(gone.unwrap_err().code, ErrorCode::NOT_FOUND);
    assert_eq!(
        world.shard.credit(subscriber, 0, 1).unwrap_err().code,
        ErrorCode::NOT_FOUND
    );
    world.subscribe(subscriber, 1, ">", Start::First);
    world.settle();
    assert_eq!(world.sequences(subscriber), [1]);
}

#[test]
fn what_a_subscribe_asks_wrongly_is_refused_and_opens_nothing() {
    let mut world = World::with_limits(Limits {
        session_subscriptions: 2,
        session_channels: 1,
        ..Limits::default()
    });
    world.add(
        "main",
        0,
        &[">"],
        AckLevel::Received,
        small_log(Storage::Memory),
    );
    let subscriber = world.open(1);
    let mut code = |subscribe: &Subscribe<'_>| {
        world
            .subscribe_with(subscriber, subscribe)
            .map_err(|refusal| refusal.code)
    };
    assert_eq!(code(&request(1, "a..b")), Err(ErrorCode::SUBJECT));
    assert_eq!(
        code(&Subscribe {
            start: Start::Cursor,
            ..request(1, "a")
        }),
        Err(ErrorCode::NOT_FOUND)
    );
    assert_eq!(
        code(&Subscribe {
            group: "a\nb",
            ..request(1, "a")
        }),
        Err(ErrorCode::MALFORMED)
    );
    assert_eq!(code(&request(1, "a")), Ok(1));
    assert_eq!(
        code(&request(2, "a")),
        Err(ErrorCode::TOO_MANY),
        "one channel is open"
    );
    assert_eq!(world.shard.stream_info("main").unwrap().subscribers, 1);
    let unknown = world
        .shard
        .subscribe(session(99), &request(1, "a"), world.now, &mut world.out);
    assert_eq!(unknown.unwrap_err().code, ErrorCode::NOT_FOUND);
}

#[test]
fn a_session_that_closes_with_sends_in_flight_gives_the_tail_back_when_they_are_over() {
    let mut world = World::with_volatile_main();
    let (producer, subscriber) = (world.open(1), world.open(2));
    world.subscribe(subscriber, 1, ">", Start::New);
    world.stuck.insert(subscriber);
    world.publish(producer, &[("a", &[1; 1000])]);
    world.turn();
    assert!(world.in_flight(subscriber) > 0);
    // The tail cannot go round: the first block is held.
    let run = world.run(
        producer,
        &(0..400).map(|_| ("a", &[2; 1000][..])).collect::<Vec<_>>(),
    );
    let frame = trunkline_broker::PublishFrame {
        sequence: 1,
        level: AckLevel::Stream,
        expects_ack: true,
        last: true,
    };
    let published = world.publish_run(producer, frame, &run).unwrap();
    assert!(published.full);
    world
        .shard
        .close_session(subscriber, world.now, &mut world.out);
    world.turn();
    let rest = &run[published.bytes..];
    assert!(
        world.publish_run(producer, frame, rest).unwrap().full,
        "the kernel may still read there"
    );
    world.close(subscriber);
    assert_eq!(
        world.publish_run(producer, frame, rest).unwrap().bytes,
        rest.len()
    );
    assert_eq!(world.shard.deliveries_in_flight(), 0);
}

#[test]
fn a_delivery_keeps_its_bytes_until_it_is_sent() {
    // `World::send` looks at the bytes only when they leave, and verifies their checksums.
    let mut world = World::with_main();
    let (producer, slow) = (world.open(1), world.open(2));
    world.subscribe(slow, 1, ">", Start::New);
    world.stuck.insert(slow);
    let mut published = 0;
    for nth in 0..2000_u64 {
        let run = world.run(producer, &[("a", &[nth as u8; 500])]);
        let frame = trunkline_broker::PublishFrame {
            sequence: 1,
            level: AckLevel::Stream,
            expects_ack: false,
            last: true,
        };
        if world.publish_run(producer, frame, &run).unwrap().full {
            break;
        }
        published += 1;
        world.turn();
        world.answer_disk(usize::MAX);
    }
    assert!(published < 2000, "the tail has 256 KiB");
    world.stuck.clear();
    world.settle();
    assert!(world.sequences(slow).into_iter().eq(1..=published));
}

#[test]
fn damage_in_a_file_is_told_with_a_gap_and_the_rest_comes() {
    let mut world = World::with_main();
    let producer = world.open(1);
    world.fill(producer, "a", 1000, 1000);
    world.files.get_mut(&0).unwrap().contents_mut(0).unwrap()[20_000] ^= 0xff;
    let subscriber = world.open(2);
    world.subscribe(subscriber, 1, ">", Start::First);
    world.settle();
    let got = world.got(subscriber);
    let gaps: Vec<_> = got
        .iter()
        .filter(|got| matches!(got, Got::Gap { .. }))
        .collect();
    let [
        Got::Gap {
            first,
            last,
            reason: GapReason::Damaged,
            ..
        },
    ] = gaps[..]
    else {
        panic!("{gaps:?}")
    };
    let (first, last) = (*first, *last);
    let sequences: Vec<u64> = got
        .into_iter()
        .filter_map(crate::world::as_record)
        .map(|(n, _)| n)
        .collect();
    assert!(sequences.into_iter().eq((1..first).chain(last + 1..=1000)));
}

#[test]
fn a_read_that_fails_is_told_as_damage() {
    let mut world = World::with_main();
    let producer = world.open(1);
    world.fill(producer, "a", 1000, 1000);
    let subscriber = world.open(2);
    world.fail = Some(|request| match request {
        Request::Read { segment: 1, .. } => Some(trunkline_log::DiskError::from_errno(5)),
        _ => None,
    });
    world.subscribe(subscriber, 1, ">", Start::First);
    world.settle();
    let got = world.got(subscriber);
    let lost: u64 = got
        .iter()
        .map(|got| match got {
            Got::Gap {
                first,
                last,
                reason: GapReason::Damaged,
                ..
            } => last - first + 1,
            _ => 0,
        })
        .sum();
    let came = got
        .iter()
        .filter(|got| matches!(got, Got::Record { .. }))
        .count() as u64;
    assert!(lost > 50, "{lost}");
    assert_eq!(lost + came, 1000);
}

#[test]
fn channels_of_several_workers_on_one_connection_have_different_numbers() {
    let mut channels = Vec::new();
    for worker in 0..3 {
        let mut world = World::with_config(ShardConfig {
            worker,
            workers: 3,
            ..ShardConfig::default()
        });
        for id in 0..3 {
            world.add(
                &format!("s{id}"),
                id,
                &[&format!("{id}.>")],
                AckLevel::Received,
                small_log(Storage::Memory),
            );
        }
        let subscriber = world.open(1);
        world.subscribe(subscriber, 1, ">", Start::New);
        world.settle();
        for got in world.got(subscriber) {
            let Got::Subscribed { channel, .. } = got else {
                panic!("{got:?}")
            };
            assert_eq!(channel % 3, u16::from(worker));
            world.credit(subscriber, channel, 1);
            channels.push(channel);
        }
    }
    channels.sort_unstable();
    assert!(channels.into_iter().eq(0..9));
}

#[test]
fn removing_a_stream_ends_its_channels_and_says_so() {
    let mut world = World::with_main();
    let (producer, subscriber) = (world.open(1), world.open(2));
    world.subscribe(subscriber, 1, ">", Start::New);
    world.fill(producer, "a", 10, 10);
    world.got(subscriber);
    let log = world
        .shard
        .remove_stream("main", world.now, &mut world.out)
        .unwrap();
    assert_eq!(log.received().sequence, 11);
    world.settle();
    assert!(matches!(
        world.got(subscriber)[..],
        [Got::Refused {
            frame: 0,
            code: ErrorCode::NOT_FOUND,
            ..
        }]
    ));
    assert_eq!(world.shard.stream_info("main"), None);
    // The subscription lives on, for a stream of this name or another.
    world.add(
        "other",
        5,
        &["a"],
        AckLevel::Received,
        small_log(Storage::Memory),
    );
    world.publish(producer, &[("a", b"x")]);
    world.settle();
    assert_eq!(world.records(subscriber), [(1, "x".into())]);
}

#[test]
fn a_stream_says_what_it_holds() {
    let mut world = World::with_main();
    let (producer, subscriber) = (world.open(1), world.open(2));
    world.subscribe(subscriber, 1, "a", Start::New);
    world.publish(producer, &[("a", b"1"), ("b", b"2")]);
    world.settle();
    let info = world.shard.stream_info("main").unwrap();
    assert_eq!(
        (
            info.records,
            info.first_sequence,
            info.last_sequence,
            info.subjects
        ),
        (2, 1, 2, 2)
    );
    assert_eq!(
        (info.subscribers, info.cursors, info.stored.sequence),
        (1, 0, 3)
    );
    assert_eq!(world.shard.streams(), [info]);
}
