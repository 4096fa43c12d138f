//! What one reactor is made of. Each number is a bound; memory is reserved, and touched only when it is used.

/// Settings of one reactor.
#[derive(Clone, Debug)]
pub struct Config {
    /// Most sockets at a time, up to 262,143. Default 65,536; 100 bytes each when used.
    pub max_sockets: usize,
    /// Most operations in flight: one per armed receive, send, write, timer. Default 131,072; about 100 bytes each when used.
    pub max_operations: usize,
    /// Most sends in flight. Default 65,536; 1.3 KiB each when used.
    pub max_sends: usize,
    /// Buffers that receives fill, up to 32,768 (io_uring: rounded up to a power of two). Default 64. More let more
    /// connections make progress within one turn.
    pub receive_buffers: u16,
    /// Bytes of each, default 65,536. Worst case memory is the product, 4 MiB.
    pub receive_buffer_bytes: u32,
    /// Buffers that file reads fill. Default 8.
    pub read_buffers: u16,
    /// Bytes of each, default 262,144: the most that one read returns. Worst case memory is the product, 2 MiB.
    pub read_buffer_bytes: u32,
    /// Threads for blocking work, started when first needed. Default 2.
    pub offload_threads: usize,
    /// CPUs that these threads may run on; empty, which is the default, for those of the thread that needs the first one. [`Builder`](crate::Builder) gives the
    /// reactors of pinned workers those that no worker has.
    pub offload_cpus: Vec<usize>,
    /// Sets `TCP_NODELAY` on every accepted, opened or added connection. Default true.
    pub no_delay: bool,
    /// Most buffers that one socket gets before the others have their turn. Default 4. Readiness back-end only.
    pub receive_burst: usize,
    /// Most sockets that are served in one turn; the next turn begins with the others. Few keep what the system knows about a
    /// socket in the cache between its receive and the send that answers it. Default 16. Readiness back-end only.
    pub sockets_per_turn: usize,
    /// Settings of the `io_uring` back-end.
    pub uring: UringConfig,
}

/// Settings of the `io_uring` back-end.
#[derive(Clone, Debug)]
pub struct UringConfig {
    /// Entries of the submission queue, a power of two; the completion queue has eight times as many. Default 1,024.
    pub entries: u32,
    /// Address sockets and files by their place in a registered table instead of by descriptor. Default false.
    pub registered_files: bool,
    /// Have the kernel look up the pages of up to 64 regions once, for writes and zero-copy sends of one slice. Locks their memory. Default false.
    pub registered_buffers: bool,
    /// Let a kernel thread take submissions; it sleeps after this many milliseconds without any. Takes a core. Default none.
    pub sqpoll_idle_ms: Option<u32>,
    /// Try each send with a system call of its own as soon as it is staged, and queue only what would block. Default true.
    pub direct_sends: bool,
    /// Most kernel worker threads for operations that block. Default 2.
    pub kernel_workers: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_sockets: 65_536,
            max_operations: 131_072,
            max_sends: 65_536,
            receive_buffers: 64,
            receive_buffer_bytes: 65_536,
            read_buffers: 8,
            read_buffer_bytes: 262_144,
            offload_threads: 2,
            offload_cpus: Vec::new(),
            no_delay: true,
            receive_burst: 4,
            sockets_per_turn: 16,
            uring: UringConfig::default(),
        }
    }
}

impl Default for UringConfig {
    fn default() -> Self {
        Self {
            entries: 1024,
            registered_files: false,
            registered_buffers: false,
            sqpoll_idle_ms: None,
            direct_sends: true,
            kernel_workers: 2,
        }
    }
}
