//! What does not come is told.

use trunkline_log::{DiskError, LogConfig, Request, Storage};
use trunkline_wire::{AckLevel, GapReason, Start};

use crate::world::{Got, World, as_record, retention, small_log};

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
        .filter_map(as_record)
        .map(|(n, _)| n)
        .collect();
    assert!(sequences.into_iter().eq(first..=1000));
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
        .filter_map(as_record)
        .map(|(n, _)| n)
        .collect();
    assert!(sequences.into_iter().eq((1..first).chain(last + 1..=1000)));
    assert_eq!(
        world.shard.stream_info("main").unwrap().damaged,
        [(first, last)]
    );
    assert_eq!(world.out.damaged, [(first, last)]);
    // Who comes later is told, and nobody else.
    let later = world.open(3);
    world.subscribe(later, 1, ">", Start::First);
    world.settle();
    let gaps = world.got(later).into_iter();
    assert_eq!(gaps.filter(|got| matches!(got, Got::Gap { .. })).count(), 1);
    assert_eq!(world.out.damaged, [(first, last)]);
}

#[test]
fn a_read_that_fails_is_told_as_damage() {
    let mut world = World::with_main();
    let producer = world.open(1);
    world.fill(producer, "a", 1000, 1000);
    let subscriber = world.open(2);
    world.fail = Some(|request| match request {
        Request::Read { segment: 1, .. } => Some(DiskError::from_errno(5)),
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
