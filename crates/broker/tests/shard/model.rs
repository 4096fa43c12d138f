//! Random operations against a model that knows only what was published.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use trunkline_broker::{Limits, PublishFrame, SessionId};
use trunkline_log::{LogConfig, LogId, Storage};
use trunkline_route::Pattern;
use trunkline_wire::{AckLevel, ErrorCode, Policy, Start, Subscribe, SubscribeFlags};

use crate::world::{Got, World, request, retention, session, small_log};

#[derive(Clone, Debug)]
enum Operation {
    Publish {
        slot: u32,
        subject: usize,
        bytes: usize,
        level: u8,
        records: usize,
    },
    Subscribe {
        slot: u32,
        number: u16,
        pattern: usize,
        start: Start,
        policy: Policy,
        credit: u64,
    },
    Unsubscribe {
        slot: u32,
        number: u16,
    },
    Credit {
        slot: u32,
        channel: u16,
        bytes: u64,
    },
    Close {
        slot: u32,
    },
    Turn,
    AnswerDisk {
        most: usize,
    },
    Send {
        slot: u32,
    },
    Advance {
        ms: u64,
    },
    Confirm {
        slot: u32,
        portion: usize,
    },
}

const SUBJECTS: [&str; 5] = ["a", "a.b", "a.c", "b.b", "z"];
const PATTERNS: [&str; 6] = [">", "a.>", "*.b", "z", "*", "none"];
const SLOTS: u32 = 4;

fn operation() -> impl Strategy<Value = Operation> {
    let start = prop_oneof![
        Just(Start::New),
        Just(Start::First),
        Just(Start::Last),
        (0_u64..200).prop_map(Start::Sequence),
    ];
    let policy = prop::sample::select(vec![
        Policy::Block,
        Policy::DropNewest,
        Policy::DropOldest,
        Policy::Disconnect,
        Policy::Spill,
    ]);
    let credit = prop_oneof![Just(0), 1_u64..3000, Just(1 << 40)];
    prop_oneof![
        8 => (0..SLOTS, 0..SUBJECTS.len(), 0_usize..2000, 0_u8..4, 1_usize..8)
            .prop_map(|(slot, subject, bytes, level, records)| Operation::Publish { slot, subject, bytes, level, records }),
        2 => (0..SLOTS, 0_u16..3, 0..PATTERNS.len(), start, policy, credit.clone())
            .prop_map(|(slot, number, pattern, start, policy, credit)| Operation::Subscribe {
                slot, number, pattern, start, policy, credit
            }),
        1 => (0..SLOTS, 0_u16..3).prop_map(|(slot, number)| Operation::Unsubscribe { slot, number }),
        2 => (0..SLOTS, 0_u16..3, credit).prop_map(|(slot, channel, bytes)| Operation::Credit { slot, channel, bytes }),
        1 => (0..SLOTS).prop_map(|slot| Operation::Close { slot }),
        6 => Just(Operation::Turn),
        4 => (1_usize..5).prop_map(|most| Operation::AnswerDisk { most }),
        4 => (0..SLOTS).prop_map(|slot| Operation::Send { slot }),
        1 => (1_u64..500).prop_map(|ms| Operation::Advance { ms }),
        3 => (0..SLOTS, 0_usize..20).prop_map(|(slot, portion)| Operation::Confirm { slot, portion }),
    ]
}

/// What a channel was told so far.
struct Channel {
    pattern: Pattern,
    /// Everything before was delivered, told as a gap, or does not match.
    next: u64,
}

struct Model {
    world: World,
    storage: Storage,
    /// The subject of each record, by sequence - 1.
    published: Vec<usize>,
    /// By session: producer sequences that were published, and how many were acknowledged or refused.
    sent: BTreeMap<SessionId, u64>,
    acked: BTreeMap<SessionId, u64>,
    channels: BTreeMap<(SessionId, u16), Channel>,
    patterns: BTreeMap<(SessionId, u16), Pattern>,
    generation: u32,
    sessions: Vec<SessionId>,
    frame: u16,
}

