//! What a session takes at most.

use crate::frame::{
    CONTROL_BYTES_MAX, FRAME_BYTES_MAX_BEFORE_HELLO, FRAME_BYTES_MAX_DEFAULT, FRAME_HEADER_BYTES,
    Opcode, PING_BYTES_MAX, RECORD_BYTES_MAX_DEFAULT,
};
use crate::record::record_bytes;

/// What a session takes at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest body of a frame, in bytes. Default 4 MiB.
    pub max_frame_bytes: u32,
    /// Largest `payload_len` of a record, in bytes. Default 1 MiB. The carry buffer of a session may grow to this
    /// and a prefix, or to 64 KiB if that is more.
    pub max_record_bytes: u32,
}

impl Limits {
    /// Longest body that a frame of this opcode may have, once Hello is through.
    pub(crate) fn body_max(&self, opcode: Opcode) -> u32 {
        match opcode {
            Opcode::Publish | Opcode::Deliver => self.max_frame_bytes,
            Opcode::Ping | Opcode::Pong => PING_BYTES_MAX,
            Opcode::Hello => FRAME_BYTES_MAX_BEFORE_HELLO,
            Opcode::RpcCall | Opcode::RpcResponse | Opcode::Subscribe => self.call_bytes_max(),
            _ => CONTROL_BYTES_MAX.min(self.max_frame_bytes),
        }
    }

    /// Longest body of a call, its answer or a Subscribe: as much as a record may have, and as a control frame may have.
    pub const fn call_bytes_max(&self) -> u32 {
        let call = if self.max_record_bytes > CONTROL_BYTES_MAX {
            self.max_record_bytes
        } else {
            CONTROL_BYTES_MAX
        };
        if call < self.max_frame_bytes {
            call
        } else {
            self.max_frame_bytes
        }
    }

    /// Most bytes that the carry buffer of one session ever holds.
    pub const fn carry_bytes_max(&self) -> usize {
        let record = record_bytes(self.max_record_bytes);
        let call = FRAME_HEADER_BYTES + self.call_bytes_max() as usize;
        if record > call { record } else { call }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame_bytes: FRAME_BYTES_MAX_DEFAULT,
            max_record_bytes: RECORD_BYTES_MAX_DEFAULT,
        }
    }
}
