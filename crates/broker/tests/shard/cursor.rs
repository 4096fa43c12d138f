//! Durable cursors: readers that go on where they confirmed, also after a restart.

use trunkline_broker::{SessionId, Shard};
use trunkline_log::{Log, LogConfig, LogId, Storage};
use trunkline_wire::{AckLevel, ErrorCode, GapReason, Start, Subscribe, SubscribeFlags};

use crate::world::{Got, World, request, retention, small_log};

const CURSORS: u32 = 900;

fn world() -> World {
    let mut world = World::new();
    start(&mut world);
    world
}

fn start(world: &mut World) {
    world.add_cursors(CURSORS);
    world.add(
        "main",
        0,
        &[">"],
        AckLevel::Stored,
        small_log(Storage::Files),
    );
}

fn reader<'a>(cursor: &'a str, pattern: &'a str) -> Subscribe<'a> {
    Subscribe {
        start: Start::Cursor,
        cursor,
        flags: SubscribeFlags::EXPLICIT_CONFIRMS,
        ..request(1, pattern)
    }
}

/// What a reader that comes now is given.
fn read(world: &mut World, slot: u32, pattern: &str) -> (SessionId, Vec<u64>) {
    let session = world.open(slot);
    world
        .subscribe_with(session, &reader("mine", pattern))
        .unwrap();
    world.settle();
    let sequences = world.sequences(session);
    (session, sequences)
}

/// Long enough for cursors to be written.
fn pause(world: &mut World) {
    for _ in 0..3 {
        world.advance(10);
        world.settle();
    }
}

#[test]
fn a_reader_that_comes_back_goes_on_where_it_confirmed() {
    for pattern in [">", "a"] {
        let mut world = world();
        let producer = world.open(1);
        world.fill(producer, "a", 20, 10);
        let (session, got) = read(&mut world, 2, pattern);
        assert!(
            got.into_iter().eq(1..=20),
            "a new cursor begins with what there is"
        );
        world.confirm(session, 0, 0, 7);
        world.confirm(session, 0, 9, 12);
        world.close(session);
        let (_, got) = read(&mut world, 3, pattern);
        assert!(got.into_iter().eq(8..=20), "8 was not confirmed");
    }
}

#[test]
fn records_of_cursors_that_are_damaged_are_counted() {
    let mut world = world();
    let producer = world.open(1);
    world.fill(producer, "a", 20, 10);
    let (session, _) = read(&mut world, 2, ">");
    world.confirm(session, 0, 0, 7);
    pause(&mut world);
    world.close(session);
    world.settle();
    assert_eq!(world.shard.cursor_records_lost(), 0);
    world.restart();
    let files = world.files.get_mut(&CURSORS).unwrap();
    let config = Shard::cursor_log_config(0);
    let (log, _) = Log::open(LogId(CURSORS), &config, files).unwrap();
    // After it was opened, which would take it for damage to what was synced.
    let written = files.contents_mut(0).unwrap();
    let mut names = written.windows(4);
    let name = names.position(|window| window == b"mine").unwrap();
    written[name] ^= 1;
    world.shard.add_cursors(log).unwrap();
    for _ in 0..1000 {
        world.settle();
    }
    assert!(world.shard.is_ready());
    assert!(world.shard.cursor_records_lost() > 0);
}

#[test]
fn cursors_survive_a_restart() {
    let mut world = world();
    let producer = world.open(1);
    world.fill(producer, "a", 20, 10);
    let (session, _) = read(&mut world, 2, ">");
    world.confirm(session, 0, 0, 7);
    pause(&mut world);
    world.confirm(session, 0, 0, 11);
    pause(&mut world);
    world.restart();
    start(&mut world);
    let infos = world.shard.cursors();
    assert_eq!(
        (
            &*infos[0].stream,
            &*infos[0].name,
            infos[0].next,
            infos[0].active
        ),
        ("main", "mine", Some(12), false)
    );
    let (_, got) = read(&mut world, 2, ">");
    assert!(got.into_iter().eq(12..=20));
}

