//! What workers and the control thread tell each other, over the mesh.

/// One message.
pub(super) enum Message {
    /// To a worker: accept nothing more, write and sync everything, tell the clients, and say when that is done.
    Drain,
    /// To the control thread: the worker has nothing left to lose.
    Drained,
}
