//! Waiting for the other side of a ring, and waking it no more often than it sleeps.
//!
//! The rings themselves never wait. Whoever finds one empty (or full) waits on a [`Signal`] by a
//! [`Strategy`]; whoever pushes (or pops) calls [`Signal::notify`], once per batch.
//!
//! | strategy | reacts in | costs |
//! |---|---|---|
//! | [`Spin`](Strategy::Spin) | 0.1–0.2 µs | a core |
//! | [`SpinThenPark`](Strategy::SpinThenPark) | the same while there is traffic, else ~30 µs | the spinning after each burst |
//! | [`Park`](Strategy::Park) | ~30 µs, the wake-up of a core | nothing; the waker a system call of some µs |
//!
//! `notify` is a fence and a load while the waiter is awake. A waiter that goes to sleep says so
//! first; the first notifier that sees it takes the mark away and makes the system call, so that a
//! burst costs one wake-up and not one per element.
//!
//! A `Signal` may lie in shared memory: it is a futex that works across processes. (Systems
//! without futexes get a mutex and a condition variable, within one process.)
//!
//! ```
//! use trunkline_ring::spsc::RingBuffer;
//! use trunkline_ring::wait::{Signal, Strategy};
//!
//! let (mut producer, mut consumer) = RingBuffer::<u64, 8>::channel();
//! let signal = Signal::new();
//! std::thread::scope(|scope| {
//!     scope.spawn(|| {
//!         producer.push(7).unwrap();
//!         signal.notify();
//!     });
//!     assert_eq!(signal.wait(Strategy::Park, None, || consumer.pop()), Some(7));
//! });
//! ```

use std::time::{Duration, Instant};

use crate::atomic::{AtomicU32, Ordering, fence, spin_loop};

/// How to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Test again and again; never sleep.
    Spin,
    /// Test so many times, then sleep until notified.
    SpinThenPark {
        /// How many tests come before the first sleep; one is some 10–50 ns, by the processor.
        spins: u32,
    },
    /// Sleep until notified, unless the first test succeeds.
    #[default]
    Park,
}

/// Where one side sleeps and the other wakes it. Several may sleep on one: all are woken.
#[derive(Debug)]
#[repr(C)]
pub struct Signal {
    /// The lowest bit, [`ASLEEP`], is set by whoever goes to sleep and taken away by whoever wakes;
    /// the others count the wake-ups. Without the count, a sleeper that is late to its futex could
    /// take another's mark, set after the wake-up that was meant for both, for its own.
    state: AtomicU32,
    system: system::Extra,
}

impl Signal {
    /// A signal that nobody waits on.
    pub fn new() -> Self {
        Self {
            state: AtomicU32::new(0),
            system: system::Extra::default(),
        }
    }

