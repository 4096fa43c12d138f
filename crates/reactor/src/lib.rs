//! One completion-based reactor per pinned thread: io_uring or readiness, timers, mesh.

pub mod any;
pub mod clock;
pub mod completion;
pub mod config;
mod core;
mod errno;
pub mod idle;
pub mod jobs;
pub mod mesh;
mod offload;
pub mod op;
mod pool;
pub mod reactor;
pub mod readiness;
mod region;
mod sends;
mod slab;
mod sys;
pub mod topology;
#[cfg(target_os = "linux")]
pub mod uring;
pub mod waker;
pub mod wheel;
pub mod workers;

pub use any::{AnyReactor, Choice, IoBackend};
pub use clock::{Clock, Now};
pub use completion::{BufferId, Completion, CompletionFlags};
pub use config::{Config, UringConfig};
pub use idle::{Idle, Idler};
pub use jobs::{Job, Jobs};
pub use mesh::{MeshEnd, mesh};
pub use op::{CancelTarget, FileId, Op, RegionId, Slice, SocketId, Wait, WriteMode};
pub use reactor::{Caps, DrainReport, Full, Reactor};
pub use readiness::Readiness;
pub use topology::{Cpu, Topology, pin_current_thread};
#[cfg(target_os = "linux")]
pub use uring::Uring;
pub use waker::Waker;
pub use wheel::{TimerId, TimerWheel};
pub use workers::{Builder, Pinning, Turn, Worker, WorkerStrategy, Workers};
