//! Everything that is small: every sequence of a few operations on one log, a crash at every moment of each, and of what the disk may
//! hold then every combination, as far as there are not too many. Most bugs of file systems need no more than three operations.
//!
//! A sequence of which an operation changes nothing is the same as a shorter one, and is left out. A state of the disk with the same promises is
//! recovered once.

mod disk;
mod machine;

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use trunkline_log::Request;
use trunkline_log::testing::Rng;

use self::disk::SmallDisk;
use self::machine::{Beginning, Crash, Machine, Operation, Start};

/// What was covered.
#[derive(Debug, Default)]
pub struct Small {
    /// Sequences of operations, each begun anew.
    pub sequences: AtomicU64,
    /// Moments at which a crash was tried, also within recovery.
    pub crash_points: AtomicU64,
    /// What disks held after these crashes.
    pub crash_states: AtomicU64,
    /// Those of them that were new, and were recovered and read.
    pub distinct: AtomicU64,
    /// Those after which something was wrong: the first ends everything.
    pub violations: AtomicU64,
}

impl Small {
    /// Names and counts of what was covered.
    pub fn rows(&self) -> [(&'static str, u64); 4] {
        [
            ("sequences of operations", load(&self.sequences)),
            ("crash points", load(&self.crash_points)),
            ("crash states", load(&self.crash_states)),
            (
                "different ones, each recovered, read, and recovered after another power loss",
                load(&self.distinct),
            ),
        ]
    }
}

/// Tries all sequences of up to `length` operations, on so many threads.
///
/// # Errors
/// The sequence, the crash and what was wrong after it.
pub fn run_small(length: usize, jobs: usize, counts: &Small) -> Result<(), String> {
    let mut starts = Vec::new();
    for beginning in Beginning::ALL {
        let start = beginning.build()?;
        starts.push((beginning, start));
    }
    let explorer = Explorer {
        length,
        counts,
        seen: Mutex::default(),
        failure: Mutex::default(),
        has_failed: AtomicBool::new(false),
    };
    // By beginning and first two operations, so that all threads have something to do.
    let all = Operation::ALL;
    let tasks = starts.len() * all.len() * all.len();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let task = next.fetch_add(1, Ordering::Relaxed);
                    if task >= tasks || explorer.has_failed.load(Ordering::Relaxed) {
                        return;
                    }
                    let (beginning, start) = &starts[task / all.len() / all.len()];
                    let first = all[task / all.len() % all.len()];
                    let second = all[task % all.len()];
                    let mut sequence = vec![first];
                    let tried = explorer.begin(start, &mut sequence, second);
                    if let Err(reason) = tried {
                        explorer.fail(format!("{beginning:?}, {sequence:?}: {reason}"));
                    }
                }
            });
        }
    });
    let failure = explorer.failure.into_inner();
    match failure.unwrap_or_else(PoisonError::into_inner) {
        Some(reason) => Err(reason),
        None => Ok(()),
    }
}

thread_local! {
    /// What this thread tries.
    static CURRENT: RefCell<Vec<Operation>> = const { RefCell::new(Vec::new()) };
}

/// The operations that this thread has tried last, for whoever tells of a panic.
pub fn current_small() -> String {
    CURRENT.with_borrow(|current| format!("{current:?}"))
}

struct Explorer<'c> {
    length: usize,
    counts: &'c Small,
    /// States of the disk with what they must hold.
    seen: Mutex<HashSet<u64>>,
    failure: Mutex<Option<String>>,
    has_failed: AtomicBool,
}

