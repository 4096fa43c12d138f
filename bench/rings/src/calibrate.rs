//! What the machine did during a sample: how far apart the cores were, and who was interrupted.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Binds the calling thread to one core.
pub fn pin(core: usize) {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores).expect("this core exists and may be used");
}

/// How often the calling thread was made to leave its core so far.
pub fn preemptions() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("linux has /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).expect("the kernel counts switches")
}

/// A line that two threads pass to and fro.
#[repr(align(128))]
#[derive(Default)]
pub struct Ball(AtomicU64);

const ROUNDS: u64 = 1000;

impl Ball {
    /// Nanoseconds in which a line crosses from one core to the other. Both threads call it, each
    /// with another `side`; a ball serves once.
    pub fn crossing_ns(&self, side: u64) -> f64 {
        let mut best = f64::MAX;
        // The first throws warm up; the best of five parts leaves interruptions out.
        for part in 0..6 {
            let start = Instant::now();
            for round in 0..ROUNDS {
                let turn = (part * ROUNDS + round) * 2 + side;
                while self.0.load(Ordering::Acquire) != turn {
                    std::hint::black_box(());
                }
                self.0.store(turn + 1, Ordering::Release);
            }
            if part > 0 {
                best = best.min(start.elapsed().as_nanos() as f64 / (2 * ROUNDS) as f64);
            }
        }
        best
    }
}

/// Both threads leave it at the same moment, some spinning after the later one came.
#[derive(Default)]
pub struct Gate(AtomicU64);

impl Gate {
    pub fn pass(&self, threads: u64) {
        let generation = self.0.fetch_add(1, Ordering::AcqRel) / threads;
        let mut spins = 0u32;
        while self.0.load(Ordering::Acquire) / threads == generation {
            spin_loop();
            spins += 1;
            if spins.is_multiple_of(1000) {
                std::thread::yield_now();
            }
        }
    }
}
