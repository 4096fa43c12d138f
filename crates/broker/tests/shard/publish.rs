//! What is published: acks at the level that was asked, refusals in order, back-pressure.

use crate::world::{Got, World, push, small_log};
use trunkline_broker::{Limits, PublishFault, PublishFrame, Published};
use trunkline_log::{DiskError, LogConfig, Request, Storage};
use trunkline_wire::{Ack, AckLevel, ErrorCode, Kind, Stamp, Start};

pub fn ack(
    frame: u16,
    level: AckLevel,
    count: u32,
    stream_sequence: u64,
    producer_sequence: u64,
) -> Got {
    Got::Acked {
        frame,
        ack: Ack {
            level,
            count,
            stream_sequence,
            producer_sequence,
        },
    }
}

pub fn refused(frame: u16, code: ErrorCode, count: u32, producer_sequence: u64) -> Got {
    Got::Refused {
        frame,
        code,
        count,
        producer_sequence,
    }
}

#[test]
fn a_frame_is_acknowledged_when_it_has_reached_the_level_it_asked_for_and_not_before() {
    let mut world = World::with_main();
    let producer = world.open(1);
    let received = world.publish_at(producer, AckLevel::Received, &[("a", b"1")]);
    world.turn();
    world.send();
    assert_eq!(
        world.acks(producer),
        [ack(received, AckLevel::Received, 1, 1, 1)]
    );

    let stored = world.publish_at(producer, AckLevel::Stored, &[("a", b"2")]);
    let synced = world.publish_at(producer, AckLevel::Synced, &[("a", b"3")]);
    world.turn();
    world.send();
    assert_eq!(world.acks(producer), [], "nothing is written yet");
    while !world
        .disk
        .requests
        .iter()
        .any(|(.., request)| matches!(request, Request::Sync { .. }))
    {
        assert!(world.answer_disk(1) > 0);
        world.turn();
    }
    world.send();
    assert_eq!(
        world.acks(producer),
        [ack(stored, AckLevel::Stored, 1, 2, 2)],
        "written, and the sync is in flight"
    );
    world.settle();
    assert_eq!(
        world.acks(producer),
        [ack(synced, AckLevel::Synced, 1, 3, 3)]
    );
}

#[test]
fn acks_of_one_turn_are_one() {
    let mut world = World::with_main();
    let producer = world.open(1);
    world.publish(producer, &[("a", b"1"), ("b", b"2")]);
    world.publish(producer, &[("a", b"3")]);
    let last = world.publish(producer, &[("a", b"4"), ("a", b"5")]);
    world.settle();
    assert_eq!(world.acks(producer), [ack(last, AckLevel::Stored, 5, 5, 5)]);
}

#[test]
fn a_frame_over_two_streams_is_acknowledged_when_both_have_it() {
    let mut world = World::new();
    world.add(
        "left",
        0,
        &["l.>"],
        AckLevel::Stored,
        small_log(Storage::Files),
    );
    world.add(
        "right",
        1,
        &["r.>"],
        AckLevel::Stored,
        small_log(Storage::Files),
    );
    let producer = world.open(1);
    let frame = world.publish(
        producer,
        &[
            ("l.1", b"1"),
            ("r.1", b"2"),
            ("l.2", b"3"),
            ("r.1", b"4"),
            ("l.1", b"5"),
        ],
    );
    world.turn();
    let (right, left): (Vec<_>, Vec<_>) = world
        .disk
        .requests
        .drain(..)
        .partition(|(log, ..)| log.0 == 1);
    for (log, token, request) in left {
        world.answer(log, token, request);
    }
    world.turn();
    world.send();
    assert_eq!(world.acks(producer), []);
    world.disk.requests = right;
    world.settle();
    assert_eq!(
        world.acks(producer),
        [ack(frame, AckLevel::Stored, 5, 3, 5)],
        "the last record is the left's third"
    );
}

