//! Calls below `$sys.`: what the server says of itself, and streams that come and go while it runs.

use std::sync::{Arc, Mutex, PoisonError};

use trunkline_broker::{Now, Refusal, SessionId};
use trunkline_reactor::{AnyReactor, Reactor};
use trunkline_wire::{ErrorBody, ErrorCode, FrameFlags, FrameHeader, Opcode};

use super::message::Message;
use super::node::{Node, SERVER_NAME};
use super::registry::{self, missing};
use super::removal::Removing;
use super::streams::{Opened, describe};
use super::tag::Tag;
use super::unopened::Opening;
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
            system::STREAM_LIST => return self.gather(session, correlation, Asks::Streams, now),
            system::SERVER_INFO => return self.gather(session, correlation, Asks::Server, now),
            system::STREAM_ADD => match self.begin_add(session, correlation, payload, reactor) {
                Ok(()) => return,
                Err(refusal) => Err(refusal),
            },
            system::STREAM_REMOVE => {
                match self.begin_remove(session, correlation, payload, now, reactor) {
                    Ok(()) => return,
                    Err(refusal) => Err(refusal),
                }
            }
            system::STREAM_INFO => self.stream_info(payload).and_then(|info| to_json(&info)),
            _ => Err(Refusal::new(
                ErrorCode::NOBODY_LISTENS,
                format!("the server does not answer `{}`", subject),
            )),
        };
        match answer {
            Ok(json) => self.respond_with(session, correlation, &json),
            Err(refusal) => self.post.refuse(session, &refusal.body(), correlation),
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
        let limit = self.plan.taken_bytes_min();
        if header.length > limit {
            let message = format!(
                "the answer has {} bytes, and clients take {limit}: ask for one stream at a time",
                payload.len()
            );
            let error = ErrorBody::new(ErrorCode::RECORD_TOO_LONG, &message);
            self.post.refuse(session, &error, correlation);
            return;
        }
        self.post.pass(session, header, payload);
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
        let adding = Job::Adding(Adding {
            name: name.clone(),
            session,
            correlation,
            made,
        });
        self.offload_job(job, adding, reactor)
            .inspect_err(|_| self.registry.release(&name))
    }

    /// Has something done on the pool; [`on_job`](Self::on_job) comes when it is.
    pub(super) fn offload_job(
        &mut self,
        work: impl FnOnce() -> i32 + Send + 'static,
        job: Job,
        reactor: &mut AnyReactor,
    ) -> Result<(), Refusal> {
        let number = self
            .jobs
            .iter()
            .position(Option::is_none)
            .unwrap_or_else(|| {
                self.jobs.push(None);
                self.jobs.len() - 1
            });
        reactor
            .offload(Box::new(work), Tag::Job(number as u32).word())
            .map_err(|_| Refusal::new(ErrorCode::TOO_MANY, "the server is busy; try again"))?;
        self.jobs[number] = Some(job);
        Ok(())
    }

    /// Something is done.
    pub(super) fn on_job(&mut self, number: u32, now: Now, reactor: &mut AnyReactor) {
        match self.jobs[number as usize].take() {
            Some(Job::Adding(adding)) => self.on_made(adding, now, reactor),
            Some(Job::Removing(removing)) => self.on_removed(removing),
            Some(Job::Opening(opening)) => self.on_opened_again(opening, now, reactor),
            None => {}
        }
    }

    /// The files of a new stream are made, or cannot be.
    fn on_made(&mut self, adding: Adding, now: Now, reactor: &mut AnyReactor) {
        let Adding {
            name,
            session,
            correlation,
            made,
        } = adding;
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
                self.post.refuse(session, &refusal.body(), correlation);
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
                tracing::info!(stream = name, "added");
                self.respond_with(session, correlation, &json)
            }
            (Err(refusal), Some((session, correlation))) => {
                self.post.refuse(session, &refusal.body(), correlation)
            }
            (_, None) => {}
        }
    }

    /// Asks all workers for what only all of them know; the last answer completes that to the call.
    fn gather(&mut self, session: SessionId, correlation: u16, asks: Asks, now: Now) {
        self.gathered.push(Gathered {
            session,
            correlation,
            waiting: self.plan.workers.len(),
            asks,
            parts: Part::default(),
        });
        self.post.send_to_others(|| Message::Gather {
            session,
            correlation,
            asks,
        });
        let own = self.part(asks);
        self.on_part(session, correlation, own, now);
    }

    /// What this worker knows.
    pub(super) fn part(&self, asks: Asks) -> Part {
        match asks {
            Asks::Streams => Part {
                streams: self.stream_list(),
                ..Part::default()
            },
            Asks::Server => Part {
                connections: self.post.sessions.count() as u64,
                ..Part::default()
            },
        }
    }

    /// What a worker knows; the last part completes the answer.
    pub(super) fn on_part(&mut self, session: SessionId, correlation: u16, part: Part, now: Now) {
        let mut gathered = self.gathered.iter();
        let Some(index) = gathered.position(|gathered| {
            gathered.session == session && gathered.correlation == correlation
        }) else {
            return;
        };
        let gathered = &mut self.gathered[index];
        gathered.parts.streams.extend(part.streams);
        gathered.parts.connections += part.connections;
        gathered.waiting -= 1;
        if gathered.waiting > 0 {
            return;
        }
        let Gathered { asks, parts, .. } = self.gathered.swap_remove(index);
        let json = match asks {
            Asks::Streams => {
                let mut streams = parts.streams;
                streams.sort_by(|a, b| a.name.cmp(&b.name));
                to_json(&system::StreamList { streams })
            }
            Asks::Server => to_json(&self.server_info(parts.connections, now)),
        };
        if let Ok(json) = json {
            self.respond_with(session, correlation, &json);
        }
    }

    fn server_info(&self, connections: u64, now: Now) -> system::ServerInfo {
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
            connections,
        }
    }

    /// This worker's streams.
    fn stream_list(&self) -> Vec<system::StreamInfo> {
        let served = self.streams.iter().map(|served| &served.plan.name);
        let unopened = self.unopened.iter().map(|unopened| &unopened.plan.name);
        let infos = served
            .chain(unopened)
            .filter_map(|name| self.describe(name));
        infos.collect()
    }

    fn stream_info(&self, name: &[u8]) -> Result<system::StreamInfo, Refusal> {
        let name = String::from_utf8_lossy(name);
        self.describe(name.trim())
            .ok_or_else(|| missing(name.trim()))
    }

    fn describe(&self, name: &str) -> Option<system::StreamInfo> {
        let mut served = self.streams.iter();
        let Some(served) = served.find(|served| served.plan.name == name) else {
            return self.describe_unopened(name);
        };
        let info = self.shard.stream_info(name)?;
        Some(describe(&served.plan, &info, served.configured))
    }
}

