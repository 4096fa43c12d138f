//! Calls below `$sys.`: what the server says of itself, and streams that come and go while it runs.

use trunkline_broker::{Now, Refusal, SessionId};
use trunkline_wire::{ErrorCode, FrameFlags, FrameHeader, Opcode, RpcCall};

use super::node::{Node, SERVER_NAME};
use super::streams::describe;
use crate::plan::Idle;
use crate::system;

impl Node {
    /// Answers a call to the server itself.
    pub(super) fn system_call(&mut self, session: SessionId, correlation: u16, call: &RpcCall<'_>, now: Now) {
        let answer = match call.subject {
            system::SERVER_INFO => to_json(&self.server_info(now)),
            system::STREAM_LIST => to_json(&self.stream_list()),
            system::STREAM_INFO => self.stream_info(call.payload).and_then(|info| to_json(&info)),
            _ => Err(Refusal::new(ErrorCode::NOBODY_LISTENS, format!("the server does not answer `{}`", call.subject))),
        };
        match answer {
            Ok(json) => self.respond_with(session, correlation, &json),
            Err(refusal) => self.post.control(session, &refusal.body(), correlation),
        }
    }

    /// Queues the answer to a call.
    pub(super) fn respond_with(&mut self, session: SessionId, correlation: u16, payload: &[u8]) {
        let header = FrameHeader {
            opcode: Opcode::RpcResponse,
            flags: FrameFlags::empty(),
            sequence: correlation,
            length: payload.len() as u32,
        };
        self.post.small(session, [&header.encode(), payload]);
    }

    fn server_info(&self, now: Now) -> system::ServerInfo {
        system::ServerInfo {
            server: SERVER_NAME.to_owned(),
            pid: std::process::id(),
            epoch: self.facts.epoch,
            uptime_ns: now.mono_ns.saturating_sub(self.facts.started_ns),
            workers: self.plan.workers.len() as u32,
            io: self.facts.backend.to_owned(),
            idle: match self.plan.idle {
                Idle::Spin => "spin",
                Idle::Adaptive => "adaptive",
                Idle::Park => "park",
            }
            .to_owned(),
            connections: self.post.sessions.count() as u64,
        }
    }

    fn stream_list(&self) -> system::StreamList {
        let streams = self.streams.iter().filter_map(|served| self.describe(&served.plan.name)).collect();
        system::StreamList { streams }
    }

    fn stream_info(&self, name: &[u8]) -> Result<system::StreamInfo, Refusal> {
        let name = String::from_utf8_lossy(name);
        self.describe(name.trim()).ok_or_else(|| Refusal::new(ErrorCode::NOT_FOUND, format!("there is no stream `{name}`")))
    }

    fn describe(&self, name: &str) -> Option<system::StreamInfo> {
        let served = self.streams.iter().find(|served| served.plan.name == name)?;
        let info = self.shard.stream_info(name)?;
        Some(describe(&served.plan, &info, served.configured))
    }
}

fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(value).map_err(|error| Refusal::new(ErrorCode::MALFORMED, error.to_string()))
}
