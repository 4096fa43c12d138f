//! Waking a reactor from another thread, for the price of a fence while it is awake.
//!
//! ```text
//!          wake()                      about to block
//! AWAKE ----------> NOTIFIED    AWAKE ----------------> PARKED
//!   ^   <----------               ^                        |
//!   |    next block is skipped    |  wake(): write eventfd |
//!   +-----------------------------+------------------------+
//! ```
//! The waker publishes its work first and looks at the state second; the reactor changes the state first and looks at its
//! inputs second. Both have a sequentially consistent step between the two, so one of them sees the other.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use rustix::event::{EventfdFlags, eventfd};

/// Wakes one reactor; cheap to clone and to call.
#[derive(Clone, Debug)]
pub struct Waker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: AtomicU32,
    event: OwnedFd,
}

const AWAKE: u32 = 0;
const NOTIFIED: u32 = 1;
const PARKED: u32 = 2;

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            shared: Arc::new(Shared {
                state: AtomicU32::new(AWAKE),
                event,
            }),
        })
    }

    /// Makes the reactor's current or next wait return. Never blocks; a system call only when the reactor is parked.
    #[inline]
    pub fn wake(&self) {
        // Pairs with the read-modify-write in `try_park` and `unpark`: the caller's work is visible before the state is read.
        fence(Ordering::SeqCst);
        if self.shared.state.load(Ordering::Relaxed) == NOTIFIED {
            return;
        }
        if self.shared.state.swap(NOTIFIED, Ordering::SeqCst) == PARKED {
            self.ring();
        }
    }

    /// True when the reactor may block now; false when a wake came since the last time, which this call consumes.
    pub(crate) fn try_park(&self) -> bool {
        let parked = self
            .shared
            .state
            .compare_exchange(AWAKE, PARKED, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok();
        if !parked {
            self.shared.state.store(AWAKE, Ordering::SeqCst);
        }
        parked
    }

    /// After blocking.
    pub(crate) fn unpark(&self) {
        self.shared.state.swap(AWAKE, Ordering::SeqCst);
    }

    #[cold]
    fn ring(&self) {
        // A full counter means that the descriptor is readable, which is all that is wanted.
        let _ = rustix::io::write(&self.shared.event, &1u64.to_ne_bytes());
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }
}

impl AsRawFd for Waker {
    fn as_raw_fd(&self) -> RawFd {
        self.shared.event.as_raw_fd()
    }
}
