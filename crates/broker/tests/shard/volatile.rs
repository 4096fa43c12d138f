//! A stream in memory: nothing of it survives the server, and no acknowledgement says that it does.

use trunkline_broker::PublishFrame;
use trunkline_log::Storage;
use trunkline_wire::{AckLevel, ErrorCode};

use crate::world::{Got, World, small_log};

/// What the session was told: frame, level or code, and how many records.
fn told(
    world: &mut World,
    session: trunkline_broker::SessionId,
) -> Vec<(u16, Result<AckLevel, ErrorCode>, u32)> {
    let got = world.acks(session);
    got.iter()
        .map(|got| match got {
            Got::Acked { frame, ack } => (*frame, Ok(ack.level), ack.count),
            Got::Refused {
                frame, code, count, ..
            } => (*frame, Err(*code), *count),
            other => panic!("{other:?}"),
        })
        .collect()
}

/// A stream in memory beside one with files.
fn two_streams() -> World {
    let mut world = World::new();
    world.add(
        "quotes",
        0,
        &["q.>"],
        AckLevel::Received,
        small_log(Storage::Memory),
    );
    world.add(
        "orders",
        1,
        &["o.>"],
        AckLevel::Stored,
        small_log(Storage::Files),
    );
    world
}

#[test]
fn a_level_that_memory_cannot_give_is_refused_and_nothing_is_taken() {
    for level in [AckLevel::Stored, AckLevel::Synced] {
        let mut world = two_streams();
        let producer = world.open(1);
        let frame = world.publish_at(producer, level, &[("q.a", b"1"), ("q.b", b"2")]);
        world.settle();
        assert_eq!(
            told(&mut world, producer),
            [(frame, Err(ErrorCode::LEVEL), 2)]
        );
        assert_eq!(world.shard.stream_info("quotes").unwrap().records, 0);
        let message = world.out.refusals.last().unwrap();
        assert!(
            message.contains("stream quotes is in memory")
                && message.contains("`received`")
                && message.ends_with(&format!("not {level}")),
            "{message}"
        );
    }
}

#[test]
fn a_level_that_memory_cannot_give_is_refused_although_nobody_waits_for_the_ack() {
    let mut world = two_streams();
    let producer = world.open(1);
    let run = world.run(producer, &[("q.a", b"1")]);
    let frame = PublishFrame {
        sequence: 7,
        level: AckLevel::Synced,
        expects_ack: false,
        last: true,
        apart: false,
    };
    world.publish_run(producer, frame, &run).unwrap();
    world.settle();
    assert_eq!(told(&mut world, producer), [(7, Err(ErrorCode::LEVEL), 1)]);
}

#[test]
fn the_streams_own_level_in_memory_is_received_whatever_its_plan_says() {
    for level in [
        AckLevel::Stream,
        AckLevel::Received,
        AckLevel::Stored,
        AckLevel::Synced,
    ] {
        let mut world = World::new();
        let log = trunkline_log::LogConfig {
            durability: trunkline_log::Durability::Stored,
            ..small_log(Storage::Memory)
        };
        world.add("quotes", 0, &["q.>"], level, log);
        let producer = world.open(1);
        let own = world.publish_at(producer, AckLevel::Stream, &[("q.a", b"1")]);
        let asked = world.publish_at(producer, AckLevel::Received, &[("q.a", b"2")]);
        world.settle();
        let answers = told(&mut world, producer);
        assert!(
            answers
                .iter()
                .all(|answer| answer.1 == Ok(AckLevel::Received)),
            "plan {level}: {answers:?}"
        );
        assert_eq!(answers.last().unwrap().0, asked, "{own}: {answers:?}");
    }
}

#[test]
fn an_ack_over_memory_and_files_says_the_weaker_level_in_either_order() {
    for subjects in [["q.a", "o.a"], ["o.a", "q.a"]] {
        let mut world = two_streams();
        let producer = world.open(1);
        let records = subjects.map(|subject| (subject, &b"1"[..]));
        let frame = world.publish_at(producer, AckLevel::Stream, &records);
        world.settle();
        assert_eq!(
            told(&mut world, producer),
            [(frame, Ok(AckLevel::Received), 2)],
            "{subjects:?}"
        );
    }
}

#[test]
fn a_frame_is_refused_from_its_first_record_for_memory_on() {
    let mut world = two_streams();
    let producer = world.open(1);
    let records: [(&str, &[u8]); 3] = [("o.a", b"1"), ("q.a", b"2"), ("o.a", b"3")];
    let frame = world.publish_at(producer, AckLevel::Stored, &records);
    world.settle();
    assert_eq!(
        told(&mut world, producer),
        [
            (frame, Ok(AckLevel::Stored), 1),
            (frame, Err(ErrorCode::LEVEL), 2)
        ]
    );
}

#[test]
fn a_barrier_over_a_stream_in_memory_is_refused_for_more_than_received() {
    let mut world = two_streams();
    let producer = world.open(1);
    world.publish(producer, &[("o.a", b"1"), ("q.a", b"2")]);
    world.settle();
    world.got(producer);
    for level in [AckLevel::Stored, AckLevel::Synced] {
        let frame = world.publish_at(producer, level, &[]);
        world.settle();
        assert_eq!(
            told(&mut world, producer),
            [(frame, Err(ErrorCode::LEVEL), 0)]
        );
    }
    let frame = world.publish_at(producer, AckLevel::Received, &[]);
    world.settle();
    assert_eq!(
        told(&mut world, producer),
        [(frame, Ok(AckLevel::Received), 0)]
    );
}

#[test]
fn memory_says_of_nothing_that_it_is_stored_or_synced() {
    let mut world = two_streams();
    let producer = world.open(1);
    world.publish(producer, &[("o.a", b"1"), ("q.a", b"2")]);
    world.settle();
    let quotes = world.shard.stream_info("quotes").unwrap();
    assert_eq!(
        (quotes.records, quotes.stored, quotes.synced),
        (1, None, None)
    );
    let orders = world.shard.stream_info("orders").unwrap();
    assert!(orders.stored.is_some() && orders.synced.is_some());
}
