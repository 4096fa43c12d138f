//! What can be asked of a reactor: plain data, and the names of the things it acts on.

use std::net::{Shutdown, SocketAddr};

/// One operation. Everything it names stays alive inside the reactor until its final completion.
#[derive(Clone, Copy, Debug)]
pub enum Op<'a> {
    /// Accepts connections until cancelled: each completion's result is the new [`SocketId`] (see [`SocketId::from_result`]).
    Accept {
        /// From [`crate::Reactor::add_listener`].
        listener: SocketId,
    },
    /// Opens a TCP connection; the result is the new [`SocketId`].
    Connect {
        /// Where to.
        address: SocketAddr,
    },
    /// Receives until the peer's end of stream (a final completion with result 0), an error or a cancel. Each completion carries
    /// a buffer of the receive pool. When the pool is empty, bytes wait in the socket: that is back-pressure, not an error.
    RecvMulti {
        /// One receive per socket; a second one completes with `-EALREADY`.
        socket: SocketId,
    },
    /// Sends the slices in order; the result is the number of bytes sent, which may be short of the whole.
    /// A full socket makes it wait, not fail.
    Send {
        /// One send in flight per socket; a second one completes with `-EALREADY`.
        socket: SocketId,
        /// At most [`Op::MAX_SLICES`]; copied when staged. More complete with `-EMSGSIZE`.
        slices: &'a [Slice],
        /// Let the network card read the pages themselves, where [`crate::Caps::zero_copy_send`] says that this is possible. Then
        /// two completions come: the byte count with `MORE`, and one with `NOTIF` when the bytes may be reused.
        zero_copy: bool,
    },
    /// Writes a slice to a file at a place; the result is the number of bytes written.
    Write {
        /// From [`crate::Reactor::add_file`].
        file: FileId,
        /// What to write.
        slice: Slice,
        /// Where in the file.
        offset: u64,
        /// Who executes it and whether it reaches the device.
        mode: WriteMode,
    },
    /// `fsync`, or `fdatasync` with `data_only`.
    Sync {
        /// From [`crate::Reactor::add_file`].
        file: FileId,
        /// Skip metadata that is not needed to read the data back.
        data_only: bool,
    },
    /// Reads into a buffer of the read pool; the result is the number of bytes, 0 at the end of the file.
    Read {
        /// From [`crate::Reactor::add_file`].
        file: FileId,
        /// Where in the file.
        offset: u64,
        /// At most one buffer of the read pool; more completes with `-EINVAL`.
        len: u32,
    },
    /// Completes with `-ETIME` when the reactor's clock has reached `at_ns`.
    Timeout {
        /// In nanoseconds of [`crate::Clock::now_ns`].
        at_ns: u64,
    },
    /// Completes (result 1) when the descriptor is readable.
    Poll {
        /// A descriptor added with [`crate::Reactor::add_file`]: an eventfd, a pipe, a signalfd.
        file: FileId,
        /// Go on until cancelled, one completion per edge.
        multi: bool,
    },
    /// Shuts down one or both halves of a connection.
    Shutdown {
        /// Which connection.
        socket: SocketId,
        /// Which half.
        how: Shutdown,
    },
    /// Cancels what is in flight on the socket, closes it, and completes last. The id is dead from then on.
    Close {
        /// A stream or a listener.
        socket: SocketId,
    },
    /// Completes with 0.
    Nop,
}

impl Op<'_> {
    /// The most slices that one send takes.
    pub const MAX_SLICES: usize = 64;
}

/// Bytes of a registered region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// From [`crate::Reactor::register_region`] or [`crate::Reactor::buffer_slice`].
    pub region: RegionId,
    /// Where in the region. For a mirrored region the caller reduces its position first; a slice may run into the second mapping.
    pub offset: u64,
    /// How many bytes.
    pub len: u32,
}

/// Who executes a write and whether it waits for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMode {
    /// `pwrite` on the worker's own thread when it is submitted: the page cache takes it in about a microsecond.
    Inline,
    /// Off the worker's thread.
    Async,
    /// Off the worker's thread, complete when it is on the device (`RWF_DSYNC`).
    AsyncSync,
}

/// What to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelTarget {
    /// Every operation that was staged with this word.
    UserData(u64),
    /// Every operation on this socket.
    Socket(SocketId),
    /// Everything in flight.
    All,
}

/// How long [`crate::Reactor::submit_and_wait`] may block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: look and come back.
    Poll,
    /// Until this time of the reactor's clock, a completion or a wake.
    Until(u64),
    /// Until a completion or a wake.
    Forever,
}

/// A connection or a listener of one reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId(pub(crate) u32);

/// A file of one reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId(pub(crate) u32);

/// A registered region of one reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegionId(pub(crate) u32);

impl SocketId {
    /// The socket named in an accept's or connect's result.
    pub fn from_result(result: i32) -> Option<Self> {
        u32::try_from(result).ok().map(Self)
    }

    /// A dense index below [`crate::Config::max_sockets`], reused after close: for the caller's own tables.
    pub const fn index(self) -> usize {
        (self.0 & (MAX_SOCKETS - 1)) as usize
    }
}

/// The most sockets that one reactor can name: 18 of a result's 31 bits.
pub const MAX_SOCKETS: u32 = 1 << 18;
