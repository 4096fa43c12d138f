//! Removing a stream while the server runs: it is not served any more at once, and the answer comes when its files are gone for good.

use std::sync::PoisonError;

use trunkline_broker::{Now, Refusal, SessionId};
use trunkline_log::LogId;
use trunkline_reactor::AnyReactor;
use trunkline_wire::ErrorCode;

use super::message::Message;
use super::node::Node;
use super::registry::{Removal, missing};
use super::system_calls::{Job, Made, to_json};
use crate::system;

/// A stream whose files are being removed on the pool.
pub(super) struct Removing {
    name: String,
    records: u64,
    session: SessionId,
    correlation: u16,
    gone: Made<()>,
}

impl Node {
    /// Takes a stream out, and has its files removed on the pool; the answer comes when they are.
    pub(super) fn begin_remove(
        &mut self,
        session: SessionId,
        correlation: u16,
        payload: &[u8],
        now: Now,
        reactor: &mut AnyReactor,
    ) -> Result<(), Refusal> {
        let name = String::from_utf8_lossy(payload).trim().to_owned();
        self.refuse_opening(&name)?;
        let Removal { files, again } = self.registry.begin_removal(&name)?;
        let mut records = 0;
        if !again {
            records = self
                .take_out(&name, now, reactor)
                .inspect_err(|_| self.registry.stays(&name))?;
        }
        let gone = Made::default();
        let work = {
            let (gone, registry, name) = (gone.clone(), self.registry.clone(), name.clone());
            move || {
                let removed = if files {
                    registry.data.remove_stream(&name)
                } else {
                    // What lies under its name is another's.
                    registry.data.forget(&name)
                };
                let removed = removed.map_err(|error| still_there(&name, &error));
                *gone.lock().unwrap_or_else(PoisonError::into_inner) = Some(removed);
                0
            }
        };
        let removing = Removing {
            name: name.clone(),
            records,
            session,
            correlation,
            gone,
        };
        self.offload_job(work, Job::Removing(removing), reactor)
            .map_err(|refusal| {
                self.registry.is_stuck(&name);
                still_there(&name, &refusal)
            })
    }

    /// Ends serving a stream. Returns how many records it had, as far as that is known.
    fn take_out(&mut self, name: &str, now: Now, reactor: &mut AnyReactor) -> Result<u64, Refusal> {
        if self.remove_unopened(name, now) {
            return Ok(0);
        }
        let info = self.shard.stream_info(name).ok_or_else(|| missing(name))?;
        let log = self.shard.remove_stream(name, now, &mut self.post)?;
        self.volumes.remove(log.id(), reactor);
        self.retire_tail(log.id(), now);
        self.post.send_to_others(|| Message::TailRetired(log.id()));
        self.streams.retain(|served| served.plan.name != name);
        Ok(info.records)
    }

    /// Lets go of a removed stream's tail when nobody can want it any more.
    pub(super) fn retire_tail(&mut self, log: LogId, now: Now) {
        let wanted_ns = self.plan.limits.send_timeout_ns + RETIRE_NS;
        self.post.regions.retire(log.0, now.mono_ns + wanted_ns);
    }

    /// A stream's files are gone, or cannot be removed.
    pub(super) fn on_removed(&mut self, removing: Removing) {
        let Removing {
            name,
            records,
            session,
            correlation,
            gone,
        } = removing;
        let gone = gone.lock().unwrap_or_else(PoisonError::into_inner).take();
        let gone = gone.unwrap_or_else(|| Err(still_there(&name, &"removing them was given up")));
        match &gone {
            Ok(()) => {
                tracing::info!(stream = name, records, "removed");
                self.registry.release(&name);
            }
            Err(refusal) => {
                tracing::error!(stream = name, %refusal, "a stream is not removed");
                self.registry.is_stuck(&name);
            }
        }
        match gone.and_then(|()| to_json(&system::StreamRemoved { name, records })) {
            Ok(json) => self.respond_with(session, correlation, &json),
            Err(refusal) => self.post.refuse(session, &refusal.body(), correlation),
        }
    }
}

fn still_there(name: &str, error: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(
        ErrorCode::EXISTS,
        format!(
            "stream {name} is not served any more, and its files are still there: {error}; remove it again, or start the server again, which tries, too"
        ),
    )
}

/// How long a removed stream's tail stays registered beyond the time that a delivery of it may take.
const RETIRE_NS: u64 = 5_000_000_000;
