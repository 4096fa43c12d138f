//! Streams that could not be opened at the start: the others are served, and these say why they are not.
//!
//! ```text
//!  publish    ─► shard                Error 14 with the reason, for the records
//!  subscribe  ─► here                 Error 14 with the reason, for the request where nothing else matches, beside it where something does
//!  stream ls, stream info             state `refused` and the reason
//!  stream rm  ─► `removal.rs`         as for any other stream
//! ```
//! Opening is tried again by the next start only: repair wants the directory for itself, so a server that runs has nothing to wait for.

use trunkline_broker::{Now, SessionId};
use trunkline_wire::{ErrorBody, ErrorCode, FrameHeader, Subscribe, SubscribeFlags};

use super::node::Node;
use super::streams::{self, broker_plan};
use super::tag::Peer;
use crate::plan::StreamPlan;
use crate::system;

/// A stream that is to be served and is not.
pub(super) struct Unopened {
    pub(super) plan: StreamPlan,
    /// Whether the configuration declares it.
    pub(super) configured: bool,
    /// What went wrong and what can be done.
    pub(super) reason: String,
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

    /// Such a stream as `$sys.stream.info` tells it.
    pub(super) fn describe_unopened(&self, name: &str) -> Option<system::StreamInfo> {
        let mut unopened = self.unopened.iter();
        let unopened = unopened.find(|unopened| unopened.plan.name == name)?;
        Some(system::StreamInfo {
            state: "refused".to_owned(),
            reason: Some(unopened.reason.clone()),
            ..streams::describe_plan(&unopened.plan, unopened.configured)
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
