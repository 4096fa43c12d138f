//! One operation and what it names, as the tables keep it.

use crate::op::{FileId, RegionId, SocketId, WriteMode};
use crate::sys::Span;
use crate::wheel::TimerId;

/// One operation between stage and final completion.
pub(crate) struct Operation {
    pub(crate) user_data: u64,
    pub(crate) action: Action,
    /// The kernel or another thread has it: it ends when they say so.
    pub(crate) started: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Accept {
        listener: SocketId,
    },
    Connect {
        socket: SocketId,
    },
    Receive {
        socket: SocketId,
    },
    Send {
        socket: SocketId,
        bytes: Outgoing,
        zero_copy: bool,
    },
    Write {
        file: FileId,
        region: RegionId,
        from: Span,
        offset: u64,
        mode: WriteMode,
    },
    Sync {
        file: FileId,
        data_only: bool,
    },
    Read {
        file: FileId,
        offset: u64,
        len: u32,
        buffer: Option<u16>,
    },
    Timeout {
        at_ns: u64,
        timer: Option<TimerId>,
    },
    Poll {
        file: FileId,
        multi: bool,
    },
    Shutdown {
        socket: SocketId,
        how: std::net::Shutdown,
    },
    Close {
        socket: SocketId,
    },
    Job,
    /// Refused when staged; completes with this result.
    Refused {
        result: i32,
    },
}

/// What a send sends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outgoing {
    One { span: Span, region: RegionId },
    Many { vector: u32 },
}

impl Action {
    pub(crate) fn socket(&self) -> Option<SocketId> {
        match *self {
            Self::Accept { listener } => Some(listener),
            Self::Connect { socket }
            | Self::Receive { socket }
            | Self::Send { socket, .. }
            | Self::Shutdown { socket, .. }
            | Self::Close { socket } => Some(socket),
            _ => None,
        }
    }
}
