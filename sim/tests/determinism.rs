//! The same seed gives the same run, event by event: without that, a failing seed is worth nothing.

use sim::{Options, run};

const SEEDS: u64 = 200;

#[test]
fn two_hundred_seeds_give_the_same_trace_twice() {
    let next = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= SEEDS {
                        return;
                    }
                    let options = Options {
                        steps: 600,
                        ..Options::new(seed)
                    };
                    let (one, two) = (run(&options), run(&options));
                    assert_eq!(one.violation, None, "seed {seed}");
                    assert_eq!(
                        (one.hash, one.events, &one.faults),
                        (two.hash, two.events, &two.faults),
                        "seed {seed} gives another run the second time"
                    );
                }
            });
        }
    });
}

#[test]
fn another_seed_gives_another_trace() {
    assert_ne!(run(&Options::new(1)).hash, run(&Options::new(2)).hash);
}
