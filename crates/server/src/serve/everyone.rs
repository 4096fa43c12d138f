//! What is asked of all workers: subscriptions begin and end on each, and the client is answered when all have.

use trunkline_broker::{Now, SessionId};
use trunkline_wire::{Body, ErrorBody, Subscribe};

use super::ledger::{Answer, Outcome};
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
        if !self.ask_all(peer, request, Some(subscribe.subscription)) {
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
        let own = own.map_err(|refusal| (refusal.code, refusal.message.into()));
        self.part_answered(id, self.index, request, own, now);
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
        if !self.ask_all(peer, request, None) {
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
        let own = own
            .map(|()| 0)
            .map_err(|refusal| (refusal.code, refusal.message.into()));
        self.part_answered(id, self.index, request, own, now);
    }

    /// Begins to count the answers of all workers. False: the session is over.
    fn ask_all(&mut self, peer: Peer, request: u16, subscription: Option<u16>) -> bool {
        let workers = self.plan.workers.len();
        let session = self.post.sessions.peer(peer);
        let Some(ledger) = session.and_then(|session| session.ledger.as_mut()) else {
            return false;
        };
        ledger.ask(request, workers, subscription);
        true
    }

    pub(super) fn part_answered(
        &mut self,
        id: SessionId,
        worker: u8,
        request: u16,
        answer: Answer,
        now: Now,
    ) {
        let ledger = self
            .post
            .sessions
            .get(id)
            .and_then(|session| session.ledger.as_mut());
        let outcome = ledger.and_then(|ledger| ledger.on_answer(worker, request, answer));
        let Some(Outcome { answer, withdrawn }) = outcome else {
            return;
        };
        if let Some((subscription, workers)) = withdrawn {
            self.withdraw_everywhere(id, subscription, workers, now);
        }
        match answer {
            Ok(count) => self.answer_count(id, request, count),
            Err((code, message)) => self
                .post
                .refuse(id, &ErrorBody::new(code, &message), request),
        }
    }

    /// Ends a subscription where it was begun.
    fn withdraw_everywhere(&mut self, id: SessionId, subscription: u16, workers: u64, now: Now) {
        for worker in (0..self.plan.workers.len() as u8).filter(|worker| workers & 1 << worker != 0)
        {
            if worker == self.index {
                self.withdraw(id, subscription, now);
            } else {
                let message = Message::Withdraw {
                    session: id,
                    subscription,
                };
                self.post.send(worker, message);
            }
        }
    }

    /// Another worker refused a subscription that was begun here.
    pub(super) fn withdraw(&mut self, session: SessionId, subscription: u16, now: Now) {
        let _gone_with_its_session =
            self.shard
                .unsubscribe(session, subscription, now, &mut self.post);
    }
}