#[test]
fn an_empty_frame_is_acknowledged_in_its_place() {
    let mut world = World::with_main();
    let producer = world.open(1);
    world.publish(producer, &[("a", b"1")]);
    let empty = world.publish(producer, &[]);
    world.turn();
    world.send();
    assert_eq!(world.acks(producer), [], "it waits for the one before");
    world.settle();
    assert_eq!(
        world.acks(producer),
        [ack(empty, AckLevel::Stored, 1, 1, 1)]
    );
}

#[test]
fn the_rest_of_a_frame_is_refused_with_its_first_refused_record() {
    let mut world = World::new();
    world.add(
        "orders",
        0,
        &["orders.>"],
        AckLevel::Stored,
        small_log(Storage::Files),
    );
    let producer = world.open(1);
    let frame = world.publish(
        producer,
        &[
            ("orders.1", b"1"),
            ("orders.2", b"2"),
            ("other", b"3"),
            ("orders.1", b"4"),
        ],
    );
    let after = world.publish(producer, &[("orders.1", b"5")]);
    world.settle();
    assert_eq!(
        world.acks(producer),
        [
            ack(frame, AckLevel::Stored, 2, 2, 2),
            refused(frame, ErrorCode::NO_STREAM, 2, 3),
            ack(after, AckLevel::Stored, 1, 3, 5),
        ]
    );
}

#[test]
fn a_refusal_waits_for_the_frames_before_it() {
    let mut world = World::new();
    world.add(
        "orders",
        0,
        &["orders.>"],
        AckLevel::Stored,
        small_log(Storage::Files),
    );
    let producer = world.open(1);
    let first = world.publish(producer, &[("orders.1", b"1")]);
    let second = world.publish(producer, &[("other", b"2")]);
    world.turn();
    world.send();
    assert_eq!(world.acks(producer), []);
    world.settle();
    let expected = [
        ack(first, AckLevel::Stored, 1, 1, 1),
        refused(second, ErrorCode::NO_STREAM, 1, 2),
    ];
    assert_eq!(world.acks(producer), expected);
}

#[test]
fn a_frame_that_expects_no_ack_is_told_only_of_a_refusal() {
    let mut world = World::new();
    world.add(
        "orders",
        0,
        &["orders.>"],
        AckLevel::Stored,
        small_log(Storage::Files),
    );
    let producer = world.open(1);
    for (sequence, subject) in [(1, "orders.1"), (2, "other")] {
        let run = world.run(producer, &[(subject, b"x")]);
        let frame = PublishFrame {
            sequence,
            level: AckLevel::Stream,
            expects_ack: false,
            last: true,
            apart: false,
        };
        world.publish_run(producer, frame, &run).unwrap();
    }
    world.settle();
    assert_eq!(
        world.acks(producer),
        [refused(2, ErrorCode::NO_STREAM, 1, 2)]
    );
}

#[test]
fn a_frame_in_many_runs_is_one_frame() {
    let mut world = World::with_main();
    let producer = world.open(1);
    for (nth, last) in [(1, false), (2, false), (3, true)] {
        let run = world.run(producer, &[("a", format!("{nth}").as_bytes())]);
        let frame = PublishFrame {
            sequence: 9,
            level: AckLevel::Stream,
            expects_ack: true,
            last,
            apart: false,
        };
        world.publish_run(producer, frame, &run).unwrap();
        if !last {
            world.settle();
            assert_eq!(world.acks(producer), [], "the frame is not complete");
        }
    }
    world.settle();
    assert_eq!(world.acks(producer), [ack(9, AckLevel::Stored, 3, 3, 3)]);
}

#[test]
fn an_illegal_subject_is_refused_when_it_is_used() {
    let mut world = World::with_main();
    let producer = world.open(1);
    let frame = world.publish(producer, &[("a..b", b"1")]);
    world.settle();
    assert_eq!(
        world.acks(producer),
        [refused(frame, ErrorCode::SUBJECT, 1, 1)]
    );
}

