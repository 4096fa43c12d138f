//! Streams that could not be opened at the start: the others are served, and these say why they are not.
//!
//! ```text
//!  publish    ─► shard                Error 14 with the reason, for the records
//!  subscribe  ─► here                 Error 14 with the reason, for the request where nothing else matches, beside it where something does
//!  stream ls, stream info             state `refused` and the reason
//!  stream rm  ─► `removal.rs`         as for any other stream
//! ```
//! Where the system was only out of something (space, open files), opening is tried again every few seconds. Otherwise the next start does it: repair
//! wants the directory for itself, so a server that runs has nothing to wait for.

use std::sync::PoisonError;

use trunkline_broker::{Now, Refusal, SessionId};
use trunkline_reactor::AnyReactor;
use trunkline_wire::{ErrorBody, ErrorCode, FrameHeader, Subscribe, SubscribeFlags};

use super::Error;
use super::node::Node;
use super::start;
use super::streams::{self, Opened, broker_plan};
use super::system_calls::{Job, Made};
use super::tag::Peer;
use crate::plan::StreamPlan;
use crate::system;

/// A stream that is to be served and is not.
pub(super) struct Unopened {
    /// Without subjects, all of it but the name and the worker is unknown: its description cannot be read.
    pub(super) plan: StreamPlan,
    /// Whether the configuration declares it.
    pub(super) configured: bool,
    /// What went wrong and what can be done.
    pub(super) reason: String,
    /// It is what passes, so that opening is tried again.
    pub(super) again: bool,
}

/// One that is being opened again on the pool.
pub(super) struct Opening {
    name: String,
    made: Made<Opened, Error>,
}

/// What a subscription asks for that cannot be had.
pub(super) struct Missed {
    /// Why, for people.
    pub(super) reason: String,
    /// There is no other stream that it gets records of.
    pub(super) everything: bool,
}

impl Node {
    /// Takes a stream in that could not be opened.
    pub(super) fn add_unopened(&mut self, unopened: Unopened) {
        self.shard
            .add_unopened(broker_plan(&unopened.plan), &unopened.reason);
        self.unopened.push(unopened);
    }

    /// Gives such a stream up. False: there is none of this name.
    pub(super) fn remove_unopened(&mut self, name: &str, now: Now) -> bool {
        self.unopened.retain(|unopened| unopened.plan.name != name);
        self.shard.remove_unopened(name, now)
    }

    /// Now and then, has one of those opened for which that may be possible now. Returns when the next is due.
    pub(super) fn open_again(&mut self, now: Now, reactor: &mut AnyReactor) -> u64 {
        if !self.unopened.iter().any(|unopened| unopened.again) {
            return u64::MAX;
        }
        let due_ns = *self.open_again_ns.get_or_insert(now.mono_ns + AGAIN_NS);
        if now.mono_ns < due_ns {
            return due_ns;
        }
        self.open_again_ns = None;
        let opening = |job: &Option<Job>| matches!(job, Some(Job::Opening(_)));
        if self.jobs.iter().any(opening) {
            return now.mono_ns + AGAIN_NS;
        }
        // Its turn comes again behind all others.
        self.unopened.rotate_left(1);
        let Some(at) = self.unopened.iter().position(|unopened| unopened.again) else {
            return u64::MAX;
        };
        let plan = self.unopened[at].plan.clone();
        let name = plan.name.clone();
        let made = Made::default();
        let work = {
            let (made, registry, server) = (made.clone(), self.registry.clone(), self.plan.clone());
            move || {
                let id = registry.new_id();
                let result = start::open(id, plan, &server, &registry.data);
                *made.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                0
            }
        };
        // Where the pool has no room, there will be another time.
        let _later = self.offload_job(work, Job::Opening(Opening { name, made }), reactor);
        now.mono_ns + AGAIN_NS
    }

    /// Whether a stream is being opened at this moment: its files are in use.
    pub(super) fn refuse_opening(&self, name: &str) -> Result<(), Refusal> {
        let mut jobs = self.jobs.iter().flatten();
        if jobs.any(|job| matches!(job, Job::Opening(opening) if opening.name == name)) {
            let message = format!("stream {name} is being opened; try again");
            return Err(Refusal::new(ErrorCode::EXISTS, message));
        }
        Ok(())
    }

    /// A stream was opened again, or not.
    pub(super) fn on_opened_again(&mut self, opening: Opening, now: Now, reactor: &mut AnyReactor) {
        let Opening { name, made } = opening;
        let made = made.lock().unwrap_or_else(PoisonError::into_inner).take();
        let known = |unopened: &Unopened| unopened.plan.name == name;
        let (Some(made), Some(at)) = (made, self.unopened.iter().position(known)) else {
            return;
        };
        match made {
            Ok(opened) => {
                let configured = self.unopened.swap_remove(at).configured;
                self.shard.take_unopened(&name);
                self.registry.is_opened(&name);
                tracing::info!(stream = name, "the stream could be opened and is served");
                self.finish_add(opened, configured, None, now, reactor);
            }
            Err(error) => {
                let reason = error.refusal();
                let unopened = &mut self.unopened[at];
                unopened.again = error.passes();
                if unopened.reason == reason {
                    return;
                }
                tracing::error!(stream = name, reason, "the stream is still not served");
                unopened.reason.clone_from(&reason);
                self.shard.take_unopened(&name);
                self.shard
                    .add_unopened(broker_plan(&unopened.plan), &reason);
                self.registry.note_trouble(&name, reason);
            }
        }
    }

    /// Such a stream as `$sys.stream.info` tells it.
    pub(super) fn describe_unopened(&self, name: &str) -> Option<system::StreamInfo> {
        let mut unopened = self.unopened.iter();
        let unopened = unopened.find(|unopened| unopened.plan.name == name)?;
        let plan = &unopened.plan;
        Some(system::StreamInfo {
            state: "refused".to_owned(),
            reason: Some(unopened.reason.clone()),
            ..if plan.subjects.is_empty() {
                system::StreamInfo {
                    name: plan.name.clone(),
                    worker: plan.worker as u32,
                    ..system::StreamInfo::default()
                }
            } else {
                streams::describe_plan(plan, unopened.configured)
            }
        })
    }

    /// Begins a subscription, and says which streams it will not get.
    pub(super) fn on_subscribe(
        &mut self,
        peer: Peer,
        id: SessionId,
        frame: FrameHeader,
        subscribe: &Subscribe<'_>,
        now: Now,
    ) {
        let missed = if subscribe.flags.contains(SubscribeFlags::RESPONDER) {
            None
        } else {
            self.registry.missed(subscribe.pattern, subscribe.stream)
        };
        let told = |missed: &Missed| missed.reason.clone();
        if let Some(reason) = missed.as_ref().filter(|missed| missed.everything).map(told) {
            let error = ErrorBody::new(ErrorCode::READ_ONLY, &reason);
            return self.post.refuse(id, &error, frame.sequence);
        }
        if self.plan.workers.len() > 1 {
            self.subscribe_all(peer, id, frame.sequence, subscribe, now);
        } else {
            let opened = self.shard.subscribe(id, subscribe, now, &mut self.post);
            self.answer_or_refuse(id, frame, opened);
        }
        if let Some(reason) = missed.as_ref().map(told) {
            let error = ErrorBody::new(ErrorCode::READ_ONLY, &reason);
            self.post.refuse(id, &error, 0);
        }
    }
}

/// How long a try comes after another.
const AGAIN_NS: u64 = 3_000_000_000;