impl Explorer<'_> {
    /// All sequences that begin with `sequence`, of one operation, and `second`.
    fn begin(
        &self,
        start: &Start,
        sequence: &mut Vec<Operation>,
        second: Operation,
    ) -> Result<(), String> {
        // Once is enough for what is common to all of the second ones.
        let changed = if second == Operation::ALL[0] {
            self.counts.sequences.fetch_add(1, Ordering::Relaxed);
            self.last_of(start, sequence, &mut |crash| self.look(crash))?
        } else {
            self.last_of(start, sequence, &mut |_| Ok(()))?
        };
        if changed && self.length > 1 {
            sequence.push(second);
            self.explore(start, sequence)?;
            sequence.pop();
        }
        Ok(())
    }

    /// All sequences that begin with this one. What is in `sequence` when it fails has failed.
    fn explore(&self, start: &Start, sequence: &mut Vec<Operation>) -> Result<(), String> {
        if self.has_failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.counts.sequences.fetch_add(1, Ordering::Relaxed);
        if !self.last_of(start, sequence, &mut |crash| self.look(crash))? {
            return Ok(());
        }
        if sequence.len() < self.length {
            for operation in Operation::ALL {
                sequence.push(operation);
                self.explore(start, sequence)?;
                sequence.pop();
            }
        }
        Ok(())
    }

    /// Does all of a sequence, and looks at the last operation. Whether that has changed anything.
    fn last_of(
        &self,
        start: &Start,
        sequence: &[Operation],
        look: &mut dyn FnMut(&Crash<'_>) -> Result<(), String>,
    ) -> Result<bool, String> {
        CURRENT.with_borrow_mut(|current| sequence.clone_into(current));
        let mut machine = Machine::new(start)?;
        let Some((last, before)) = sequence.split_last() else {
            return Ok(false);
        };
        machine.is_alone = true;
        for operation in before {
            machine.work(*operation, &mut |_| Ok(()))?;
        }
        machine.is_alone = false;
        machine.work(*last, look)
    }

    /// Tries what a crash may leave now.
    fn look(&self, crash: &Crash<'_>) -> Result<(), String> {
        self.counts.crash_points.fetch_add(1, Ordering::Relaxed);
        // The process is killed: requests under way are done or not.
        let under_way = |kinds: fn(&Request) -> bool| -> Vec<Request> {
            let requests = crash.in_flight.iter().map(|(_, _, request)| *request);
            requests.filter(kinds).collect()
        };
        let all = under_way(|request| !matches!(request, Request::Sync { .. }));
        for chosen in combinations(&vec![2; all.len()]) {
            let mut disk = crash.disk.clone();
            for (request, _) in all.iter().zip(&chosen).filter(|one| *one.1 == 1) {
                crash.execute(&mut disk, *request);
            }
            self.check(crash, disk, crash.stored, || {
                format!("killed, of {all:?} were done {chosen:?}")
            })?;
        }
        // Power fails: names come and go or do not, writes come to the device in part.
        let writes = under_way(|request| matches!(request, Request::Write { .. }));
        let names = under_way(|request| {
            matches!(request, Request::Prepare { .. } | Request::Remove { .. })
        });
        let mut written = crash.disk.clone();
        for request in writes {
            crash.execute(&mut written, request);
        }
        let mut options = vec![2; names.len()];
        options.extend(written.choices());
        for chosen in combinations(&options) {
            let (done, pages) = chosen.split_at(names.len());
            let mut disk = written.clone();
            disk.lose_power(pages.iter().copied());
            for (request, done) in names.iter().zip(done) {
                if *done == 1 {
                    crash.execute(&mut disk, *request);
                }
            }
            self.check(crash, disk, crash.synced, || {
                format!("power failed and left {chosen:?}")
            })?;
        }
        Ok(())
    }

    fn check(
        &self,
        crash: &Crash<'_>,
        disk: SmallDisk,
        promised: u64,
        what: impl FnOnce() -> String,
    ) -> Result<(), String> {
        self.counts.crash_states.fetch_add(1, Ordering::Relaxed);
        let mut hash = crate::trace::Hash::default();
        for number in [disk.fingerprint(), crash.fingerprint(), promised] {
            hash.number(number);
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = seen.insert(hash.finish());
        drop(seen);
        if !is_new {
            return Ok(());
        }
        self.counts.distinct.fetch_add(1, Ordering::Relaxed);
        let checked = crash.check(disk, promised);
        checked.map_err(|reason| format!("{}: {reason}", what()))
    }

    fn fail(&self, reason: String) {
        self.has_failed.store(true, Ordering::Relaxed);
        self.counts.violations.fetch_add(1, Ordering::Relaxed);
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(reason);
    }
}

/// All combinations of so many options each; of more than [`COMBINATIONS_MAX`], those that differ from nothing or from everything in
/// one place, those that end somewhere, and some others.
fn combinations(options: &[usize]) -> Vec<Vec<usize>> {
    let all = options.iter().try_fold(1_usize, |product, count| {
        product
            .checked_mul(*count)
            .filter(|product| *product <= COMBINATIONS_MAX)
    });
    if let Some(all) = all {
        return (0..all).map(|nth| digits(nth, options)).collect();
    }
    let none = vec![0; options.len()];
    // The newest version; the torn one, where there is one, comes behind it.
    let newest = |count: usize| if count > 2 { count - 2 } else { 1 };
    let whole: Vec<usize> = options.iter().map(|count| newest(*count)).collect();
    let mut chosen = vec![none.clone(), whole.clone()];
    for (nth, count) in options.iter().enumerate() {
        let with = |base: &[usize], choice| {
            let mut base = base.to_vec();
            base[nth] = choice;
            base
        };
        chosen.push(with(&none, newest(*count)));
        chosen.push(with(&whole, 0));
        chosen.push(with(&whole, count - 1));
        let mut first = none.clone();
        first[..nth].copy_from_slice(&whole[..nth]);
        chosen.push(first);
    }
    let mut rng = Rng(options.len() as u64);
    while chosen.len() < COMBINATIONS_MAX {
        let some = options
            .iter()
            .map(|count| rng.below(*count as u64) as usize);
        chosen.push(some.collect());
    }
    chosen.truncate(COMBINATIONS_MAX);
    chosen
}

fn digits(mut number: usize, options: &[usize]) -> Vec<usize> {
    let digit = |count: &usize| {
        let digit = number % count;
        number /= count;
        digit
    };
    options.iter().map(digit).collect()
}

fn load(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

/// Combinations that are tried of one crash point.
const COMBINATIONS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_combinations_are_all_of_them_and_many_are_bounded() {
        let few: HashSet<Vec<usize>> = combinations(&[2, 3, 4]).into_iter().collect();
        assert_eq!(few.len(), 24);
        assert_eq!(combinations(&[]), vec![Vec::<usize>::new()]);
        let many = combinations(&[4; 9]);
        assert_eq!(many.len(), COMBINATIONS_MAX);
        assert!(many.iter().flatten().all(|choice| *choice < 4));
        let different: HashSet<Vec<usize>> = many.into_iter().collect();
        assert!(different.len() > 40, "{}", different.len());
    }
}
