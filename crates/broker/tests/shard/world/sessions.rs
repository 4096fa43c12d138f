//! Sessions: what they are handed, what leaves, and what they got.

use std::collections::{BTreeMap, HashMap};

use trunkline_broker::{HoldId, Out, SessionId, Source, Span};
use trunkline_log::LogId;
use trunkline_wire::record::Records;
use trunkline_wire::{
    Ack, ErrorBody, ErrorCode, Failure, FrameFlags, FrameHeader, Gap, GapReason, Kind, Opcode,
    RpcCall, Subscribed,
};

use super::World;

/// What a session was told, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    Record {
        channel: u16,
        sequence: u64,
        subject: String,
        body: Vec<u8>,
    },
    Subscribed {
        channel: u16,
        subscription: u16,
        stream: String,
        next: u64,
        first: u64,
        last: u64,
    },
    Gap {
        channel: u16,
        first: u64,
        last: u64,
        reason: GapReason,
    },
    Acked {
        frame: u16,
        ack: Ack,
    },
    Refused {
        frame: u16,
        code: ErrorCode,
        count: u32,
        producer_sequence: u64,
    },
    Closed {
        code: ErrorCode,
    },
    Call {
        correlation: u16,
        subject: String,
        payload: Vec<u8>,
        timeout_ms: u32,
    },
    Response {
        correlation: u16,
        payload: Vec<u8>,
    },
    Failed {
        correlation: u16,
        code: u32,
        message: String,
    },
}

/// Something that was handed over and is not on its way yet.
enum Pending {
    Span {
        channel: u16,
        span: Span,
        records: u32,
        hold: HoldId,
    },
    Copied {
        channel: u16,
        body: Vec<u8>,
        records: u32,
        hold: HoldId,
    },
    Told(Got),
}

#[derive(Default)]
pub struct Sessions {
    pending: BTreeMap<SessionId, Vec<Pending>>,
    inbox: BTreeMap<SessionId, Vec<Got>>,
    subjects: HashMap<(SessionId, u16, u32), String>,
    /// Bytes of deliveries by channel.
    pub delivered_bytes: HashMap<(SessionId, u16), u64>,
    pub released: Vec<u32>,
    pub reclaimed: Vec<(SessionId, HoldId)>,
    /// What refusals said in words, in the order in which they were made.
    pub refusals: Vec<String>,
    /// How many Deliver frames there were.
    pub frames: u64,
    /// What the owner was told of damaged records.
    pub damaged: Vec<(u64, u64)>,
    /// Frames that were acknowledged in part.
    pub in_part: Vec<u16>,
}

impl Sessions {
    fn tell(&mut self, session: SessionId, got: Got) {
        self.pending
            .entry(session)
            .or_default()
            .push(Pending::Told(got));
    }

    /// A Deliver frame at the client.
    fn take(&mut self, session: SessionId, channel: u16, body: &[u8], records: u32) {
        *self.delivered_bytes.entry((session, channel)).or_default() += body.len() as u64;
        let mut data = 0;
        let mut walk = Records::new(body, 1 << 24);
        for raw in &mut walk {
            let record = raw.unwrap().verify().expect("what is delivered is intact");
            match record.kind() {
                Kind::Definition => {
                    let name = String::from_utf8(record.body().into()).unwrap();
                    let known = self
                        .subjects
                        .insert((session, channel, record.subject_id()), name.clone());
                    assert!(
                        known.is_none_or(|known| known == name),
                        "an id keeps its name"
                    );
                }
                Kind::Data => {
                    data += 1;
                    let subject = self.subjects.get(&(session, channel, record.subject_id()));
                    let got = Got::Record {
                        channel,
                        sequence: record.sequence(),
                        subject: subject.expect("defined before it is used").clone(),
                        body: record.body().into(),
                    };
                    self.inbox.entry(session).or_default().push(got);
                }
                other => panic!("{other:?} is delivered"),
            }
        }
        assert!(walk.rest().is_empty(), "whole records are delivered");
        assert_eq!(data, records, "the count of records is right");
    }

    /// The session is gone: what was on its way to it is given up.
    pub fn give_up(&mut self, session: SessionId) -> Vec<HoldId> {
        self.subjects.retain(|(id, ..), _| *id != session);
        self.delivered_bytes.retain(|(id, _), _| *id != session);
        let pending = self.pending.remove(&session).unwrap_or_default();
        let held = pending.into_iter().filter_map(|pending| match pending {
            Pending::Span { hold, .. } | Pending::Copied { hold, .. } => Some(hold),
            Pending::Told(_) => None,
        });
        held.collect()
    }
}

impl Out for Sessions {
    fn deliver(
        &mut self,
        session: SessionId,
        channel: u16,
        span: Span,
        records: u32,
        hold: HoldId,
    ) {
        self.frames += 1;
        self.pending
            .entry(session)
            .or_default()
            .push(Pending::Span {
                channel,
                span,
                records,
                hold,
            });
    }

    fn deliver_copied(
        &mut self,
        session: SessionId,
        channel: u16,
        body: &[u8],
        records: u32,
        hold: HoldId,
    ) {
        self.frames += 1;
        let copied = Pending::Copied {
            channel,
            body: body.to_vec(),
            records,
            hold,
        };
        self.pending.entry(session).or_default().push(copied);
    }

    fn damaged(&mut self, _log: LogId, first: u64, last: u64) {
        self.damaged.push((first, last));
    }

