//! System calls on raw addresses: the few that safe wrappers cannot express because the memory belongs to a region, not
//! to a Rust reference.

use std::os::fd::{AsRawFd, RawFd};

use rustix::io::Errno;

/// Bytes that a region keeps alive while an operation holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) address: *const u8,
    pub(crate) len: usize,
}

/// Memory of a pool buffer that nobody else looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanMut {
    pub(crate) address: *mut u8,
    pub(crate) len: usize,
}

// SAFETY: a span is only an address; whoever dereferences it (the kernel, on behalf of a call below) does so while the slot
// of its operation holds the region, whichever thread makes the call.
unsafe impl Send for Span {}
// SAFETY: as above; the pool hands a buffer to one operation at a time.
unsafe impl Send for SpanMut {}

#[inline]
pub(crate) fn receive(socket: &impl AsRawFd, into: SpanMut) -> Result<usize, Errno> {
    let (fd, flags) = (socket.as_raw_fd(), libc::MSG_DONTWAIT);
    // SAFETY: `into` is `len` writable bytes of a pool buffer that was taken for this call, so no reference to it exists.
    check(unsafe { recv(fd, into.address, into.len, flags) })
}

#[inline]
pub(crate) fn send(socket: &impl AsRawFd, from: Span) -> Result<usize, Errno> {
    let (fd, flags) = (socket.as_raw_fd(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
    // SAFETY: `from` lies in a registered region, which stays mapped for the call; the kernel only reads it.
    check(unsafe { send_bytes(fd, from.address, from.len, flags) })
}

pub(crate) fn send_message(socket: &impl AsRawFd, message: &libc::msghdr) -> Result<usize, Errno> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the message points at a vector of the table of sends, and each of its spans lies in a registered region.
    check(unsafe { libc::sendmsg(socket.as_raw_fd(), message, flags) })
}

pub(crate) fn write_at(file: RawFd, from: Span, offset: u64) -> Result<usize, Errno> {
    // SAFETY: `from` lies in a region that the operation holds; the file table keeps the descriptor open meanwhile.
    check(unsafe { libc::pwrite(file, from.address.cast(), from.len, offset as i64) })
}

/// Writes and waits until the bytes are on the device.
pub(crate) fn write_at_synced(file: RawFd, from: Span, offset: u64) -> Result<usize, Errno> {
    let vector = libc::iovec {
        iov_base: from.address.cast_mut().cast(),
        iov_len: from.len,
    };
    // SAFETY: as in `write_at`; the vector lives on this stack for the call.
    check(unsafe { libc::pwritev2(file, &vector, 1, offset as i64, libc::RWF_DSYNC) })
}

pub(crate) fn read_at(file: RawFd, into: SpanMut, offset: u64) -> Result<usize, Errno> {
    // SAFETY: `into` is a pool buffer that was taken for this operation; the file table keeps the descriptor open meanwhile.
    check(unsafe { libc::pread(file, into.address.cast(), into.len, offset as i64) })
}

pub(crate) fn sync(file: RawFd, data_only: bool) -> Result<usize, Errno> {
    // SAFETY: no memory is involved; a closed descriptor would be an error, not undefined.
    let result = unsafe {
        if data_only {
            libc::fdatasync(file)
        } else {
            libc::fsync(file)
        }
    };
    check(result as isize)
}

/// Gives the pages of a fresh anonymous mapping back; they come again, zeroed, when they are first touched.
pub(crate) fn discard(memory: SpanMut) {
    // SAFETY: the caller has just mapped this memory and holds no reference to it; the advice leaves the mapping in place.
    // It is only advice: a failure leaves the pages where they are.
    unsafe { libc::madvise(memory.address.cast(), memory.len, libc::MADV_DONTNEED) };
}

// The C library's `recv` and `send` are points of thread cancellation, which costs 2 % of an echo. These are the bare calls.

/// # Safety
/// As for `recv(2)`.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
#[inline]
unsafe fn recv(fd: RawFd, address: *mut u8, len: usize, flags: libc::c_int) -> isize {
    // SAFETY: the caller's; the two zeros say that the sender's address is not wanted.
    unsafe { libc::syscall(libc::SYS_recvfrom, fd, address, len, flags, 0usize, 0usize) as isize }
}

/// # Safety
/// As for `send(2)`.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
#[inline]
unsafe fn send_bytes(fd: RawFd, address: *const u8, len: usize, flags: libc::c_int) -> isize {
    // SAFETY: the caller's; the two zeros say that the socket is connected.
    unsafe { libc::syscall(libc::SYS_sendto, fd, address, len, flags, 0usize, 0usize) as isize }
}

/// # Safety
/// As for `recv(2)`.
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
unsafe fn recv(fd: RawFd, address: *mut u8, len: usize, flags: libc::c_int) -> isize {
    // SAFETY: the caller's.
    unsafe { libc::recv(fd, address.cast(), len, flags) }
}

/// # Safety
/// As for `send(2)`.
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
unsafe fn send_bytes(fd: RawFd, address: *const u8, len: usize, flags: libc::c_int) -> isize {
    // SAFETY: the caller's.
    unsafe { libc::send(fd, address.cast(), len, flags) }
}

fn check(result: isize) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| last_errno())
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
