//! What is set, for the reader.

use crate::servers::{READ_BYTES, Server, Tuning};

/// How a server is set up.
pub fn of(server: Server) -> String {
    let each = format!("a task and a buffer of {READ_BYTES} B for each connection");
    match server {
        Server::Epoll(tuning) => ours("Readiness", tuning),
        Server::Uring(tuning) => ours("Uring", tuning),
        Server::RawSpin => {
            format!(
                "non-blocking read and write in a loop, a buffer of {READ_BYTES} B, TCP_NODELAY"
            )
        }
        Server::RawEpoll => format!(
            "level-triggered epoll_wait, 1024 events, one read and one write for each, one buffer of {READ_BYTES} B for all; TCP_NODELAY"
        ),
        Server::Mio => format!(
            "edge-triggered, 1024 events, one buffer of {READ_BYTES} B for all, a short read ends a turn; TCP_NODELAY"
        ),
        Server::Tokio => format!("current-thread runtime, {each}; TCP_NODELAY"),
        Server::Monoio => format!("io_uring driver, 1024 entries, {each}; TCP_NODELAY"),
        Server::Compio => format!("io_uring driver, defaults, {each}"),
        Server::Glommio => format!(
            "LocalExecutor, unbound, defaults, {each}, zeroed, since it reads into initialized memory; TCP_NODELAY"
        ),
    }
}

fn ours(reactor: &str, tuning: Tuning) -> String {
    format!(
        "{reactor}, Config::default(){tuning}; a pool of buffers for all connections; TCP_NODELAY"
    )
}
