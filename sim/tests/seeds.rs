//! Seeds that have found something, in the log or in what the simulation asked of it.
//!
//! What a seed does changes with the simulation, so what each of them found has a test of its own in `crates/log` as well, or is said in `docs/format/log.md`.

use sim::{Options, run};

#[track_caller]
fn holds(seed: u64) {
    let outcome = run(&Options::new(seed));
    assert_eq!(outcome.violation, None, "seed {seed}");
}

/// Where only a damaged seal and the segment record behind it told that a segment is gone, the removed file was named as damaged.
#[test]
fn seed_153_a_damaged_seal_that_told_of_a_removal() {
    holds(153);
}

/// Damage at the end of what was synced reached over records behind it that had never been.
#[test]
fn seed_538_damage_that_ends_where_anything_was_synced() {
    holds(538);
}

/// Records of another stream's page had exactly the sequences that were due up to the next mark: nothing in them tells.
#[test]
fn seed_5835_a_page_of_another_stream_that_joins_a_mark() {
    holds(5835);
}

/// What had been found was judged by the page cache, which held records that recovery, reading past it, had not found.
#[test]
fn seed_1543_records_that_only_the_page_cache_had() {
    holds(1543);
}

/// A reader went on behind a page of another stream with what followed on it, whose sequence was one too high.
#[test]
fn seed_3121_a_page_of_another_stream_whose_sequences_are_one_ahead() {
    holds(3121);
}

/// A removal that failed was not tried again where the stream had nothing else to do.
#[test]
fn seed_3249_the_last_removal_that_failed() {
    holds(3249);
}

/// Where what was held for a subscriber left no room to tell of a removal, nothing told the stream when there was.
#[test]
fn seed_7124_a_removal_that_waits_for_room() {
    holds(7124);
}

/// A page whose whole record was not due had a length that led to the next one; what the index knows is up to two strides apart.
#[test]
fn seeds_3638_and_5771_a_reader_that_trusts_nothing_behind_a_page_of_another_stream() {
    holds(3638);
    holds(5771);
}