#[test]
fn a_crash_takes_back_what_was_confirmed_in_the_last_interval_and_nothing_else() {
    let mut world = world();
    let producer = world.open(1);
    world.fill(producer, "a", 20, 10);
    let (session, _) = read(&mut world, 2, ">");
    world.confirm(session, 0, 0, 7);
    pause(&mut world);
    world.confirm(session, 0, 0, 11);
    world.settle();
    world.restart();
    start(&mut world);
    let (_, got) = read(&mut world, 2, ">");
    assert!(got.into_iter().eq(8..=20));
}

#[test]
fn shutting_down_in_order_keeps_everything() {
    let mut world = world();
    let producer = world.open(1);
    world.fill(producer, "a", 20, 10);
    let (session, _) = read(&mut world, 2, ">");
    world.confirm(session, 0, 0, 11);
    world.shard.sync(world.now);
    world.settle();
    assert!(world.shard.is_synced());
    world.restart();
    start(&mut world);
    let (_, got) = read(&mut world, 2, ">");
    assert!(got.into_iter().eq(12..=20));
}

#[test]
fn a_cursor_without_explicit_confirms_stands_behind_what_was_sent() {
    let mut world = world();
    let producer = world.open(1);
    world.fill(producer, "a", 20, 10);
    let session = world.open(2);
    let subscribe = Subscribe {
        flags: SubscribeFlags::empty(),
        ..reader("mine", ">")
    };
    world.subscribe_with(session, &subscribe).unwrap();
    world.settle();
    world.stuck.insert(session);
    world.fill(producer, "a", 5, 10);
    world.drop_waiting(session);
    world.fill(producer, "a", 5, 10);
    world.close(session);
    world.stuck.clear();
    let (_, got) = read(&mut world, 3, ">");
    assert!(got.into_iter().eq(21..=30));
}

#[test]
fn a_narrow_cursor_passes_what_does_not_match() {
    let mut world = world();
    let producer = world.open(1);
    world.publish(
        producer,
        &[("a", b"1"), ("b", b"2"), ("b", b"3"), ("b", b"4")],
    );
    let (session, got) = read(&mut world, 2, "a");
    assert_eq!(got, [1]);
    world.confirm(session, 0, 1, 1);
    pause(&mut world);
    assert_eq!(world.shard.cursors()[0].next, Some(5));
}

#[test]
fn cursors_that_rest_survive_the_moves_of_others() {
    let mut world = world();
    let producer = world.open(1);
    world.fill(producer, "a", 20, 10);
    let (session, _) = read(&mut world, 2, ">");
    world.confirm(session, 0, 0, 7);
    pause(&mut world);
    world.close(session);
    // Another one moves until the log of the cursors has gone round several times: each move is one record.
    let busy = world.open(3);
    world.subscribe_with(busy, &reader("busy", ">")).unwrap();
    world.settle();
    let mut sequence = 20;
    let config = world.shard.config().cursor_interval_ns;
    for _ in 0..3000 {
        world.publish(producer, &[("a", b"")]);
        sequence += 1;
        world.settle();
        world.confirm(busy, 0, 0, sequence);
        world.now.mono_ns += config + 1;
        world.settle();
    }
    world.restart();
    start(&mut world);
    let mut infos = world.shard.cursors();
    infos.sort_by(|a, b| a.name.cmp(&b.name));
    let stands: Vec<_> = infos.iter().map(|info| (&*info.name, info.next)).collect();
    assert_eq!(stands, [("busy", Some(sequence + 1)), ("mine", Some(8))]);
}

#[test]
fn a_second_reader_takes_a_cursor_over() {
    let mut world = world();
    let producer = world.open(1);
    world.fill(producer, "a", 20, 10);
    let (old, _) = read(&mut world, 2, ">");
    world.confirm(old, 0, 0, 5);
    let (new, got) = read(&mut world, 3, ">");
    assert!(got.into_iter().eq(6..=20));
    let told = world.got(old);
    assert!(
        matches!(
            told[..],
            [Got::Refused {
                frame: 0,
                code: ErrorCode::EXISTS,
                // The subscription.
                producer_sequence: 1,
                ..
            }]
        ),
        "{told:?}"
    );
    world.fill(producer, "a", 1, 10);
    assert_eq!(world.sequences(new), [21]);
    assert!(world.sequences(old).is_empty());
}