#[test]
fn an_undefined_subject_ends_the_session() {
    let mut world = World::with_main();
    let producer = world.open(1);
    let mut run = world.run(producer, &[("a", b"1")]);
    let good = run.len();
    push(
        &mut run,
        &Stamp {
            subject_id: 77,
            ..Stamp::DATA
        },
        b"2",
    );
    let frame = PublishFrame {
        sequence: 1,
        level: AckLevel::Stream,
        expects_ack: true,
        last: true,
        apart: false,
    };
    let error = world.publish_run(producer, frame, &run).unwrap_err();
    assert_eq!(
        (error.fault, error.offset),
        (PublishFault::Undefined { subject_id: 77 }, good)
    );
    assert_eq!(error.code(), ErrorCode::UNDEFINED_SUBJECT);
}

#[test]
fn a_record_that_is_not_intact_ends_the_session_and_leaves_nothing() {
    let mut world = World::with_main();
    let producer = world.open(1);
    let subscriber = world.open(2);
    world.subscribe(subscriber, 1, ">", Start::New);
    let mut run = world.run(producer, &[("a", b"good"), ("a", b"poor")]);
    let at = run.len() - 8;
    run[at] ^= 1;
    let frame = PublishFrame {
        sequence: 1,
        level: AckLevel::Stream,
        expects_ack: true,
        last: true,
        apart: false,
    };
    let error = world.publish_run(producer, frame, &run).unwrap_err();
    assert_eq!(error.code(), ErrorCode::CHECKSUM);
    world.settle();
    assert_eq!(world.records(subscriber), [(1, "good".into())]);
}

#[test]
fn a_definition_that_is_not_intact_or_changes_an_id_ends_the_session() {
    let mut world = World::with_main();
    let producer = world.open(1);
    let frame = PublishFrame {
        sequence: 1,
        level: AckLevel::Stream,
        expects_ack: true,
        last: true,
        apart: false,
    };
    let definition = Stamp {
        kind: Kind::Definition,
        subject_id: 1,
        ..Stamp::DATA
    };
    let mut run = Vec::new();
    push(&mut run, &definition, b"abc");
    let mut broken = run.clone();
    broken[8] ^= 1;
    assert_eq!(
        world
            .publish_run(producer, frame, &broken)
            .unwrap_err()
            .code(),
        ErrorCode::CHECKSUM
    );
    push(&mut run, &definition, b"abc");
    world.publish_run(producer, frame, &run).unwrap();
    let mut run = Vec::new();
    push(&mut run, &definition, b"abd");
    assert_eq!(
        world.publish_run(producer, frame, &run).unwrap_err().fault,
        PublishFault::Redefined { subject_id: 1 }
    );
}

#[test]
fn records_of_the_logs_own_kinds_are_not_taken() {
    let mut world = World::with_main();
    let producer = world.open(1);
    let frame = PublishFrame {
        sequence: 1,
        level: AckLevel::Stream,
        expects_ack: true,
        last: true,
        apart: false,
    };
    for kind in [Kind::Batch, Kind::Seal, Kind::Pad, Kind::Segment] {
        let mut run = world.run(producer, &[("a", b"1")]);
        push(
            &mut run,
            &Stamp {
                kind,
                ..Stamp::DATA
            },
            b"",
        );
        assert_eq!(
            world.publish_run(producer, frame, &run).unwrap_err().code(),
            ErrorCode::RECORD
        );
    }
}

#[test]
fn a_record_over_the_streams_limit_is_refused() {
    let mut world = World::with_main();
    let producer = world.open(1);
    let frame = world.publish(producer, &[("a", b"1"), ("a", &[0; 20 << 10]), ("a", b"3")]);
    world.settle();
    let expected = [
        ack(frame, AckLevel::Stored, 1, 1, 1),
        refused(frame, ErrorCode::RECORD_TOO_LONG, 2, 2),
    ];
    assert_eq!(world.acks(producer), expected);
}

#[test]
fn more_subjects_than_a_session_may_have_are_refused_and_known_ones_go_on() {
    let mut world = World::with_main_and(Limits {
        session_subjects: 2,
        ..Limits::default()
    });
    let producer = world.open(1);
    world.publish(producer, &[("a", b"1"), ("b", b"2")]);
    let over = world.publish(producer, &[("c", b"3")]);
    let last = world.publish(producer, &[("a", b"4")]);
    world.settle();
    assert_eq!(
        world.acks(producer)[1..],
        [
            refused(over, ErrorCode::TOO_MANY, 1, 3),
            ack(last, AckLevel::Stored, 1, 3, 4)
        ]
    );
}

