//! Threads that each do a part of the work, and a line now and then that says how far they are.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Has `work` done on each part, in a thread of its own, to the end of all of them. `failed` is set when one has failed: the others look
/// at it, and end early.
///
/// # Errors
/// What was wrong with each part that failed.
pub(crate) fn side_by_side<P: Send>(
    parts: Vec<P>,
    failed: &AtomicBool,
    work: impl Fn(P) -> Result<(), String> + Sync,
    progress: impl Fn() -> String,
) -> Result<(), String> {
    let work = &work;
    let failures: Vec<String> = thread::scope(|scope| {
        let threads = parts.into_iter().map(|part| {
            scope.spawn(move || {
                let ended = work(part);
                failed.fetch_or(ended.is_err(), Ordering::Relaxed);
                ended
            })
        });
        let threads: Vec<_> = threads.collect();
        let mut told = Instant::now();
        while threads.iter().any(|one| !one.is_finished()) {
            thread::park_timeout(LOOK_EVERY);
            if told.elapsed() > TELL_EVERY {
                told = Instant::now();
                eprintln!("torture: {}", progress());
            }
        }
        let ended = threads.into_iter().map(|one| {
            one.join()
                .unwrap_or_else(|_| Err("a thread panicked".into()))
        });
        ended.filter_map(Result::err).collect()
    });
    if failures.is_empty() {
        Ok(())
    } else {
        Err(failures.join("\ntorture: "))
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(50);
const TELL_EVERY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_one_fails_the_others_hear_of_it_and_what_failed_is_told() {
        let failed = AtomicBool::new(false);
        let work = |part: u32| {
            if part == 2 {
                return Err("part 2 is wrong".into());
            }
            while !failed.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            Ok(())
        };
        let ended = side_by_side(vec![1, 2, 3], &failed, work, String::new);
        assert_eq!(ended, Err("part 2 is wrong".into()));
        let ended = side_by_side(vec![1, 3], &failed, work, String::new);
        assert_eq!(ended, Ok(()));
    }
}