    /// Tests `ready` until it gives a value or `timeout` is over; `None` is for ever.
    ///
    /// `ready` is tested at least once. What it tests must be changed before
    /// [`notify`](Self::notify) is called.
    #[inline]
    pub fn wait<R>(
        &self,
        strategy: Strategy,
        timeout: Option<Duration>,
        mut ready: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        if let Some(result) = ready() {
            return Some(result);
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let spins = match strategy {
            Strategy::Spin => return spin(deadline, ready),
            Strategy::SpinThenPark { spins } => spins,
            Strategy::Park => 0,
        };
        for _ in 0..spins {
            spin_loop();
            if let Some(result) = ready() {
                return Some(result);
            }
        }
        self.park(deadline, ready)
    }

    /// Wakes whoever sleeps here; next to nothing when nobody does.
    ///
    /// To be called after the change that the sleeper waits for: after a push, or once after a batch.
    #[inline]
    pub fn notify(&self) {
        // Orders the change before the look at `state`. Partner: the fence in `park`. One of the
        // two sees what the other did: we that it sleeps, or it that there is something.
        fence(Ordering::SeqCst);
        let state = self.state.load(Ordering::Relaxed);
        if state & ASLEEP != 0 {
            self.wake(state);
        }
    }

    #[cold]
    #[inline(never)]
    fn wake(&self, state: u32) {
        // Takes the mark away and begins the next round, in one step: the carry out of the mark.
        // Only the notifier that succeeds makes the call; when another was faster, it makes it.
        let next = state.wrapping_add(ASLEEP);
        if self
            .state
            .compare_exchange(state, next, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
        {
            system::wake_all(self);
        }
    }

    #[cold]
    #[inline(never)]
    fn park<R>(
        &self,
        deadline: Option<Instant>,
        mut ready: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        loop {
            let state = self.state.fetch_or(ASLEEP, Ordering::Relaxed) | ASLEEP;
            // Orders the mark before the test. Partner: the fence in `notify`.
            fence(Ordering::SeqCst);
            // The mark stays when the test succeeds: another may sleep here. It costs the next
            // notifier one call for nothing.
            if let Some(result) = ready() {
                return Some(result);
            }
            let left =
                match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                    Some(Duration::ZERO) => return None,
                    left => left,
                };
            system::sleep_while(self, state, left);
        }
    }
}

impl Default for Signal {
    fn default() -> Self {
        Self::new()
    }
}

fn spin<R>(deadline: Option<Instant>, mut ready: impl FnMut() -> Option<R>) -> Option<R> {
    loop {
        for _ in 0..SPINS_PER_CLOCK {
            spin_loop();
            if let Some(result) = ready() {
                return Some(result);
            }
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return None;
        }
    }
}

const ASLEEP: u32 = 1;

/// How many tests come between two looks at the clock, which takes as long as a few tests.
const SPINS_PER_CLOCK: u32 = if cfg!(loom) { 1 } else { 64 };

#[cfg(all(target_os = "linux", not(loom)))]
mod system {
    use std::time::Duration;

    use rustix::thread::futex::{self, Flags, Timespec};

    use super::Signal;

    /// A futex needs nothing but the word.
    #[derive(Debug, Default)]
    pub(super) struct Extra(());

    /// Returns at once when the state has changed, which the kernel tests together with going
    /// to sleep; also returns for no reason, as futexes may.
    pub(super) fn sleep_while(signal: &Signal, state: u32, left: Option<Duration>) {
        let timeout = left.map(|left| Timespec {
            tv_sec: left.as_secs().min(i64::MAX as u64) as i64,
            tv_nsec: left.subsec_nanos().into(),
        });
        // Woken, changed before, interrupted, timed out: in each case the caller tests again.
        let _any = futex::wait(&signal.state, Flags::empty(), state, timeout.as_ref());
    }

    pub(super) fn wake_all(signal: &Signal) {
        let woken = futex::wake(&signal.state, Flags::empty(), i32::MAX as u32);
        debug_assert!(woken.is_ok(), "waking a valid futex failed: {woken:?}");
    }
}

/// A mutex and a condition variable in place of a futex.
#[cfg(not(all(target_os = "linux", not(loom))))]
mod system {
    use std::time::Duration;

    use super::Signal;
    use crate::atomic::{Condvar, Mutex, Ordering};

    #[derive(Debug)]
    pub(super) struct Extra {
        mutex: Mutex<()>,
        changed: Condvar,
    }

    impl Default for Extra {
        fn default() -> Self {
            Self {
                mutex: Mutex::new(()),
                changed: Condvar::new(),
            }
        }
    }

    pub(super) fn sleep_while(signal: &Signal, state: u32, left: Option<Duration>) {
        let guard = signal
            .system
            .mutex
            .lock()
            .expect("nothing panics under this lock");
        // The notifier changes the state before it takes the lock: it is seen here, or the
        // notification comes while we wait.
        if signal.state.load(Ordering::Relaxed) != state {
            return;
        }
        match left {
            Some(left) => drop(signal.system.changed.wait_timeout(guard, left)),
            None => drop(signal.system.changed.wait(guard)),
        }
    }

    pub(super) fn wake_all(signal: &Signal) {
        drop(
            signal
                .system
                .mutex
                .lock()
                .expect("nothing panics under this lock"),
        );
        signal.system.changed.notify_all();
    }
}