pub(super) fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(value).map_err(|error| Refusal::new(ErrorCode::MALFORMED, error.to_string()))
}

/// A call to the server itself.
pub(super) struct Asked {
    pub(super) session: SessionId,
    pub(super) correlation: u16,
    pub(super) subject: Box<str>,
    pub(super) payload: Box<[u8]>,
}

/// What is being done on the pool.
pub(super) enum Job {
    Adding(Adding),
    Removing(Removing),
    Opening(Opening),
}

/// A stream that is being made on the pool.
pub(super) struct Adding {
    name: String,
    session: SessionId,
    correlation: u16,
    made: Made,
}

/// What all workers are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// [`system::STREAM_LIST`].
    Streams,
    /// [`system::SERVER_INFO`].
    Server,
}

/// What one of them knows of it, or several.
#[derive(Default)]
pub(super) struct Part {
    streams: Vec<system::StreamInfo>,
    connections: u64,
}

/// An answer that waits for some of them.
pub(super) struct Gathered {
    session: SessionId,
    correlation: u16,
    /// How many.
    waiting: usize,
    asks: Asks,
    parts: Part,
}

/// Where the pool leaves what it made.
pub(super) type Made<T = Opened, E = Refusal> = Arc<Mutex<Option<Result<T, E>>>>;
