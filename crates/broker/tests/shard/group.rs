//! Queue groups: each record to one member.

use trunkline_broker::{Limits, SessionId};
use trunkline_wire::{Start, Subscribe, SubscribeFlags};

use crate::world::{World, request};

fn member<'a>(pattern: &'a str) -> Subscribe<'a> {
    Subscribe {
        group: "workers",
        flags: SubscribeFlags::EXPLICIT_CONFIRMS,
        ..request(1, pattern)
    }
}

fn worlds() -> [World; 2] {
    [World::with_main(), World::with_volatile_main()]
}

/// A world in which a member may have four ranges of records that are not confirmed.
fn with_four_ranges() -> World {
    let limits = Limits {
        unconfirmed_ranges: 4,
        ..Limits::default()
    };
    World::with_main_and(limits)
}

fn join(world: &mut World, slots: std::ops::Range<u32>, pattern: &str) -> Vec<SessionId> {
    slots
        .map(|slot| {
            let session = world.open(slot);
            world.subscribe_with(session, &member(pattern)).unwrap();
            session
        })
        .collect()
}

#[test]
fn each_record_goes_to_one_member_and_each_member_gets_some() {
    for mut world in worlds() {
        let producer = world.open(1);
        let members = join(&mut world, 10..13, ">");
        let outside = world.open(2);
        world.subscribe(outside, 1, ">", Start::New);
        world.fill(producer, "a", 300, 100);
        let mut all = Vec::new();
        for member in members {
            let got = world.sequences(member);
            assert!(got.len() > 50, "{} of 300", got.len());
            assert!(got.is_sorted());
            all.extend(got);
        }
        all.sort_unstable();
        assert!(all.into_iter().eq(1..=300));
        assert!(world.sequences(outside).into_iter().eq(1..=300));
    }
}

#[test]
fn a_narrow_group_gets_each_matching_record_once() {
    for mut world in worlds() {
        let producer = world.open(1);
        let members = join(&mut world, 10..13, "s.*.x");
        for nth in 0..300 {
            let subject = format!("s.{}.{}", nth % 5, if nth % 3 == 0 { "x" } else { "y" });
            world.publish(producer, &[(&subject, b"")]);
            if nth % 7 == 0 {
                world.settle();
            }
        }
        world.settle();
        let mut all: Vec<u64> = members
            .into_iter()
            .flat_map(|member| world.sequences(member))
            .collect();
        all.sort_unstable();
        assert_eq!(
            all,
            (0..300)
                .filter(|n| n % 3 == 0)
                .map(|n| n + 1)
                .collect::<Vec<_>>()
        );
    }
}

#[test]
fn what_a_member_that_goes_had_not_confirmed_goes_to_the_others() {
    for pattern in [">", "a"] {
        for mut world in worlds() {
            let producer = world.open(1);
            let members = join(&mut world, 10..12, pattern);
            world.fill(producer, "a", 100, 100);
            let gone = world.sequences(members[0]);
            let stays = world.sequences(members[1]);
            assert!(gone.len() > 10);
            // It has done the first half, in no particular order.
            let (done, lost) = gone.split_at(gone.len() / 2);
            for sequence in done.iter().rev() {
                world.confirm(members[0], 0, *sequence, *sequence);
            }
            world.close(members[0]);
            world.settle();
            assert_eq!(
                world.sequences(members[1]),
                lost,
                "in order, and only these"
            );
            world.fill(producer, "a", 1, 1);
            assert_eq!(world.sequences(members[1]), [101]);
            assert!(!stays.is_empty());
        }
    }
}

#[test]
fn what_was_not_confirmed_comes_again_from_the_files_too() {
    let mut world = World::with_main();
    let producer = world.open(1);
    let members = join(&mut world, 10..12, ">");
    world.fill(producer, "a", 100, 1000);
    let lost = world.sequences(members[0]);
    world.got(members[1]);
    world.fill(producer, "a", 600, 1000);
    let later = world.sequences(members[0]);
    world.confirm(members[0], 0, later[0], *later.last().unwrap());
    world.got(members[1]);
    world.close(members[0]);
    world.settle();
    assert_eq!(world.sequences(members[1]), lost);
    assert_eq!(world.buffers_out(), 0);
}

#[test]
fn a_confirm_up_to_a_sequence_confirms_everything_before() {
    let mut world = World::with_main();
    let producer = world.open(1);
    let members = join(&mut world, 10..12, ">");
    world.fill(producer, "a", 50, 100);
    let gone = world.sequences(members[0]);
    world.got(members[1]);
    world.confirm(members[0], 0, 0, gone[gone.len() - 3]);
    world.close(members[0]);
    world.settle();
    assert_eq!(world.sequences(members[1]), gone[gone.len() - 2..]);
}