#[test]
fn members_of_a_group_share_a_cursor() {
    let mut world = world();
    let producer = world.open(1);
    let subscribe = Subscribe {
        group: "workers",
        ..reader("mine", ">")
    };
    let members: Vec<_> = [10, 11]
        .map(|slot| {
            let session = world.open(slot);
            world.subscribe_with(session, &subscribe).unwrap();
            session
        })
        .into();
    world.fill(producer, "a", 100, 10);
    let of_first = world.sequences(members[0]);
    let of_second = world.sequences(members[1]);
    assert_eq!(of_first.len() + of_second.len(), 100);
    world.confirm(members[0], 0, 0, 100);
    world.confirm(members[1], 0, 0, of_second[2]);
    pause(&mut world);
    assert_eq!(world.shard.cursors()[0].next, Some(of_second[3]));
    for member in members {
        world.close(member);
    }
    let session = world.open(12);
    world.subscribe_with(session, &subscribe).unwrap();
    world.settle();
    assert_eq!(world.sequences(session)[0], of_second[3]);
}

#[test]
fn a_cursor_can_be_set_anew_and_removed() {
    let mut world = world();
    let producer = world.open(1);
    world.fill(producer, "a", 20, 10);
    let (session, _) = read(&mut world, 2, ">");
    world.confirm(session, 0, 0, 15);
    let busy = world.shard.remove_cursor("main", "mine", world.now);
    assert_eq!(busy.unwrap_err().code, ErrorCode::EXISTS);
    world.close(session);
    let anew = world.open(3);
    let subscribe = Subscribe {
        start: Start::Sequence(3),
        ..reader("mine", ">")
    };
    world.subscribe_with(anew, &subscribe).unwrap();
    world.settle();
    assert!(world.sequences(anew).into_iter().eq(3..=20));
    world.close(anew);
    world
        .shard
        .remove_cursor("main", "mine", world.now)
        .unwrap();
    let gone = world.shard.remove_cursor("main", "mine", world.now);
    assert_eq!(gone.unwrap_err().code, ErrorCode::NOT_FOUND);
    world.settle();
    world.restart();
    start(&mut world);
    assert_eq!(world.shard.cursors(), []);
}

#[test]
fn what_retention_took_before_a_cursor_is_told() {
    let mut world = World::new();
    world.add_cursors(CURSORS);
    let config = LogConfig {
        retention: retention(4),
        ..small_log(Storage::Files)
    };
    world.add("main", 0, &[">"], AckLevel::Stored, config);
    let producer = world.open(1);
    world.fill(producer, "a", 20, 1000);
    let (session, _) = read(&mut world, 2, ">");
    world.confirm(session, 0, 0, 10);
    world.close(session);
    world.fill(producer, "a", 1000, 1000);
    world.advance(5000);
    world.settle();
    let first = world.shard.stream_info("main").unwrap().first_sequence;
    let session = world.open(3);
    world.subscribe_with(session, &reader("mine", ">")).unwrap();
    world.settle();
    let got = world.got(session);
    let expected = Got::Gap {
        channel: 0,
        first: 11,
        last: first - 1,
        reason: GapReason::Retention,
    };
    assert_eq!(got[1], expected);
}

#[test]
fn cursors_of_a_removed_stream_are_forgotten() {
    let mut world = world();
    let producer = world.open(1);
    world.fill(producer, "a", 20, 10);
    let (session, _) = read(&mut world, 2, ">");
    world.confirm(session, 0, 0, 10);
    pause(&mut world);
    world
        .shard
        .remove_stream("main", world.now, &mut world.out)
        .unwrap();
    assert_eq!(world.shard.cursors(), []);
    world.settle();
    world.files.remove(&0);
    world.restart();
    start(&mut world);
    assert_eq!(world.shard.cursors(), []);
}