    fn frame(&mut self, session: SessionId, header: FrameHeader, body: &[u8]) {
        assert_eq!(header.length as usize, body.len());
        let got = match header.opcode {
            Opcode::Subscribed => {
                let told = Subscribed::decode(body).unwrap();
                Got::Subscribed {
                    channel: header.sequence,
                    subscription: told.subscription,
                    stream: told.name.into(),
                    next: told.next,
                    first: told.first,
                    last: told.last,
                }
            }
            Opcode::Gap => {
                let gap = Gap::decode(body).unwrap();
                Got::Gap {
                    channel: header.sequence,
                    first: gap.first,
                    last: gap.last,
                    reason: gap.reason,
                }
            }
            Opcode::RpcCall => {
                let call = RpcCall::decode(body).unwrap();
                Got::Call {
                    correlation: header.sequence,
                    subject: call.subject.into(),
                    payload: call.payload.into(),
                    timeout_ms: call.timeout_ms,
                }
            }
            Opcode::RpcResponse if header.flags.contains(FrameFlags::FAILED) => {
                let failure = Failure::decode(body).unwrap();
                Got::Failed {
                    correlation: header.sequence,
                    code: failure.code,
                    message: failure.message.into(),
                }
            }
            Opcode::RpcResponse => Got::Response {
                correlation: header.sequence,
                payload: body.into(),
            },
            other => panic!("the broker sends no {other:?}"),
        };
        self.tell(session, got);
    }

    fn acked_in_part(&mut self, session: SessionId, frame: u16, ack: Ack) {
        self.in_part.push(frame);
        self.acked(session, frame, ack);
    }

    fn acked(&mut self, session: SessionId, frame: u16, ack: Ack) {
        self.tell(session, Got::Acked { frame, ack });
    }

    fn refused(&mut self, session: SessionId, frame: u16, error: &ErrorBody<'_>) {
        let ErrorBody {
            code,
            count,
            producer_sequence,
            ..
        } = *error;
        assert!(!error.message.is_empty());
        self.refusals.push(error.message.to_owned());
        self.tell(
            session,
            Got::Refused {
                frame,
                code,
                count,
                producer_sequence,
            },
        );
    }

    fn reclaim(&mut self, session: SessionId, hold: HoldId) {
        self.reclaimed.push((session, hold));
    }

    fn close(&mut self, session: SessionId, code: ErrorCode, _message: &str) {
        self.tell(session, Got::Closed { code });
    }

    fn release_buffer(&mut self, buffer: u32) {
        self.released.push(buffer);
    }
}

/// What sessions see of the world.
impl World {
    /// What was handed over to sessions that are not stuck leaves. The bytes are looked at only now.
    pub fn send(&mut self) -> usize {
        self.drop_released();
        let sessions: Vec<SessionId> = self
            .out
            .pending
            .keys()
            .filter(|session| !self.stuck.contains(session))
            .copied()
            .collect();
        sessions
            .into_iter()
            .map(|session| self.send_to(session))
            .sum()
    }

    pub fn send_to(&mut self, session: SessionId) -> usize {
        let pending = self.out.pending.remove(&session).unwrap_or_default();
        let count = pending.len();
        for one in pending {
            match one {
                Pending::Told(got) => self.out.inbox.entry(session).or_default().push(got),
                Pending::Copied {
                    channel,
                    body,
                    records,
                    hold,
                } => {
                    self.out.take(session, channel, &body, records);
                    self.shard.on_sent(hold);
                }
                Pending::Span {
                    channel,
                    span,
                    records,
                    hold,
                } => {
                    let bytes = match span.source {
                        Source::Tail(log) => match self.shard.log(log) {
                            Some(log) => log.bytes(span.position, span.len).to_vec(),
                            None => Vec::new(),
                        },
                        Source::Buffer(id) => {
                            let start = span.position as usize;
                            self.buffers[&id][start..start + span.len as usize].to_vec()
                        }
                    };
                    self.out.take(session, channel, &bytes, records);
                    self.shard.on_sent(hold);
                }
            }
        }
        count
    }

    /// What the session was told since the last time.
    pub fn got(&mut self, session: SessionId) -> Vec<Got> {
        self.out.inbox.remove(&session).unwrap_or_default()
    }

    /// The records among it, as (sequence, body).
    pub fn records(&mut self, session: SessionId) -> Vec<(u64, String)> {
        self.got(session)
            .into_iter()
            .filter_map(as_record)
            .collect()
    }

    pub fn sequences(&mut self, session: SessionId) -> Vec<u64> {
        self.records(session)
            .into_iter()
            .map(|(sequence, _)| sequence)
            .collect()
    }

    pub fn acks(&mut self, session: SessionId) -> Vec<Got> {
        let mut got = self.got(session);
        got.retain(|got| matches!(got, Got::Acked { .. } | Got::Refused { .. }));
        got
    }

    /// Deliveries that are handed over and not on their way yet.
    pub fn in_flight(&self, session: SessionId) -> usize {
        let pending = self.out.pending.get(&session);
        pending.map_or(0, |pending| {
            pending
                .iter()
                .filter(|one| !matches!(one, Pending::Told(_)))
                .count()
        })
    }
}

pub fn as_record(got: Got) -> Option<(u64, String)> {
    match got {
        Got::Record { sequence, body, .. } => {
            Some((sequence, String::from_utf8_lossy(&body).into_owned()))
        }
        _ => None,
    }
}
