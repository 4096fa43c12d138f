//! The trait that both back-ends implement.

use std::fmt;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

use trunkline_ring::Pinned;

use crate::completion::{BufferId, Completion};
use crate::op::{CancelTarget, FileId, Op, RegionId, SocketId, Wait};
use crate::waker::Waker;

/// The machine as a queue of operations and a queue of completions, for one thread.
///
/// Methods are of four kinds. *Names*: `register_*`, `add_*`, `remove_*` give and take ids of regions, files and sockets.
/// *In*: `stage`, `cancel`, `offload`, `pause`, `resume`, `recycle`. *Turn*: `submit`, `submit_and_wait`, `drain`. *Out*: `reap`, and
/// `buffer` for what came with a completion.
///
/// The order of a turn: stage what is to be done, [`submit_and_wait`](Self::submit_and_wait), [`reap`](Self::reap) until it returns 0, handle, recycle.
pub trait Reactor {
    /// Takes an operation, which begins with the next submit at the latest. Wrong ids and bounds come back as completions.
    ///
    /// # Errors
    /// [`Full`]: a table or the queue has no room; submit and reap, then try again.
    fn stage(&mut self, op: Op<'_>, user_data: u64) -> Result<(), Full>;

    /// Begins everything staged, without waiting. Returns exactly how many operations were taken; others stay staged, in order.
    ///
    /// # Errors
    /// The system refused to take anything at all.
    fn submit(&mut self) -> io::Result<usize>;

    /// Begins everything staged, then looks for completions or waits for `want` of them as `wait` allows. A wake ends the wait.
    /// May return early. Returns what [`Self::submit`] returns.
    ///
    /// # Errors
    /// As for [`Self::submit`].
    fn submit_and_wait(&mut self, want: usize, wait: Wait) -> io::Result<usize>;

    /// Copies completions out and returns how many. 0 means that there are none now.
    fn reap(&mut self, out: &mut [Completion]) -> usize;

    /// Asks for the end of operations; returns of how many. Each still gets its final completion: `-ECANCELED`, or its result if that came first.
    fn cancel(&mut self, target: CancelTarget) -> usize;

    /// Cancels everything, and takes turns until nothing is in flight or the clock reaches `deadline_ns`. Completions can be reaped afterwards.
    fn drain(&mut self, deadline_ns: u64) -> DrainReport;

    /// Makes memory known, so that slices can name it.
    ///
    /// # Panics
    /// Beyond 65,000 regions.
    fn register_region(&mut self, region: Pinned) -> RegionId;

    /// Forgets a region. The memory is let go when the last operation that uses it completes.
    fn unregister_region(&mut self, region: RegionId);

    /// Takes a file, or any descriptor that is to be polled.
    ///
    /// # Panics
    /// Beyond 65,000 files.
    fn add_file(&mut self, file: File) -> FileId;

    /// Forgets a file; it is closed when the last operation on it completes.
    fn remove_file(&mut self, file: FileId);

    /// Takes a listening socket.
    ///
    /// # Errors
    /// The table is full, or the system cannot watch it.
    fn add_listener(&mut self, listener: TcpListener) -> io::Result<SocketId>;

    /// Takes a connection.
    ///
    /// # Errors
    /// The table is full, or the system cannot watch it.
    fn add_stream(&mut self, stream: TcpStream) -> io::Result<SocketId>;

    /// The bytes that came with a completion, exactly as many as its result says.
    ///
    /// # Panics
    /// When the buffer was recycled: its bytes belong to the kernel.
    fn buffer(&self, id: BufferId) -> &[u8];

    /// The region and the offset of a buffer, to send or write its bytes again. Recycle it only when that has completed.
    fn buffer_slice(&self, id: BufferId) -> (RegionId, u64);

    /// Gives a buffer back; what waits for one goes on. A second time for the same lease does nothing.
    fn recycle(&mut self, id: BufferId);

    /// The address at the other end of a connected socket; none when it is not connected any more.
    fn peer(&self, socket: SocketId) -> Option<SocketAddr>;

    /// Stops receiving on a socket. Completions of what was received before may still come.
    fn pause(&mut self, socket: SocketId);

    /// Goes on receiving.
    fn resume(&mut self, socket: SocketId);

    /// Runs a job on a thread of a small pool, for what blocks and is no operation; its number comes as a completion.
    ///
    /// # Errors
    /// [`Full`]: the table of operations has no room.
    fn offload(&mut self, job: Box<dyn FnOnce() -> i32 + Send>, user_data: u64)
    -> Result<(), Full>;

    /// A handle for other threads.
    fn waker(&self) -> Waker;

    /// What this reactor really does.
    fn caps(&self) -> Caps;

    /// Operations that were staged and have not had their final completion.
    fn in_flight(&self) -> usize;
}

/// There is no room; nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// What a drain left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainReport {
    /// Operations that were asked to end.
    pub cancelled: usize,
    /// Operations that had not ended at the deadline. Their memory is never freed, because the kernel may still use it.
    pub left: usize,
}

/// What a back-end really does, after probing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// `"io_uring"` or `"epoll"` (or the system's own readiness queue).
    pub backend: &'static str,
    /// Zero-copy sends are; otherwise the flag of [`Op::Send`] is ignored.
    pub zero_copy_send: bool,
    /// Writes and syncs of files leave the worker's thread without a thread of this process.
    pub async_files: bool,
    /// Sockets and files are addressed by their place in a registered table.
    pub registered_files: bool,
    /// A kernel thread takes submissions.
    pub sqpoll: bool,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no room for another operation")
    }
}

impl std::error::Error for Full {}
