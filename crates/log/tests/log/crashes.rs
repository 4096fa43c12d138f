//! Crashes at any moment, and what must be there afterwards.

use proptest::prelude::*;
use trunkline_log::{AppendError, Durability, LogConfig, Retention};

use crate::world::{SECOND, World, small};

#[derive(Clone, Debug)]
enum Operation {
    Append {
        count: usize,
        len: usize,
        subject: u8,
    },
    Flush,
    Complete {
        count: usize,
        pick: usize,
    },
    Settle,
    WantSynced,
    Advance {
        ms: u64,
    },
    Read,
}

#[derive(Clone, Copy, Debug)]
enum Crash {
    /// The process is killed: what was written stays.
    Kill,
    /// Power fails: what was not synced stays in part.
    PowerLoss { granule: usize },
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        6 => (1..40_usize, prop_oneof![4 => 0..200_usize, 1 => 0..5000_usize], 0..20_u8)
            .prop_map(|(count, len, subject)| Operation::Append { count, len, subject }),
        4 => Just(Operation::Flush),
        6 => (1..4_usize, 0..8_usize).prop_map(|(count, pick)| Operation::Complete { count, pick }),
        1 => Just(Operation::Settle),
        1 => Just(Operation::WantSynced),
        1 => (1..2000_u64).prop_map(|ms| Operation::Advance { ms }),
        1 => Just(Operation::Read),
    ];
    proptest::collection::vec(operation, 1..60)
}

fn crash() -> impl Strategy<Value = Crash> {
    prop_oneof![
        Just(Crash::Kill),
        Just(Crash::PowerLoss { granule: 4096 }),
        Just(Crash::PowerLoss { granule: 512 })
    ]
}

fn run(world: &mut World, operation: &Operation) {
    match *operation {
        Operation::Append {
            count,
            len,
            subject,
        } => {
            for _ in 0..count {
                match world.append(&format!("s{subject}"), len) {
                    Ok(_) => {}
                    Err(AppendError::Full) => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        Operation::Flush => world.flush(),
        Operation::Complete { count, pick } => {
            for _ in 0..count {
                if !world.queue.requests.is_empty() {
                    world.complete(pick % world.queue.requests.len());
                }
            }
        }
        Operation::Settle => world.settle(),
        Operation::WantSynced => world.log.want_synced(world.log.received().sequence - 1),
        Operation::Advance { ms } => world.advance(ms * 1_000_000),
        Operation::Read => {
            let upto = world.log.stored();
            let read = world.read(world.log.seek_first(), upto, 10_000);
            assert_eq!(
                read,
                (world.log.first().sequence..upto.sequence).collect::<Vec<_>>()
            );
        }
    }
}

/// Crashes, recovers, and checks what the ack levels promised.
fn crash_and_recover(world: &mut World, crash: Crash) {
    let (received, stored, synced) = (world.log.received(), world.log.stored(), world.log.synced());
    // Requests in flight may have been executed, in any order.
    let mut rng = world.rng.clone();
    for (_, _, request) in std::mem::take(&mut world.queue.requests) {
        if rng.below(2) == 0 && !matches!(request, trunkline_log::Request::Read { .. }) {
            let _ = trunkline_log::testing::execute(
                &world.log,
                &mut world.files,
                request,
                &mut Vec::new(),
            );
        }
    }
    let promised = match crash {
        Crash::Kill => stored.sequence,
        Crash::PowerLoss { .. } => {
            world.files.lose_power(&mut rng);
            synced.sequence
        }
    };
    // Recovery is killed, too, up to three times, and power fails again.
    for _ in 0..rng.below(4) {
        world.files.operations_left = rng.below(12);
        let interrupted = trunkline_log::Log::open(world.log.id(), &world.config, &mut world.files);
        drop(interrupted);
        world.files.operations_left = u64::MAX;
        if let Crash::PowerLoss { .. } = crash {
            world.files.lose_power(&mut rng);
        }
    }
    world.rng = rng;
    world.reopen().unwrap_or_else(|error| {
        panic!("{error}: received {received}, stored {stored}, synced {synced}")
    });
    let found = world.log.received().sequence;
    assert!(
        found >= promised,
        "acknowledged up to {promised}, found {found}"
    );
    assert!(
        found <= received.sequence,
        "nothing appears that was never appended"
    );
    world.read_all();
    // What is served now survives the next power loss.
    let mut files = world.files.clone();
    files.lose_power(&mut world.rng);
    let again = World::on(world.config.clone(), files, 0).expect("recovery left nothing unsynced");
    assert_eq!(
        again.log.received().sequence,
        found,
        "a reader saw what the next crash took back"
    );
}

proptest! {
    // More cases by `PROPTEST_CASES`.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_acknowledged_is_lost(
        seed: u64,
        synced: bool,
        capped: bool,
        lives in proptest::collection::vec((operations(), crash()), 1..4),
    ) {
        let durability = if synced { Durability::Synced } else { Durability::Stored };
        let retention = Retention { bytes_max: capped.then_some(4 * (64 << 10)), ..Retention::default() };
        let mut world = World::new(LogConfig { durability, retention, sync_interval_ns: SECOND / 2, ..small() }, seed);
        for (operations, crash) in &lives {
            if let Crash::PowerLoss { granule } = crash {
                world.files.lose_power(&mut trunkline_log::testing::Rng(0));
                world.files.granule = *granule;
                // Everything was durable: nothing changes by changing what power loss tears.
                world.reopen().expect("nothing was in flight");
            }
            for operation in operations {
                run(&mut world, operation);
            }
            crash_and_recover(&mut world, *crash);
        }
        for _ in 0..50 {
            world.append_waiting("after", 100);
        }
        world.sync_all();
        world.reopen().expect("in order");
        world.read_all();
    }
}

#[test]
fn a_mark_that_only_the_page_cache_holds_is_made_durable_before_anything_counts_on_it() {
    for seed in 0..16 {
        let mut world = World::new(
            LogConfig {
                durability: Durability::Synced,
                ..small()
            },
            seed,
        );
        world.append("a", 100).expect("room");
        world.sync_all();
        // Idle: a mark tells that the sync succeeded. It is written, not synced.
        world.advance(SECOND / 10);
        world.settle();
        assert!(world.log.received().position > world.log.synced().position);
        // Killed and started again; then a synced write, which covers its own bytes.
        world.reopen().expect("in order");
        world.append("a", 100).expect("room");
        world.sync_all();
        world.files.lose_power(&mut world.rng);
        world
            .reopen()
            .expect("nothing that was told to be durable is missing");
        assert_eq!(world.read_all(), [1, 2]);
    }
}
