//! What happens to a subscriber that does not keep up: the table in the crate's documentation, row by row.

use trunkline_broker::{Limits, PublishFrame, ShardConfig};
use trunkline_log::{LogConfig, Storage};
use trunkline_wire::{AckLevel, ErrorCode, Policy, Start, Subscribe};

use crate::world::{Got, MS, World, request, retention, small_log};

/// A world with a window of 10,000 bytes and one live subscriber whose credit is used up.
fn slow(
    storage: Storage,
    policy: Policy,
) -> (
    World,
    trunkline_broker::SessionId,
    trunkline_broker::SessionId,
) {
    let mut world = World::with_limits(Limits {
        window_bytes: 10_000,
        ..Limits::default()
    });
    let level = if storage == Storage::Memory {
        AckLevel::Received
    } else {
        AckLevel::Stored
    };
    world.add("main", 0, &[">"], level, small_log(storage));
    let (producer, subscriber) = (world.open(1), world.open(2));
    let subscribe = Subscribe {
        policy,
        credit_bytes: 1,
        ..request(1, ">")
    };
    world.subscribe_with(subscriber, &subscribe).unwrap();
    world.settle();
    // The definition uses the credit up; then it catches up with one record.
    world.publish(producer, &[("a", b"first")]);
    world.settle();
    world.credit(subscriber, 0, 48);
    world.settle();
    assert_eq!(world.sequences(subscriber), [1]);
    (world, producer, subscriber)
}

/// Sequences that came and gaps, in order.
fn story(world: &mut World, session: trunkline_broker::SessionId) -> Vec<String> {
    let mut story: Vec<String> = Vec::new();
    let mut run: Option<(u64, u64)> = None;
    let close = |run: &mut Option<(u64, u64)>, story: &mut Vec<String>| {
        if let Some((first, last)) = run.take() {
            story.push(format!("{first}..={last}"));
        }
    };
    for got in world.got(session) {
        match got {
            Got::Record { sequence, .. } => match &mut run {
                Some((_, last)) if *last + 1 == sequence => *last = sequence,
                _ => {
                    close(&mut run, &mut story);
                    run = Some((sequence, sequence));
                }
            },
            Got::Gap {
                first,
                last,
                reason,
                ..
            } => {
                close(&mut run, &mut story);
                story.push(format!("gap {first}..={last} {reason:?}"));
            }
            Got::Closed { code } => {
                close(&mut run, &mut story);
                story.push(format!("closed {}", code.0));
            }
            other => panic!("{other:?}"),
        }
    }
    close(&mut run, &mut story);
    story
}

/// Records left out and subscribers disconnected, as the stream tells it.
fn counted(world: &World) -> (u64, u64) {
    let info = world.shard.stream_info("main").unwrap();
    (info.skipped, info.disconnected)
}

const ALL: [Policy; 5] = [
    Policy::Block,
    Policy::DropNewest,
    Policy::DropOldest,
    Policy::Disconnect,
    Policy::Spill,
];

#[test]
fn within_its_window_no_policy_leaves_anything_out() {
    for policy in ALL {
        for storage in [Storage::Files, Storage::Memory] {
            let (mut world, producer, subscriber) = slow(storage, policy);
            world.fill(producer, "a", 8, 1000);
            world.credit(subscriber, 0, 1 << 30);
            world.settle();
            assert_eq!(
                story(&mut world, subscriber),
                ["2..=9"],
                "{policy:?} on {storage:?}"
            );
        }
    }
}

#[test]
fn a_replay_is_not_slow_under_any_policy() {
    for policy in ALL {
        let mut world = World::with_main_and(Limits {
            window_bytes: 10_000,
            ..Limits::default()
        });
        let (producer, subscriber) = (world.open(1), world.open(2));
        world.fill(producer, "a", 600, 1000);
        let subscribe = Subscribe {
            policy,
            start: Start::First,
            credit_bytes: 50_000,
            ..request(1, ">")
        };
        world.subscribe_with(subscriber, &subscribe).unwrap();
        world.settle();
        world.fill(producer, "a", 400, 1000);
        world.credit(subscriber, 0, 1 << 30);
        world.settle();
        world.got(subscriber);
        assert_eq!(world.shard.stream_info("main").unwrap().last_sequence, 1000);
        world.fill(producer, "a", 1, 1000);
        assert_eq!(story(&mut world, subscriber), ["1001..=1001"], "{policy:?}");
    }
}

