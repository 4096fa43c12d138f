//! Calls below `$sys.`: what the server says of itself, and streams that come and go while it runs.

use std::sync::{Arc, Mutex, PoisonError};

use trunkline_broker::{Now, Refusal, SessionId};
use trunkline_reactor::{AnyReactor, Reactor};
use trunkline_wire::{ErrorCode, FrameFlags, FrameHeader, Opcode};

use super::message::Message;
use super::node::{Node, SERVER_NAME};
use super::registry;
use super::streams::{Opened, describe};
use super::tag::Tag;
use crate::plan::{Idle, StreamPlan};
use crate::system;

impl Node {
    /// Answers a call to the server itself.
    pub(super) fn system_call(
        &mut self,
        session: SessionId,
        correlation: u16,
        subject: &str,
        payload: &[u8],
        now: Now,
        reactor: &mut AnyReactor,
    ) {
        // What only the owner of a stream knows is asked of it.
        if matches!(subject, system::STREAM_INFO | system::STREAM_REMOVE)
            && let Some((owner, _)) = self.registry.find(String::from_utf8_lossy(payload).trim())
            && owner != usize::from(self.index)
        {
            let message = Message::System {
                session,
                correlation,
                subject: subject.into(),
                payload: payload.into(),
            };
            self.post.send(owner as u8, message);
            return;
        }
        let answer = match subject {
            system::STREAM_LIST if self.plan.workers.len() > 1 => {
                self.lists.push(List {
                    session,
                    correlation,
                    waiting: self.plan.workers.len(),
                    streams: Vec::new(),
                });
                self.post.send_to_others(|| Message::List {
                    session,
                    correlation,
                });
                let own = self.stream_list();
                self.on_listed(session, correlation, own);
                return;
            }
            system::STREAM_ADD => match self.begin_add(session, correlation, payload, reactor) {
                Ok(()) => return,
                Err(refusal) => Err(refusal),
            },
            system::STREAM_REMOVE => self
                .remove_stream(payload, now, reactor)
                .and_then(|removed| to_json(&removed)),
            system::SERVER_INFO => to_json(&self.server_info(now)),
            system::STREAM_LIST => to_json(&system::StreamList {
                streams: self.stream_list(),
            }),
            system::STREAM_INFO => self.stream_info(payload).and_then(|info| to_json(&info)),
            _ => Err(Refusal::new(
                ErrorCode::NOBODY_LISTENS,
                format!("the server does not answer `{}`", subject),
            )),
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

    /// Has the files of a new stream made on the pool; the answer comes when they are.
    fn begin_add(
        &mut self,
        session: SessionId,
        correlation: u16,
        payload: &[u8],
        reactor: &mut AnyReactor,
    ) -> Result<(), Refusal> {
        let description = String::from_utf8_lossy(payload).into_owned();
        let plan = StreamPlan::from_text(&description, &self.plan.limits, self.plan.workers.len())
            .map_err(|problems| Refusal::new(ErrorCode::MALFORMED, problems.to_string()))?;
        let name = plan.name.clone();
        let id = self.registry.claim(&plan, false)?;
        let made = Made::default();
        let job = {
            let (made, registry, server) = (made.clone(), self.registry.clone(), self.plan.clone());
            move || {
                let result = registry::create(&registry, &server, id, plan, &description);
                *made.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                0
            }
        };
        let number = self
            .jobs
            .iter()
            .position(Option::is_none)
            .unwrap_or_else(|| {
                self.jobs.push(None);
                self.jobs.len() - 1
            });
        if reactor
            .offload(Box::new(job), Tag::Job(number as u32).word())
            .is_err()
        {
            self.registry.release(&name);
            return Err(Refusal::new(
                ErrorCode::TOO_MANY,
                "the server is busy; try again",
            ));
        }
        self.jobs[number] = Some(Adding {
            name,
            session,
            correlation,
            made,
        });
        Ok(())
    }

    /// The files of a new stream are made, or cannot be.
    pub(super) fn on_job(&mut self, number: u32, now: Now, reactor: &mut AnyReactor) {
        let Some(Adding {
            name,
            session,
            correlation,
            made,
        }) = self.jobs[number as usize].take()
        else {
            return;
        };
        let made = made.lock().unwrap_or_else(PoisonError::into_inner).take();
        match made.unwrap_or_else(|| {
            Err(Refusal::new(
                ErrorCode::NO_SPACE,
                "the stream was not created",
            ))
        }) {
            Ok(opened) if opened.plan.worker == usize::from(self.index) => {
                self.finish_add(opened, false, Some((session, correlation)), now, reactor)
            }
            Ok(opened) => {
                let owner = opened.plan.worker as u8;
                self.post.send(
                    owner,
                    Message::Added {
                        opened: Box::new(opened),
                        configured: false,
                        asked: Some((session, correlation)),
                    },
                );
            }
            Err(refusal) => {
                self.registry.release(&name);
                self.post.control(session, &refusal.body(), correlation);
            }
        }
    }

    /// Takes in a stream that was opened while the server runs, and answers the call that asked for it.
    pub(super) fn finish_add(
        &mut self,
        opened: Opened,
        configured: bool,
        asked: Option<(SessionId, u16)>,
        now: Now,
        reactor: &mut AnyReactor,
    ) {
        let name = opened.plan.name.clone();
        let answer = self
            .add_stream(opened, configured, now, reactor)
            .and_then(|()| {
                let info = self.describe(&name).ok_or_else(|| missing(&name))?;
                to_json(&info)
            });
        if let Err(refusal) = &answer {
            tracing::error!(stream = name, %refusal, "a stream cannot be served");
            self.registry.release(&name);
        }
        match (answer, asked) {
            (Ok(json), Some((session, correlation))) => {
                self.respond_with(session, correlation, &json)
            }
            (Err(refusal), Some((session, correlation))) => {
                self.post.control(session, &refusal.body(), correlation)
            }
            (_, None) => {}
        }
    }

    fn remove_stream(
        &mut self,
        name: &[u8],
        now: Now,
        reactor: &mut AnyReactor,
    ) -> Result<system::StreamRemoved, Refusal> {
        let name = String::from_utf8_lossy(name).trim().to_owned();
        let (_, configured) = self.registry.find(&name).ok_or_else(|| missing(&name))?;
        if configured {
            let message = format!(
                "stream {name} belongs to the configuration: take it out there and restart the server"
            );
            return Err(Refusal::new(ErrorCode::EXISTS, message));
        }
        let records = self.shard.stream_info(&name).map_or(0, |info| info.records);
        let log = self.shard.remove_stream(&name, now, &mut self.post)?;
        self.volumes.remove(log.id(), reactor);
        self.post.regions.retire(
            log.id().0,
            now.mono_ns + self.plan.limits.send_timeout_ns + RETIRE_NS,
        );
        self.streams.retain(|served| served.plan.name != name);
        let (registry, gone) = (self.registry.clone(), name.clone());
        // The name is free when the files are gone; until then, adding it again is refused.
        let job = move || {
            let removed = registry
                .data
                .forget(&gone)
                .and_then(|()| registry.data.remove_stream(&gone));
            if let Err(error) = removed {
                tracing::error!(stream = gone, %error, "files of a removed stream are still there");
            }
            registry.release(&gone);
            0
        };
        if reactor
            .offload(Box::new(job), Tag::Job(u32::MAX >> 4).word())
            .is_err()
        {
            tracing::error!(
                stream = name,
                "files of a removed stream are still there: the server is busy"
            );
        }
        Ok(system::StreamRemoved { name, records })
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

    /// This worker's streams.
    pub(super) fn stream_list(&self) -> Vec<system::StreamInfo> {
        self.streams
            .iter()
            .filter_map(|served| self.describe(&served.plan.name))
            .collect()
    }

    /// A worker's part of a list; the last one completes the answer.
    pub(super) fn on_listed(
        &mut self,
        session: SessionId,
        correlation: u16,
        streams: Vec<system::StreamInfo>,
    ) {
        let Some(index) = self
            .lists
            .iter()
            .position(|list| list.session == session && list.correlation == correlation)
        else {
            return;
        };
        let list = &mut self.lists[index];
        list.streams.extend(streams);
        list.waiting -= 1;
        if list.waiting == 0 {
            let mut streams = self.lists.swap_remove(index).streams;
            streams.sort_by(|a, b| a.name.cmp(&b.name));
            if let Ok(json) = to_json(&system::StreamList { streams }) {
                self.respond_with(session, correlation, &json);
            }
        }
    }

    fn stream_info(&self, name: &[u8]) -> Result<system::StreamInfo, Refusal> {
        let name = String::from_utf8_lossy(name);
        self.describe(name.trim())
            .ok_or_else(|| missing(name.trim()))
    }

    fn describe(&self, name: &str) -> Option<system::StreamInfo> {
        let served = self
            .streams
            .iter()
            .find(|served| served.plan.name == name)?;
        let info = self.shard.stream_info(name)?;
        Some(describe(&served.plan, &info, served.configured))
    }
}

fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(value).map_err(|error| Refusal::new(ErrorCode::MALFORMED, error.to_string()))
}

fn missing(name: &str) -> Refusal {
    Refusal::new(ErrorCode::NOT_FOUND, format!("there is no stream {name}"))
}

/// A call to the server itself.
pub(super) struct Asked {
    pub(super) session: SessionId,
    pub(super) correlation: u16,
    pub(super) subject: Box<str>,
    pub(super) payload: Box<[u8]>,
}

/// A stream that is being made on the pool.
pub(super) struct Adding {
    name: String,
    session: SessionId,
    correlation: u16,
    made: Made,
}

/// A list of streams that all workers add to.
pub(super) struct List {
    session: SessionId,
    correlation: u16,
    waiting: usize,
    streams: Vec<system::StreamInfo>,
}

/// Where the pool leaves what it made.
type Made = Arc<Mutex<Option<Result<Opened, Refusal>>>>;

/// How long a removed stream's tail stays registered beyond the time that a delivery of it may take.
const RETIRE_NS: u64 = 5_000_000_000;