impl Model {
    fn new(storage: Storage) -> Self {
        let limits = Limits {
            window_bytes: 8000,
            session_in_flight_bytes: 20_000,
            run_bytes: 16_000,
            ..Limits::default()
        };
        let mut world = World::with_limits(limits);
        let level = if storage == Storage::Memory {
            AckLevel::Received
        } else {
            AckLevel::Stored
        };
        let config = LogConfig {
            retention: retention(4),
            ..small_log(storage)
        };
        world.add("main", 0, &[">"], level, config);
        let sessions: Vec<_> = (0..SLOTS).map(|slot| world.open(slot)).collect();
        Self {
            world,
            storage,
            published: Vec::new(),
            sent: BTreeMap::new(),
            acked: BTreeMap::new(),
            channels: BTreeMap::new(),
            patterns: BTreeMap::new(),
            generation: 1,
            sessions,
            frame: 0,
        }
    }

    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Publish {
                slot,
                subject,
                bytes,
                level,
                records,
            } => {
                let session = self.sessions[slot as usize];
                let level = AckLevel::from_u8(level).unwrap();
                let body = vec![subject as u8; bytes];
                let run = self
                    .world
                    .run(session, &vec![(SUBJECTS[subject], &body[..]); records]);
                self.frame = self.frame.wrapping_add(1);
                let frame = PublishFrame {
                    sequence: self.frame,
                    level,
                    expects_ack: true,
                    last: true,
                    apart: false,
                };
                if self.storage == Storage::Files || level <= AckLevel::Received {
                    self.published.extend(std::iter::repeat_n(subject, records));
                }
                *self.sent.entry(session).or_default() += records as u64;
                let mut taken = 0;
                let mut tries = 0;
                loop {
                    let Ok(published) = self.world.publish_run(session, frame, &run[taken..])
                    else {
                        // It was disconnected meanwhile, and what it had left is lost.
                        let end = self.world.shard.log(LogId(0)).unwrap().received();
                        self.published.truncate(end.sequence as usize - 1);
                        break;
                    };
                    taken += published.bytes;
                    if !published.full {
                        break;
                    }
                    tries += 1;
                    if tries > 2 {
                        // A blocking subscriber: it is given what it waits for.
                        self.grant_all();
                    }
                    self.settle();
                    assert!(tries < 100, "publishing never goes on");
                }
            }
            Operation::Subscribe {
                slot,
                number,
                pattern,
                start,
                policy,
                credit,
            } => {
                let session = self.sessions[slot as usize];
                let subscribe = Subscribe {
                    start,
                    policy,
                    credit_bytes: credit,
                    ..request(number, PATTERNS[pattern])
                };
                if self.world.subscribe_with(session, &subscribe).is_ok() {
                    self.patterns
                        .insert((session, number), Pattern::new(PATTERNS[pattern]).unwrap());
                }
            }
            Operation::Unsubscribe { slot, number } => {
                let session = self.sessions[slot as usize];
                let world = &mut self.world;
                let _ = world
                    .shard
                    .unsubscribe(session, number, world.now, &mut world.out);
                self.world.send_to(session);
                self.check(session);
                self.patterns.remove(&(session, number));
                self.channels.retain(|(id, channel), _| {
                    *id != session || self.world.shard.credit(session, *channel, 0).is_ok()
                });
            }
            Operation::Credit {
                slot,
                channel,
                bytes,
            } => {
                let _ = self
                    .world
                    .shard
                    .credit(self.sessions[slot as usize], channel, bytes);
            }
            Operation::Close { slot } => self.close(self.sessions[slot as usize]),
            Operation::Turn => {
                self.world.turn();
            }
            Operation::AnswerDisk { most } => {
                self.world.answer_disk(most);
            }
            Operation::Send { slot } => {
                self.world.send_to(self.sessions[slot as usize]);
            }
            Operation::Advance { ms } => self.world.advance(ms),
            Operation::Confirm { .. } => {}
        }
        for session in self.sessions.clone() {
            self.check(session);
        }
    }

    fn close(&mut self, old: SessionId) {
        self.world.close(old);
        self.world.got(old);
        self.channels.retain(|(id, _), _| *id != old);
        self.patterns.retain(|(id, _), _| *id != old);
        self.generation += 1;
        let new = SessionId::new(0, old.slot(), self.generation);
        self.world.shard.open_session(new).unwrap();
        self.sessions[old.slot() as usize] = new;
    }

    fn grant_all(&mut self) {
        for (session, channel) in self.channels.keys() {
            let _ = self.world.shard.credit(*session, *channel, 1 << 40);
        }
    }

    fn settle(&mut self) {
        self.world.settle();
        for session in self.sessions.clone() {
            self.check(session);
        }
    }

    /// Checks what a session was told since the last time.
    fn check(&mut self, id: SessionId) {
        for got in self.world.got(id) {
            match got {
                Got::Subscribed {
                    channel,
                    subscription,
                    next,
                    ..
                } => {
                    let pattern = self.patterns[&(id, subscription)].clone();
                    self.channels
                        .insert((id, channel), Channel { pattern, next });
                }
                Got::Record {
                    channel,
                    sequence,
                    subject,
                    body,
                } => {
                    let Some(state) = self.channels.get_mut(&(id, channel)) else {
                        continue;
                    };
                    let published = self.published[sequence as usize - 1];
                    assert_eq!(subject, SUBJECTS[published]);
                    assert!(body.iter().all(|byte| usize::from(*byte) == published));
                    assert!(state.pattern.matches_str(&subject));
                    none_missing(&self.published, state, sequence);
                    let log = self.world.shard.log(LogId(0)).unwrap();
                    assert!(
                        sequence < log.stored().sequence,
                        "{sequence} is not stored and seen"
                    );
                    state.next = sequence + 1;
                }
                Got::Gap {
                    channel,
                    first,
                    last,
                    ..
                } => {
                    let Some(state) = self.channels.get_mut(&(id, channel)) else {
                        continue;
                    };
                    if last + 1 == state.next {
                        // What was asked for and is gone, told after where it starts.
                        continue;
                    }
                    none_missing(&self.published, state, first);
                    state.next = last + 1;
                }
                Got::Acked { ack, .. } => {
                    let acked = self.acked.entry(id).or_default();
                    *acked += u64::from(ack.count);
                    assert_eq!(ack.producer_sequence, *acked, "acks come in order");
                    assert!(self.storage == Storage::Files || ack.level == AckLevel::Received);
                }
                Got::Refused {
                    code: ErrorCode::LEVEL,
                    count,
                    producer_sequence,
                    ..
                } => {
                    assert_eq!(self.storage, Storage::Memory);
                    let answered = self.acked.entry(id).or_default();
                    assert_eq!(producer_sequence, *answered + 1, "refusals, too");
                    *answered += u64::from(count);
                }
                Got::Closed { .. } => {
                    self.close(id);
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Everybody gets everything in the end.
    fn finish(mut self) {
        self.settle();
        for _ in 0..20 {
            self.grant_all();
            self.settle();
        }
        for (id, state) in &mut self.channels {
            let end = self.published.len() as u64 + 1;
            let missing = (state.next..end).find(|sequence| {
                state
                    .pattern
                    .matches_str(SUBJECTS[self.published[*sequence as usize - 1]])
            });
            assert_eq!(missing, None, "{id:?} on {:?}", self.storage);
        }
        for (id, sent) in &self.sent {
            if self.sessions.contains(id) {
                assert_eq!(self.acked.get(id), Some(sent));
            }
        }
        for id in self.sessions.clone() {
            self.world.close(id);
        }
        assert_eq!(self.world.shard.deliveries_in_flight(), 0);
        self.world.settle();
        assert_eq!(self.world.buffers_out(), 0);
        assert_eq!(self.world.shard.stream_info("main").unwrap().subscribers, 0);
    }
}

/// No record that matches lies between what the channel was told last and `to`.
fn none_missing(published: &[usize], state: &Channel, to: u64) {
    assert!(
        to >= state.next,
        "{to} comes after {} was told",
        state.next - 1
    );
    for sequence in state.next..to {
        let subject = SUBJECTS[published[sequence as usize - 1]];
        assert!(
            !state.pattern.matches_str(subject),
            "{sequence} of {} is missing",
            state.pattern
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80,
        failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_channel_gets_each_of_its_records_once_or_is_told_why_not(
        operations in prop::collection::vec(operation(), 1..300),
        volatile in any::<bool>(),
    ) {
        let mut model = Model::new(if volatile { Storage::Memory } else { Storage::Files });
        for operation in &operations {
            model.apply(operation);
        }
        model.finish();
    }

    #[test]
    fn a_group_gets_each_record_at_least_once_and_none_again_that_was_confirmed(
        operations in prop::collection::vec(operation(), 1..200),
        pattern in prop::sample::select(vec![">", "a.>"]),
    ) {
        let mut world = World::new();
        world.add_cursors(900);
        world.add("main", 0, &[">"], AckLevel::Stored, small_log(Storage::Files));
        let producer = world.open(100);
        let subscribe = Subscribe {
            start: Start::Cursor,
            group: "group",
            cursor: "cursor",
            flags: SubscribeFlags::EXPLICIT_CONFIRMS,
            ..request(1, pattern)
        };
        let matcher = Pattern::new(pattern).unwrap();
        let mut members: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        let mut expected = BTreeSet::new();
        let (mut seen, mut confirmed) = (BTreeSet::new(), BTreeSet::new());
        let mut published = 0;
        for operation in &operations {
            match *operation {
                Operation::Publish { subject, bytes, records, .. } => {
                    for _ in 0..records {
                        published += 1;
                        world.publish(producer, &[(SUBJECTS[subject], &vec![0; bytes])]);
                        if matcher.matches_str(SUBJECTS[subject]) {
                            expected.insert(published);
                        }
                    }
                }
                Operation::Subscribe { slot, .. } if !members.contains_key(&slot) => {
                    world.open(slot);
                    world.subscribe_with(session(slot), &subscribe).unwrap();
                    members.insert(slot, Vec::new());
                }
                Operation::Close { slot } | Operation::Unsubscribe { slot, .. } => {
                    if members.remove(&slot).is_some() {
                        world.close(session(slot));
                        world.got(session(slot));
                    }
                    if members.is_empty() {
                        // A cursor keeps how far everything is confirmed, not what is confirmed behind that.
                        let lowest = expected.iter().find(|sequence| !confirmed.contains(*sequence));
                        confirmed.retain(|sequence| lowest.is_none_or(|lowest| sequence < lowest));
                    }
                }
                Operation::Confirm { slot, portion } => {
                    if let Some(got) = members.get_mut(&slot) {
                        for sequence in got.drain(..portion.min(got.len())) {
                            world.confirm(session(slot), 0, sequence, sequence);
                            confirmed.insert(sequence);
                        }
                    }
                }
                _ => {}
            }
            world.settle();
            for (slot, held) in &mut members {
                for sequence in world.sequences(session(*slot)) {
                    prop_assert!(expected.contains(&sequence));
                    prop_assert!(!confirmed.contains(&sequence), "{} was confirmed and comes again", sequence);
                    seen.insert(sequence);
                    held.push(sequence);
                }
            }
        }
        for slot in members.keys() {
            world.close(session(*slot));
        }
        world.open(50);
        world.subscribe_with(session(50), &subscribe).unwrap();
        world.settle();
        let rest: Vec<u64> = world.sequences(session(50));
        for sequence in &expected {
            prop_assert!(confirmed.contains(sequence) || rest.contains(sequence), "{} never came", sequence);
        }
    }
}
