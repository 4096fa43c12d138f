//! Error numbers as completions carry them: negative.

use std::io;

use rustix::io::Errno;

pub(crate) const fn negative(errno: Errno) -> i32 {
    -errno.raw_os_error()
}

/// A count as a completion's result.
pub(crate) fn count(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

pub(crate) fn result_of(result: Result<usize, Errno>) -> i32 {
    match result {
        Ok(bytes) => count(bytes),
        Err(errno) => negative(errno),
    }
}

pub(crate) fn of_io(error: &io::Error) -> i32 {
    -error.raw_os_error().unwrap_or(Errno::IO.raw_os_error())
}

pub(crate) const BAD_ID: i32 = negative(Errno::BADF);
pub(crate) const OUT_OF_REGION: i32 = negative(Errno::FAULT);
pub(crate) const BUSY: i32 = negative(Errno::ALREADY);
pub(crate) const CANCELED: i32 = negative(Errno::CANCELED);
pub(crate) const INVALID: i32 = negative(Errno::INVAL);
pub(crate) const TIMED_OUT: i32 = negative(Errno::TIME);
pub(crate) const TOO_MANY: i32 = negative(Errno::NFILE);
pub(crate) const TOO_LONG: i32 = negative(Errno::MSGSIZE);