#[test]
fn block_makes_publishers_wait_before_the_tail_overtakes_it() {
    for storage in [Storage::Files, Storage::Memory] {
        let (mut world, producer, subscriber) = slow(storage, Policy::Block);
        let frame = PublishFrame {
            sequence: 1,
            level: AckLevel::Received,
            expects_ack: false,
            last: true,
            apart: false,
        };
        let mut published = 0;
        loop {
            let run = world.run(producer, &[("a", &[1; 1000])]);
            if world.publish_run(producer, frame, &run).unwrap().full {
                break;
            }
            published += 1;
            world.settle();
            assert!(published < 1000, "publishers wait on {storage:?}");
        }
        assert!(published > 100, "the tail has 256 KiB: {published}");
        world.advance(10_000);
        world.settle();
        let run = world.run(producer, &[("a", &[1; 1000])]);
        assert!(
            world.publish_run(producer, frame, &run).unwrap().full,
            "for as long as it takes"
        );
        world.credit(subscriber, 0, 1 << 30);
        world.settle();
        assert!(!world.publish_run(producer, frame, &run).unwrap().full);
        world.settle();
        let expected = format!("2..={}", published + 2);
        assert_eq!(story(&mut world, subscriber), [expected]);
    }
}

#[test]
fn a_blocking_subscriber_that_goes_blocks_no_longer() {
    let (mut world, producer, subscriber) = slow(Storage::Memory, Policy::Block);
    world.close(subscriber);
    world.fill(producer, "a", 1000, 1000);
}

#[test]
fn block_waits_for_nobody_while_everybody_keeps_up() {
    let mut world = World::with_volatile_main();
    let (producer, subscriber) = (world.open(1), world.open(2));
    let subscribe = Subscribe {
        policy: Policy::Block,
        ..request(1, ">")
    };
    world.subscribe_with(subscriber, &subscribe).unwrap();
    world.fill(producer, "a", 3000, 1000);
    assert!(world.sequences(subscriber).into_iter().eq(1..=3000));
}

#[test]
fn drop_newest_delivers_its_window_and_leaves_out_what_came_after() {
    let (mut world, producer, subscriber) = slow(Storage::Files, Policy::DropNewest);
    world.fill(producer, "a", 100, 1000);
    world.credit(subscriber, 0, 1 << 30);
    world.settle();
    let story = story(&mut world, subscriber);
    // Records of 1,040 bytes in runs that a window of 10,000 bytes bounds.
    assert_eq!(story.len(), 2, "{story:?}");
    let last: u64 = story[0].strip_prefix("2..=").unwrap().parse().unwrap();
    assert!((10..=12).contains(&last), "{story:?}");
    assert_eq!(story[1], format!("gap {}..=101 SlowConsumer", last + 1));
    assert_eq!(counted(&world), (101 - last, 0));
    world.fill(producer, "a", 1, 10);
    assert_eq!(world.sequences(subscriber), [102], "and it goes on");
}

#[test]
fn drop_oldest_goes_on_half_a_window_behind_the_end() {
    let (mut world, producer, subscriber) = slow(Storage::Files, Policy::DropOldest);
    world.fill(producer, "a", 100, 1000);
    world.credit(subscriber, 0, 1 << 30);
    world.settle();
    let story = story(&mut world, subscriber);
    assert_eq!(story.len(), 2, "{story:?}");
    let first: u64 = story[1].strip_suffix("..=101").unwrap().parse().unwrap();
    assert!((95..=99).contains(&first), "{story:?}");
    assert_eq!(story[0], format!("gap 2..={} SlowConsumer", first - 1));
    assert_eq!(counted(&world), (first - 2, 0));
}

#[test]
fn disconnect_ends_the_connection_of_one_that_is_further_behind_than_its_window() {
    let (mut world, producer, subscriber) = slow(Storage::Files, Policy::Disconnect);
    let other = world.open(3);
    world.subscribe(other, 1, ">", Start::New);
    world.fill(producer, "a", 9, 1000);
    assert_eq!(story(&mut world, subscriber), Vec::<String>::new());
    world.fill(producer, "a", 9, 1000);
    let told = story(&mut world, subscriber);
    assert_eq!(told, [format!("closed {}", ErrorCode::SLOW_CONSUMER.0)]);
    assert_eq!(counted(&world), (0, 1));
    world.close(subscriber);
    world.fill(producer, "a", 9, 1000);
    assert_eq!(world.sequences(other).len(), 27);
}

#[test]
fn spill_goes_on_from_the_files() {
    let (mut world, producer, subscriber) = slow(Storage::Files, Policy::Spill);
    world.fill(producer, "a", 1000, 1000);
    world.credit(subscriber, 0, 1 << 30);
    world.settle();
    assert_eq!(story(&mut world, subscriber), ["2..=1001"]);
    world.fill(producer, "a", 10, 1000);
    assert_eq!(story(&mut world, subscriber), ["1002..=1011"]);
}

