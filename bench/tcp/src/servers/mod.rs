//! Echo servers: each takes a listener, serves so many connections on the calling thread, and returns when all have closed.

mod compio;
mod glommio;
mod mio;
mod monoio;
mod raw;
mod tokio;
pub mod trunkline;

use std::net::TcpListener;

pub use trunkline::Tuning;

/// A way to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    RawSpin,
    RawEpoll,
    Mio,
    Tokio,
    Monoio,
    Compio,
    Glommio,
    Epoll(Tuning),
    Uring(Tuning),
}

impl Server {
    pub fn name(self) -> String {
        match self {
            Self::RawSpin => "raw spin loop".into(),
            Self::RawEpoll => "raw epoll loop".into(),
            Self::Mio => "mio".into(),
            Self::Tokio => "tokio".into(),
            Self::Monoio => "monoio".into(),
            Self::Compio => "compio".into(),
            Self::Glommio => "glommio".into(),
            Self::Epoll(tuning) => format!("trunkline epoll{tuning}"),
            Self::Uring(tuning) => format!("trunkline io_uring{tuning}"),
        }
    }

    pub fn serve(self, listener: TcpListener, connections: usize) {
        match self {
            Self::RawSpin => raw::spin(&listener, connections),
            Self::RawEpoll => raw::park(&listener, connections),
            Self::Mio => mio::serve(listener, connections),
            Self::Tokio => tokio::serve(listener, connections),
            Self::Monoio => monoio::serve(listener, connections),
            Self::Compio => compio::serve(listener, connections),
            Self::Glommio => glommio::serve(&listener, connections),
            Self::Epoll(tuning) => trunkline::serve_epoll(listener, connections, tuning),
            Self::Uring(tuning) => trunkline::serve_uring(listener, connections, tuning),
        }
    }
}

/// Bytes that every server reads at once.
pub const READ_BYTES: usize = 16 * 1024;