#[test]
fn more_subjects_than_a_stream_may_have_are_refused() {
    let mut world = World::new();
    let config = LogConfig {
        subjects_max: 2,
        ..small_log(Storage::Files)
    };
    world.add("main", 0, &[">"], AckLevel::Stored, config);
    let producer = world.open(1);
    let frame = world.publish(
        producer,
        &[("a", b"1"), ("b", b"2"), ("c", b"3"), ("a", b"4")],
    );
    world.settle();
    let expected = [
        ack(frame, AckLevel::Stored, 2, 2, 2),
        refused(frame, ErrorCode::TOO_MANY, 2, 3),
    ];
    assert_eq!(world.acks(producer), expected);
}

#[test]
fn a_full_stream_takes_no_more_until_the_disk_has_answered_and_then_goes_on_where_it_stopped() {
    let mut world = World::with_main();
    let producer = world.open(1);
    let body = [7; 1000];
    let records: Vec<(&str, &[u8])> = (0..400).map(|_| ("a", &body[..])).collect();
    let run = world.run(producer, &records);
    let frame = PublishFrame {
        sequence: 5,
        level: AckLevel::Stream,
        expects_ack: true,
        last: true,
        apart: false,
    };
    let mut taken = 0;
    let mut stops = 0;
    while taken < run.len() {
        let Published { bytes, full, .. } =
            world.publish_run(producer, frame, &run[taken..]).unwrap();
        taken += bytes;
        if full {
            stops += 1;
            assert!(
                world.publish_run(producer, frame, &run[taken..]).unwrap()
                    == Published {
                        bytes: 0,
                        full: true,
                        refused: false
                    }
            );
            world.settle();
        }
    }
    assert!(stops > 0, "400 kB do not fit a tail of 256 KiB");
    world.settle();
    assert_eq!(
        world.acks(producer),
        [ack(5, AckLevel::Stored, 400, 400, 400)]
    );
}

#[test]
fn too_many_frames_that_wait_for_acks_make_publishing_wait() {
    let mut world = World::with_main_and(Limits {
        session_acks: 8,
        ..Limits::default()
    });
    let producer = world.open(1);
    let mut frames = 0;
    loop {
        let run = world.run(producer, &[("a", b"1")]);
        let frame = PublishFrame {
            sequence: frames + 1,
            level: AckLevel::Stream,
            expects_ack: true,
            last: true,
            apart: false,
        };
        let published = world.publish_run(producer, frame, &run).unwrap();
        if published.full {
            assert_eq!(published.bytes, 0);
            break;
        }
        frames += 1;
    }
    assert!((4..=8).contains(&frames), "{frames}");
    world.settle();
    assert_eq!(
        world.acks(producer),
        [ack(
            frames,
            AckLevel::Stored,
            u32::from(frames),
            u64::from(frames),
            u64::from(frames)
        )]
    );
}

#[test]
fn after_a_device_error_what_waits_is_refused_and_so_is_what_comes() {
    let mut world = World::with_main();
    let producer = world.open(1);
    world.publish(producer, &[("a", b"1")]);
    world.settle();
    world.got(producer);
    let waits = world.publish(producer, &[("a", b"2"), ("a", b"3")]);
    world.fail =
        Some(|request| matches!(request, Request::Write { .. }).then(|| DiskError::from_errno(5)));
    world.settle();
    let later = world.publish(producer, &[("a", b"4")]);
    world.settle();
    let expected = [
        refused(waits, ErrorCode::READ_ONLY, 2, 2),
        refused(later, ErrorCode::READ_ONLY, 1, 4),
    ];
    assert_eq!(world.acks(producer), expected);
}