#[test]
fn without_files_the_tail_overtakes_one_that_spills() {
    let (mut world, producer, subscriber) = slow(Storage::Memory, Policy::Spill);
    world.fill(producer, "a", 1000, 1000);
    world.credit(subscriber, 0, 1 << 30);
    world.settle();
    let first = world.shard.stream_info("main").unwrap().first_sequence;
    assert!(first > 500);
    let expected = [
        format!("gap 2..={} SlowConsumer", first - 1),
        format!("{first}..=1001"),
    ];
    assert_eq!(story(&mut world, subscriber), expected);
}

#[test]
fn what_retention_took_from_one_that_spills_is_told() {
    let mut world = World::new();
    let config = LogConfig {
        retention: retention(4),
        ..small_log(Storage::Files)
    };
    world.add("main", 0, &[">"], AckLevel::Stored, config);
    let (producer, subscriber) = (world.open(1), world.open(2));
    let subscribe = Subscribe {
        credit_bytes: 0,
        ..request(1, ">")
    };
    world.subscribe_with(subscriber, &subscribe).unwrap();
    world.fill(producer, "a", 2000, 1000);
    world.advance(5000);
    world.settle();
    world.got(subscriber);
    world.credit(subscriber, 0, 1 << 30);
    world.settle();
    let first = world.shard.stream_info("main").unwrap().first_sequence;
    assert!(first > 1000, "{first}");
    let expected = [
        format!("gap 1..={} Retention", first - 1),
        format!("{first}..=2000"),
    ];
    assert_eq!(story(&mut world, subscriber), expected);
}

#[test]
fn a_session_that_does_not_take_what_it_was_given_loses_the_stretch_when_publishers_wait_for_it() {
    for (policy, reclaims) in [(Policy::Spill, true), (Policy::Block, false)] {
        let mut world = World::with_config(ShardConfig {
            reclaim_after_ns: 50 * crate::world::MS,
            ..ShardConfig::default()
        });
        world.add(
            "main",
            0,
            &[">"],
            AckLevel::Stored,
            small_log(Storage::Files),
        );
        let (producer, stuck) = (world.open(1), world.open(2));
        let subscribe = Subscribe {
            policy,
            ..request(1, ">")
        };
        world.subscribe_with(stuck, &subscribe).unwrap();
        world.stuck.insert(stuck);
        let frame = PublishFrame {
            sequence: 1,
            level: AckLevel::Stream,
            expects_ack: false,
            last: true,
            apart: false,
        };
        let run = world.run(producer, &[("a", &[1; 1000])]);
        let mut published = 0;
        while !world.publish_run(producer, frame, &run).unwrap().full {
            published += 1;
            world.settle();
        }
        assert!(published > 100, "{published}");
        assert_eq!(world.out.reclaimed, [], "not at once");
        let turn = world.turn();
        assert!(
            turn.next_deadline_ns
                .is_some_and(|due| due <= world.now.mono_ns + 50 * crate::world::MS)
        );
        world.advance(51);
        world.publish_run(producer, frame, &run).unwrap();
        world.settle();
        assert_eq!(!world.out.reclaimed.is_empty(), reclaims, "{policy:?}");
        for (session, hold) in std::mem::take(&mut world.out.reclaimed) {
            assert_eq!(session, stuck);
            // The server has copied what was unsent.
            let _ = hold;
        }
        if reclaims {
            world.send_to(stuck);
            world.settle();
            assert!(!world.publish_run(producer, frame, &run).unwrap().full);
        }
    }
}

#[test]
fn who_waits_for_a_time_that_has_not_come_is_not_slow() {
    for policy in [Policy::DropOldest, Policy::DropNewest, Policy::Disconnect] {
        let mut world = World::with_limits(Limits {
            window_bytes: 10_000,
            ..Limits::default()
        });
        let config = small_log(Storage::Files);
        world.add("main", 0, &[">"], AckLevel::Stored, config);
        let (publisher, subscriber) = (world.open(1), world.open(2));
        let soon = world.now.wall_ns + 10_000 * MS;
        let subscribe = Subscribe {
            start: Start::Time(soon),
            policy,
            ..request(1, ">")
        };
        world.subscribe_with(subscriber, &subscribe).unwrap();
        world.settle();
        world.got(subscriber);
        // Much more than a window, at once, before the time that was asked for.
        for _ in 0..50 {
            world.publish(publisher, &[("early", &[b'x'; 1000])]);
        }
        world.settle();
        assert_eq!(world.got(subscriber), [], "{policy:?}");
        world.advance(10_000);
        world.publish(publisher, &[("late", b"now")]);
        world.settle();
        assert_eq!(world.sequences(subscriber), [51], "{policy:?}");
    }
}
