//! Extracts: every record of files that nobody has opened, and what is damaged in its place.

use std::ops::ControlFlow;

use trunkline_log::testing::MemoryFiles;
use trunkline_log::{Beginning, Extracted, extract};

use crate::damage::synced;
use crate::world::{World, small};

/// What came: sequences of records, each compared with what was appended, and ranges of lost ones.
fn extracted(world: &World, files: &MemoryFiles, from: Beginning) -> (Vec<u64>, Vec<(u64, u64)>) {
    let (mut came, mut lost) = (Vec::new(), Vec::new());
    let take = |one: Extracted<'_>| {
        match one {
            Extracted::Record { record, subject } => {
                let told = &world.told[record.sequence() as usize - 1];
                assert_eq!((subject, record.payload()), (&*told.subject, &*told.body));
                assert_eq!(record.timestamp_ns(), told.timestamp_ns);
                came.push(record.sequence());
            }
            Extracted::Lost(damage) => lost.push((damage.first, damage.last)),
        }
        ControlFlow::Continue(())
    };
    extract(&mut files.clone(), from, |_, _| {}, take).expect("it can be read");
    (came, lost)
}

#[test]
fn everything_comes_in_order_from_where_it_is_asked_for() {
    let world = synced(small(), 600, 300);
    let all: Vec<u64> = (1..=600).collect();
    assert_eq!(
        extracted(&world, &world.files, Beginning::default()),
        (all.clone(), vec![])
    );
    for sequence in [1, 2, 170, 171, 400, 600, 601] {
        let from = Beginning {
            sequence,
            timestamp_ns: 0,
        };
        let (came, _) = extracted(&world, &world.files, from);
        assert_eq!(came, (sequence..=600).collect::<Vec<_>>());
    }
    let mut middle = world.told[299].timestamp_ns;
    let first = world
        .told
        .iter()
        .position(|told| told.timestamp_ns >= middle)
        .unwrap() as u64
        + 1;
    let from = |timestamp_ns| Beginning {
        sequence: 0,
        timestamp_ns,
    };
    assert_eq!(
        extracted(&world, &world.files, from(middle)).0,
        (first..=600).collect::<Vec<_>>()
    );
    middle = u64::MAX;
    assert_eq!(extracted(&world, &world.files, from(middle)).0, []);
}

#[test]
fn it_ends_where_it_is_told_to() {
    let world = synced(small(), 600, 300);
    let mut count = 0;
    let take = |_: Extracted<'_>| {
        count += 1;
        if count == 250 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    extract(
        &mut world.files.clone(),
        Beginning::default(),
        |_, _| {},
        take,
    )
    .expect("it can be read");
    assert_eq!(count, 250);
}

#[test]
fn damage_comes_in_its_place_and_the_rest_goes_on() {
    let world = synced(small(), 600, 300);
    for segment in 0..world.log.segment_count() {
        let used = world
            .log
            .received()
            .position
            .saturating_sub(segment << 16)
            .min(1 << 16);
        for offset in (0..used - 4096).step_by(509) {
            let mut files = world.files.clone();
            files.contents_mut(segment).expect("the segment")[offset as usize] ^= 4;
            let (mut came, lost) = extracted(&world, &files, Beginning::default());
            assert!(
                lost.len() <= 200,
                "segment {segment}, byte {offset}: {lost:?}"
            );
            for (first, last) in lost {
                came.extend(first..=last);
            }
            came.sort_unstable();
            assert_eq!(
                came,
                (1..=600).collect::<Vec<_>>(),
                "segment {segment}, byte {offset}"
            );
        }
    }
}

#[test]
fn a_file_that_is_missing_or_short_is_told_in_its_place() {
    let world = synced(small(), 600, 300);
    let mut files = world.files.clone();
    files.contents_mut(1).expect("the segment").truncate(30_000);
    let (came, lost) = extracted(&world, &files, Beginning::default());
    assert_eq!(lost.len(), 1);
    assert_eq!(came.len() as u64 + lost[0].1 + 1 - lost[0].0, 600);
    // Of what lies before the place that is asked for, nothing is said.
    let from = Beginning {
        sequence: lost[0].1 + 1,
        timestamp_ns: 0,
    };
    assert_eq!(extracted(&world, &files, from).1, []);
}

#[test]
fn what_is_left_of_a_file_of_another_length_comes() {
    let world = synced(small(), 600, 300);
    let bytes = world.config.segment_bytes as usize;
    let last = world.log.segment_count() - 1;
    assert!(last >= 2);
    for segment in 0..=last {
        let mut before = 0;
        for length in [100, 500, 5000, 30_000, 50_000, bytes - 1, bytes + 1] {
            let mut files = world.files.clone();
            let contents = files.contents_mut(segment).expect("the segment");
            contents.resize(length, 0);
            let (came, lost) = extracted(&world, &files, Beginning::default());
            let [(first, end)] = lost[..] else {
                panic!("segment {segment} of {length} bytes: {lost:?}");
            };
            // Each record came, or is among those that are told as lost.
            let all = came.iter().copied().chain(first..=end);
            let all: std::collections::BTreeSet<u64> = all.collect();
            assert_eq!(all.len() as u64, came.len() as u64 + end + 1 - first);
            assert_eq!(all.first(), Some(&1));
            assert_eq!(all.last(), Some(&(all.len() as u64)), "without a gap");
            // How far the last segment went, only its own marks say.
            if segment < last {
                assert_eq!(all.len(), 600, "segment {segment} of {length} bytes");
            }
            assert!(came.len() >= before, "the more is left, the more comes");
            before = came.len();
        }
        // Of the last segment, what is behind its records; of the others, the seal.
        assert_eq!(before, 600);
    }
}
