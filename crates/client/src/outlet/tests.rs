//! The outlet against a model: a server that parses what is sent, and answers it in any way that the format allows.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use proptest::prelude::*;
use trunkline_wire::{
    Ack, AckLevel, ClientHello, Credit, ErrorBody, ErrorCode, Event, FrameFlags, Kind, Limits,
    Server, Session,
};

use super::{Answered, Outlet, OutletLimits, Range};
use crate::error::PublishError;
use crate::publication::Publication;

const HELLO: ClientHello<'static> = ClientHello {
    version: 1,
    max_frame_bytes: 1 << 20,
    name: "model",
};

#[derive(Clone, Debug)]
enum Operation {
    Publish {
        subject: u8,
        level: u8,
        len: usize,
    },
    Control,
    /// Takes everything at once, as the client's thread does.
    Take,
    /// Sends a part, as a publisher does.
    Send(usize),
    /// Answers up to the frame with this index among the unanswered.
    Ack(usize),
    /// Accepts so many records of the oldest frame, and refuses the others.
    AckPart(usize),
    /// Refuses the frame with this index.
    Refuse(usize),
    Reconnect,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        8 => (0..5u8, 0..4u8, 0..300usize).prop_map(|(subject, level, len)| Operation::Publish { subject, level, len }),
        1 => Just(Operation::Control),
        2 => Just(Operation::Take),
        2 => (0..500usize).prop_map(Operation::Send),
        2 => (0..4usize).prop_map(Operation::Ack),
        1 => (0..4usize).prop_map(Operation::AckPart),
        1 => (0..4usize).prop_map(Operation::Refuse),
        1 => Just(Operation::Reconnect),
    ];
    prop::collection::vec(operation, 1..120)
}

/// What the server has heard on this connection.
struct Peer {
    session: Session<Server>,
    names: BTreeMap<u32, String>,
    frames: VecDeque<Frame>,
}

struct Frame {
    number: u16,
    sequences: Vec<u64>,
    whole: bool,
}

impl Peer {
    fn new() -> Self {
        Self {
            session: Session::new(Limits::default()),
            names: BTreeMap::new(),
            frames: VecDeque::new(),
        }
    }

    /// Frames that came to their end; only they can be answered.
    fn whole(&self) -> usize {
        self.frames.iter().filter(|frame| frame.whole).count()
    }

