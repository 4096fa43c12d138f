//! The ways.

pub mod aeron;
pub mod iceoryx;
pub mod stream;
pub mod zeromq;

use std::time::Instant;

use bench_harness::Failure;

use crate::trips::PATIENCE;

/// Tries again and again, until it is done or nothing has come for a long time.
#[inline]
fn spin_until(mut is_done: impl FnMut() -> Result<bool, Failure>) -> Result<(), Failure> {
    let mut begin = None;
    for tries in 0u64.. {
        if is_done()? {
            return Ok(());
        }
        // The clock is looked at seldom, so that it does not slow down who spins.
        if tries % (1 << 16) == (1 << 16) - 1
            && begin.get_or_insert_with(Instant::now).elapsed() > PATIENCE
        {
            break;
        }
        std::hint::spin_loop();
    }
    Err("nothing comes".into())
}
