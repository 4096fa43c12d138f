//! Everything that is small, in short: `cargo xtask sim` tries longer sequences.

use sim::{Small, run_small};

#[test]
fn every_sequence_of_three_operations_survives_every_crash() {
    let counts = Small::default();
    let tried = run_small(3, 2, &counts);
    for (name, count) in counts.rows() {
        println!("{count:>12}  {name}");
        assert!(count > 100, "{count} {name}");
    }
    assert_eq!(tried, Ok(()));
}