    /// Hears bytes; every record must have a name, the right one, and the level that was asked for.
    fn hear(&mut self, mut bytes: &[u8], published: &BTreeMap<u64, (String, AckLevel)>) {
        while let (used, Some(event)) = self
            .session
            .next(bytes)
            .expect("the outlet keeps to the format")
        {
            bytes = &bytes[used..];
            let Event::Records {
                frame,
                first,
                last,
                run,
            } = event
            else {
                continue;
            };
            let answered = frame.flags.contains(FrameFlags::EXPECTS_RESPONSE);
            if first && answered {
                assert!(
                    self.frames
                        .iter()
                        .all(|known| known.number != frame.sequence)
                        && frame.sequence != 0
                );
                self.frames.push_back(Frame {
                    number: frame.sequence,
                    sequences: Vec::new(),
                    whole: false,
                });
            }
            for raw in run.records() {
                let record = raw.verify().expect("its checksum is right");
                if raw.kind() == Kind::Definition {
                    let name = String::from_utf8(record.body().to_vec()).unwrap();
                    assert!(!answered);
                    self.names.insert(raw.subject_id(), name);
                    continue;
                }
                let (subject, level) = &published[&raw.sequence()];
                assert_eq!(self.names.get(&raw.subject_id()), Some(subject));
                assert_eq!(frame.flags.ack_level(), *level);
                self.frames
                    .back_mut()
                    .expect("it is in a frame")
                    .sequences
                    .push(raw.sequence());
            }
            if last && answered {
                self.frames.back_mut().expect("it is in a frame").whole = true;
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Acked,
    Refused,
    Lost,
}

struct Model {
    outlet: Outlet,
    peer: Peer,
    spare: Vec<u8>,
    resend: bool,
    published: BTreeMap<u64, (String, AckLevel)>,
    outcomes: BTreeMap<u64, Outcome>,
}

impl Model {
    fn new(resend: bool) -> Self {
        let limits = OutletLimits {
            buffer_bytes: 2000,
            in_flight_records: 40,
            resend,
        };
        let mut outlet = Outlet::new(limits);
        outlet.on_connect(&HELLO).unwrap();
        let (published, outcomes) = (BTreeMap::new(), BTreeMap::new());
        Self {
            outlet,
            peer: Peer::new(),
            spare: Vec::new(),
            resend,
            published,
            outcomes,
        }
    }

    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Publish {
                subject,
                level,
                len,
            } => {
                let subject = format!("subject.{subject}");
                let level = AckLevel::from_u8(level).unwrap();
                let payload = vec![7; len];
                match self.outlet.publish(&Publication {
                    level,
                    ..Publication::new(&subject, &payload)
                }) {
                    Ok(sequence) => {
                        assert_eq!(sequence, self.published.len() as u64 + 1);
                        self.published.insert(sequence, (subject, level));
                    }
                    Err(error) => assert_eq!(error, PublishError::Full),
                }
            }
            Operation::Control => self
                .outlet
                .control(&Credit { bytes: 1 }, FrameFlags::empty(), 7)
                .unwrap(),
            Operation::Take => {
                let range = self.outlet.take(&mut self.spare);
                self.peer.hear(&self.spare[range], &self.published);
            }
            Operation::Send(len) => {
                self.outlet.close();
                let len = len.min(self.outlet.bytes().len());
                self.peer.hear(&self.outlet.bytes()[..len], &self.published);
                self.outlet.consume(len);
            }
            Operation::Ack(index) => {
                // Not the last one while it is still coming.
                let whole = self.peer.whole();
                let Some(last) = whole.min(index + 1).checked_sub(1) else {
                    return;
                };
                let (mut number, mut sequence) = (0, 0);
                for frame in self.peer.frames.drain(..=last) {
                    number = frame.number;
                    sequence = *frame.sequences.last().expect("no frame is empty");
                }
                self.ack(number, sequence);
            }
            Operation::AckPart(count) => {
                let Some(frame) = self
                    .peer
                    .frames
                    .front_mut()
                    .filter(|frame| frame.whole && frame.sequences.len() > count)
                else {
                    return;
                };
                let number = frame.number;
                let refused = frame.sequences.split_off(count);
                if let Some(last) = frame.sequences.last() {
                    let last = *last;
                    self.ack(number, last);
                }
                self.peer.frames.pop_front();
                self.refuse(number, &refused);
            }
            Operation::Refuse(index) => {
                let whole = self.peer.whole();
                if index < whole {
                    let frame = self.peer.frames.remove(index).unwrap();
                    self.refuse(frame.number, &frame.sequences);
                }
            }
            Operation::Reconnect => self.reconnect(),
        }
        self.check();
    }

    fn reconnect(&mut self) {
        if let Some(lost) = self.outlet.on_disconnect() {
            assert!(!self.resend);
            for sequence in lost.first..=lost.last {
                self.outcomes.entry(sequence).or_insert(Outcome::Lost);
            }
        }
        self.peer = Peer::new();
        self.outlet.on_connect(&HELLO).unwrap();
    }

    fn ack(&mut self, number: u16, producer_sequence: u64) {
        let ack = Ack {
            level: AckLevel::Stored,
            count: 1,
            stream_sequence: 1,
            producer_sequence,
        };
        let Answered::Records(range) = self.outlet.on_ack(number, &ack) else {
            panic!("frame {number} was unanswered")
        };
        assert_eq!(range.last, producer_sequence);
        for sequence in range.first..=range.last {
            self.outcomes.entry(sequence).or_insert(Outcome::Acked);
        }
    }

    fn refuse(&mut self, number: u16, sequences: &[u64]) {
        let (Some(first), Some(last)) = (sequences.first(), sequences.last()) else {
            return;
        };
        let error = ErrorBody {
            producer_sequence: *first,
            ..ErrorBody::new(ErrorCode::NO_STREAM, "")
        };
        let Answered::Records(range) = self.outlet.on_error(number, &error) else {
            panic!("frame {number} was unanswered")
        };
        assert_eq!((range.first, range.last), (*first, *last));
        for sequence in range.first..=range.last {
            assert_eq!(self.outcomes.insert(sequence, Outcome::Refused), None);
        }
    }

    fn check(&self) {
        let unresolved = self
            .published
            .keys()
            .find(|sequence| !self.outcomes.contains_key(sequence));
        let resolved = unresolved
            .copied()
            .unwrap_or(self.published.len() as u64 + 1)
            - 1;
        assert_eq!(self.outlet.resolved(), resolved);
        for sequence in self.published.keys() {
            assert_eq!(
                self.outlet.is_resolved(*sequence),
                self.outcomes.contains_key(sequence),
                "record {sequence}"
            );
        }
        assert_eq!(
            self.outlet.in_flight(),
            self.published.len() as u64 - resolved
        );
    }
}

proptest! {
    #[test]
    fn every_record_has_one_outcome_whatever_is_answered_and_whenever_connections_break(
        operations in operations(),
        resend in any::<bool>(),
    ) {
        let mut model = Model::new(resend);
        for operation in &operations {
            model.apply(operation);
        }
        // In the end a server that takes everything gets everything that is left.
        model.apply(&Operation::Reconnect);
        model.apply(&Operation::Take);
        model.apply(&Operation::Ack(usize::MAX - 1));
        prop_assert_eq!(model.outcomes.len(), model.published.len());
        prop_assert_eq!(model.outlet.in_flight(), 0);
        if resend {
            prop_assert!(model.outcomes.values().all(|outcome| *outcome != Outcome::Lost));
        }
    }
}

#[test]
fn the_time_of_a_call_is_rounded_up_to_what_can_be_said() {
    let outlet = Outlet::new(OutletLimits {
        buffer_bytes: 1 << 20,
        in_flight_records: 10,
        resend: false,
    });
    // 0 is not among them: it is the server's own time.
    for (ns, ms) in [
        (0, 1),
        (1, 1),
        (1_000_000, 1),
        (1_000_001, 2),
        (u64::MAX, u32::MAX),
    ] {
        let call = outlet.call("svc", b"", Duration::from_nanos(ns)).unwrap();
        assert_eq!(call.timeout_ms, ms, "{ns} ns");
    }
}

#[test]
fn numbers_leave_out_zero_and_what_is_unanswered() {
    let mut outlet = Outlet::new(OutletLimits {
        buffer_bytes: 1 << 20,
        in_flight_records: 10,
        resend: false,
    });
    let mut spare = Vec::new();
    let long = outlet.request(&Credit { bytes: 0 }).unwrap();
    let mut seen = Vec::new();
    for _ in 0..70_000u32 {
        let number = outlet.request(&Credit { bytes: 0 }).unwrap();
        assert!(number != 0 && number != long);
        assert!(outlet.finish_request(number));
        seen.push(number);
        outlet.take(&mut spare);
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 65_534);
    assert!(outlet.finish_request(long) && !outlet.finish_request(long));
}

#[test]
fn an_error_that_counts_fewer_records_than_are_left_is_not_about_all_of_them() {
    let mut outlet = Outlet::new(OutletLimits {
        buffer_bytes: 1 << 20,
        in_flight_records: 10,
        resend: false,
    });
    outlet.on_connect(&HELLO).unwrap();
    for _ in 0..4 {
        outlet.publish(&Publication::new("a", b"")).unwrap();
    }
    outlet.take(&mut Vec::new());
    let error = |count, producer_sequence| ErrorBody {
        count,
        producer_sequence,
        ..ErrorBody::new(ErrorCode::NO_STREAM, "")
    };
    let rest = Range { first: 2, last: 4 };
    assert_eq!(outlet.on_error(1, &error(2, 2)), Answered::Some(rest));
    // The Ack counts what is stored behind the first refused record, too, and names the last of that.
    let ack = Ack {
        level: AckLevel::Stored,
        count: 2,
        stream_sequence: 1,
        producer_sequence: 3,
    };
    let before = Range { first: 1, last: 1 };
    assert_eq!(outlet.on_ack(1, &ack), Answered::Records(before));
    assert_eq!(outlet.in_flight(), 0);
    outlet.publish(&Publication::new("a", b"")).unwrap();
    outlet.take(&mut Vec::new());
    let all = Range { first: 5, last: 5 };
    assert_eq!(outlet.on_error(2, &error(1, 5)), Answered::Records(all));
}