#[test]
fn without_explicit_confirms_what_was_sent_is_not_sent_again() {
    let mut world = World::with_main();
    let producer = world.open(1);
    let members: Vec<_> = (10..12)
        .map(|slot| {
            let session = world.open(slot);
            let subscribe = Subscribe {
                flags: SubscribeFlags::empty(),
                ..member(">")
            };
            world.subscribe_with(session, &subscribe).unwrap();
            session
        })
        .collect();
    world.stuck.insert(members[0]);
    world.fill(producer, "a", 20, 10);
    world.stuck.clear();
    world.settle();
    let sent = world.sequences(members[0]);
    assert!(!sent.is_empty());
    world.got(members[1]);
    world.stuck.insert(members[0]);
    world.fill(producer, "a", 20, 10);
    world.got(members[1]);
    world.close(members[0]);
    world.settle();
    let again = world.sequences(members[1]);
    assert!(
        !again.is_empty(),
        "what was handed over and never left goes to the other"
    );
    assert!(again.iter().all(|sequence| !sent.contains(sequence)));
}

#[test]
fn what_is_dropped_before_a_session_ends_goes_to_the_other() {
    let mut world = World::with_main();
    let producer = world.open(1);
    let members = [10, 11].map(|slot| {
        let session = world.open(slot);
        let subscribe = Subscribe {
            flags: SubscribeFlags::empty(),
            ..member(">")
        };
        world.subscribe_with(session, &subscribe).unwrap();
        session
    });
    // It is told to go, takes nothing any more, and is still given its share until it has gone.
    world.stuck.insert(members[0]);
    for _ in 0..3 {
        world.fill(producer, "a", 20, 10);
        world.drop_waiting(members[0]);
    }
    let mut got = world.sequences(members[1]);
    assert!(got.len() < 60, "nothing was given to the one that goes");
    world.close(members[0]);
    world.settle();
    got.extend(world.sequences(members[1]));
    got.sort_unstable();
    assert!(got.into_iter().eq(1..=60));
}

#[test]
fn a_member_that_had_too_many_ranges_under_way_goes_on_when_they_have_left() {
    let mut world = with_four_ranges();
    let (producer, slow) = (world.open(1), world.open(10));
    let subscribe = Subscribe {
        flags: SubscribeFlags::empty(),
        ..member("x")
    };
    world.subscribe_with(slow, &subscribe).unwrap();
    world.stuck.insert(slow);
    for nth in 0..20 {
        world.publish(producer, &[(if nth % 2 == 0 { "x" } else { "y" }, b"")]);
    }
    world.settle();
    world.stuck.clear();
    world.settle();
    let got = world.sequences(slow);
    assert!(got.into_iter().eq((1..20).step_by(2)));
}

#[test]
fn a_member_without_credit_keeps_nobody_waiting() {
    let mut world = World::with_main();
    let producer = world.open(1);
    let poor = world.open(10);
    let subscribe = Subscribe {
        credit_bytes: 0,
        ..member(">")
    };
    world.subscribe_with(poor, &subscribe).unwrap();
    let rich = join(&mut world, 11..12, ">")[0];
    world.fill(producer, "a", 50, 100);
    assert!(world.sequences(poor).is_empty());
    assert!(world.sequences(rich).into_iter().eq(1..=50));
}

#[test]
fn a_member_that_confirms_nothing_is_given_only_so_much() {
    let mut world = with_four_ranges();
    let (producer, lazy) = (world.open(1), world.open(10));
    world.subscribe_with(lazy, &member("x")).unwrap();
    for nth in 0..20 {
        world.publish(producer, &[(if nth % 2 == 0 { "x" } else { "y" }, b"")]);
    }
    world.settle();
    let got = world.sequences(lazy);
    assert_eq!(got, [1, 3, 5, 7]);
    world.confirm(lazy, 0, 1, 3);
    world.settle();
    assert_eq!(world.sequences(lazy), [9, 11]);
    world.confirm(lazy, 0, 0, 100);
    world.settle();
    assert_eq!(world.sequences(lazy), [13, 15, 17, 19]);
}

#[test]
fn groups_of_other_names_or_patterns_are_other_groups() {
    let mut world = World::with_main();
    let producer = world.open(1);
    let sessions: Vec<_> = [("one", ">"), ("two", ">"), ("one", "a")]
        .into_iter()
        .zip(10..)
        .map(|((group, pattern), slot)| {
            let session = world.open(slot);
            let subscribe = Subscribe {
                group,
                ..request(1, pattern)
            };
            world.subscribe_with(session, &subscribe).unwrap();
            session
        })
        .collect();
    world.fill(producer, "a", 30, 10);
    for session in sessions {
        assert!(world.sequences(session).into_iter().eq(1..=30));
    }
}

#[test]
fn what_comes_again_is_not_lost_behind_a_definition() {
    // The members' shares are so small that a run ends behind a definition, before the record that is to come again.
    let mut world = World::with_main();
    let producer = world.open(1);
    let members = join(&mut world, 10..13, ">");
    for (subject, bytes) in [("a.c", 0), ("a", 1393), ("a.b", 0)] {
        world.publish(producer, &[(subject, &vec![0; bytes])]);
        world.settle();
    }
    let mut all = Vec::new();
    for member in members {
        all = world.sequences(member);
        world.close(member);
        world.settle();
    }
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3], "the last one got everything");
}