#[test]
fn a_frame_that_was_refused_in_part_and_then_meets_a_device_error_has_one_error_for_all_of_it() {
    let mut world = World::new();
    let log = small_log(Storage::Files);
    world.add("main", 0, &["a"], AckLevel::Stored, log);
    let producer = world.open(1);
    world.publish(producer, &[("a", b"1")]);
    world.settle();
    world.got(producer);
    let waits = world.publish(producer, &[("a", b"2"), ("nobody's", b"3"), ("a", b"4")]);
    world.fail =
        Some(|request| matches!(request, Request::Write { .. }).then(|| DiskError::from_errno(5)));
    world.settle();
    let later = world.publish(producer, &[("a", b"5")]);
    world.settle();
    let expected = [
        refused(waits, ErrorCode::READ_ONLY, 3, 2),
        refused(later, ErrorCode::READ_ONLY, 1, 5),
    ];
    assert_eq!(world.acks(producer), expected);
}

#[test]
fn without_space_publishes_are_refused_and_go_on_when_there_is_some() {
    let mut world = World::with_main();
    let producer = world.open(1);
    world.files.get_mut(&0).unwrap().space = 128 << 10;
    let mut refusals = 0;
    for _ in 0..300 {
        world.publish(producer, &[("a", &[1; 1000])]);
        world.settle();
        refusals += world
            .acks(producer)
            .iter()
            .filter(|got| {
                matches!(
                    got,
                    Got::Refused {
                        code: ErrorCode::NO_SPACE,
                        ..
                    }
                )
            })
            .count();
    }
    assert!(refusals > 100, "{refusals}");
    world.files.get_mut(&0).unwrap().space = u64::MAX;
    world.advance(10_000);
    world.settle();
    world.publish(producer, &[("a", b"again")]);
    world.settle();
    assert!(matches!(world.acks(producer)[..], [Got::Acked { .. }]));
}

#[test]
fn a_stream_that_comes_later_gets_the_records_of_a_subject_that_was_refused_before() {
    let mut world = World::new();
    let producer = world.open(1);
    let before = world.publish(producer, &[("a", b"1")]);
    world.settle();
    assert_eq!(
        world.acks(producer),
        [refused(before, ErrorCode::NO_STREAM, 1, 1)]
    );
    world.add(
        "main",
        0,
        &[">"],
        AckLevel::Stored,
        small_log(Storage::Files),
    );
    let after = world.publish(producer, &[("a", b"2")]);
    world.settle();
    assert_eq!(
        world.acks(producer),
        [ack(after, AckLevel::Stored, 1, 1, 2)]
    );
}

#[test]
fn frames_that_wait_for_a_stream_that_is_removed_are_refused() {
    let mut world = World::with_main();
    let producer = world.open(1);
    let waits = world.publish(producer, &[("a", b"1")]);
    world.turn();
    world
        .shard
        .remove_stream("main", world.now, &mut world.out)
        .unwrap();
    world.settle();
    let later = world.publish(producer, &[("a", b"2")]);
    world.settle();
    let expected = [
        refused(waits, ErrorCode::NOT_FOUND, 1, 1),
        refused(later, ErrorCode::NO_STREAM, 1, 2),
    ];
    assert_eq!(world.acks(producer), expected);
}

#[test]
fn streams_that_share_a_subject_or_a_name_are_refused() {
    let mut world = World::new();
    world.add(
        "orders",
        0,
        &["orders.*"],
        AckLevel::Stored,
        small_log(Storage::Files),
    );
    let volatile = small_log(Storage::Memory);
    let refused = world.try_add(
        "other",
        1,
        &["x", "orders.>"],
        AckLevel::Stored,
        AckLevel::Stored,
        volatile.clone(),
    );
    assert_eq!(refused.unwrap_err().code, ErrorCode::EXISTS);
    let refused = world.try_add(
        "orders",
        1,
        &["x"],
        AckLevel::Stored,
        AckLevel::Stored,
        volatile.clone(),
    );
    assert_eq!(refused.unwrap_err().code, ErrorCode::EXISTS);
    world
        .try_add(
            "other",
            1,
            &["orders.*.*"],
            AckLevel::Stored,
            AckLevel::Stored,
            volatile,
        )
        .unwrap();
    assert_eq!(world.shard.streams().len(), 2);
}
