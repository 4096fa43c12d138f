//! Cores: which two are used, being bound to one, and how far apart they are.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rustix::thread::CpuSet;

/// Binds the calling thread, and what it starts, to one core.
///
/// # Panics
/// When this process may not run there.
pub fn pin(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores).expect("this core exists and may be used");
}

/// Runs something with the calling thread bound to one core; a process that it starts inherits this.
pub fn on_core<T>(core: Option<usize>, run: impl FnOnce() -> T) -> T {
    let Some(core) = core else { return run() };
    let before = rustix::thread::sched_getaffinity(None).expect("a thread may ask where it runs");
    pin(core);
    let result = run();
    rustix::thread::sched_setaffinity(None, &before).expect("it was allowed before");
    result
}

/// The first core that this process may use, and the next that is no sibling of it. `None` when there is one core only.
pub fn pair() -> Option<[usize; 2]> {
    let allowed = rustix::thread::sched_getaffinity(None).ok()?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    let first = cores.next()?;
    let siblings = siblings(first);
    let rest: Vec<usize> = cores.collect();
    let second = rest
        .iter()
        .find(|core| !siblings.contains(core))
        .or(rest.first())?;
    Some([first, *second])
}

fn siblings(core: usize) -> Vec<usize> {
    let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let range = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some(from.trim().parse::<usize>().ok()?..=to.trim().parse().ok()?)
    };
    text.split(',').filter_map(range).flatten().collect()
}

/// How often the calling thread was made to leave its core so far.
pub fn preemptions() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("linux has /proc");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok())
        .expect("the kernel counts switches")
}

/// Nanoseconds in which a cache line crosses between two cores now.
pub fn crossing_ns(cores: [usize; 2]) -> f64 {
    let (ball, gate) = (Ball::default(), Gate::default());
    let (ball, gate) = (&ball, &gate);
    std::thread::scope(|scope| {
        let side = |side: usize| {
            scope.spawn(move || {
                pin(cores[side]);
                gate.pass(2);
                ball.crossing_ns(side as u64)
            })
        };
        let sides = [side(0), side(1)];
        sides
            .into_iter()
            .map(|side| side.join().expect("it only spins"))
            .fold(f64::MAX, f64::min)
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_takes_time_to_cross() {
        let Some(cores) = pair() else { return };
        assert_ne!(cores[0], cores[1]);
        assert!(crossing_ns(cores) > 1.0);
    }

    #[test]
    fn the_thread_is_where_it_was_afterwards() {
        let before = rustix::thread::sched_getaffinity(None).unwrap();
        let Some([core, _]) = pair() else { return };
        on_core(Some(core), || {
            assert_eq!(rustix::thread::sched_getaffinity(None).unwrap().count(), 1)
        });
        assert_eq!(rustix::thread::sched_getaffinity(None).unwrap(), before);
    }
}
