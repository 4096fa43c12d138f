//! One completion-based reactor per pinned thread: io_uring or readiness, timers, mesh.
