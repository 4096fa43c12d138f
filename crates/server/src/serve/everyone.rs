//! What is asked of all workers: subscriptions begin and end on each, and the client is answered when all have.

use trunkline_broker::{Now, SessionId};
use trunkline_wire::{Body, ErrorBody, Subscribe};

use super::ledger::Answer;
use super::message::Message;
use super::node::Node;
use super::tag::Peer;

impl Node {
    /// Asks all workers for a subscription; the answer comes when all have theirs.
    pub(super) fn subscribe_all(
        &mut self,
        peer: Peer,
        id: SessionId,
        request: u16,
        subscribe: &Subscribe<'_>,
        now: Now,
    ) {
        if !self.ask_all(peer, request) {
            return;
        }
        // An encoder without room says how much it needs.
        let len = subscribe
            .encode(&mut [])
            .unwrap_or_else(|short| short.needed);
        let mut body = vec![0; len];
        if subscribe.encode(&mut body).is_ok() {
            self.post.send_to_others(|| Message::Subscribe {
                session: id,
                request,
                body: body.as_slice().into(),
            });
        }
        let own = self.shard.subscribe(id, subscribe, now, &mut self.post);
        self.part_answered(
            id,
            request,
            own.map_err(|refusal| (refusal.code, refusal.message.into())),
        );
    }

    /// Ends a subscription on all workers.
    pub(super) fn unsubscribe_all(
        &mut self,
        peer: Peer,
        id: SessionId,
        request: u16,
        subscription: u16,
        now: Now,
    ) {
        if !self.ask_all(peer, request) {
            return;
        }
        self.post.send_to_others(|| Message::Unsubscribe {
            session: id,
            request,
            subscription,
        });
        let own = self
            .shard
            .unsubscribe(id, subscription, now, &mut self.post);
        self.part_answered(
            id,
            request,
            own.map(|()| 0)
                .map_err(|refusal| (refusal.code, refusal.message.into())),
        );
    }

    /// Begins to count the answers of all workers. False: the session is over.
    fn ask_all(&mut self, peer: Peer, request: u16) -> bool {
        let workers = self.plan.workers.len();
        let session = self.post.sessions.peer(peer);
        let Some(ledger) = session.and_then(|session| session.ledger.as_mut()) else {
            return false;
        };
        ledger.ask(request, workers);
        true
    }

    pub(super) fn part_answered(&mut self, id: SessionId, request: u16, result: Answer) {
        let ledger = self
            .post
            .sessions
            .get(id)
            .and_then(|session| session.ledger.as_mut());
        match ledger.and_then(|ledger| ledger.on_answer(request, result)) {
            Some(Ok(count)) => self.answer_count(id, request, count),
            Some(Err((code, message))) => {
                self.post
                    .refuse(id, &ErrorBody::new(code, &message), request)
            }
            None => {}
        }
    }
}
