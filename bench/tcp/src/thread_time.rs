//! The CPU time of another thread, read from outside so that the thread needs no code for it.

use std::os::unix::thread::JoinHandleExt;
use std::thread::JoinHandle;
use std::time::Duration;

#[derive(Clone, Copy)]
pub struct ThreadTime(libc::clockid_t);

impl ThreadTime {
    pub fn of<T>(thread: &JoinHandle<T>) -> Self {
        let mut clock = 0;
        // SAFETY: the handle's thread has not been joined, so its id is valid; `clock` is writable.
        let error = unsafe { libc::pthread_getcpuclockid(thread.as_pthread_t(), &mut clock) };
        assert_eq!(error, 0, "the thread's clock cannot be read");
        Self(clock)
    }

    pub fn read(self) -> Duration {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `time` is writable; a clock of a thread that has ended would be an error, not undefined.
        let error = unsafe { libc::clock_gettime(self.0, &mut time) };
        assert_eq!(error, 0, "the thread has ended");
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}
