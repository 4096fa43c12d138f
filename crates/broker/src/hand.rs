//! The hand that gives: everything that is touched to hand a run, stretches of it, definitions or a gap to one member.

use trunkline_log::{Log, LogId};
use trunkline_wire::record;
use trunkline_wire::{Body, FrameFlags, FrameHeader, Gap, GapReason, Kind, Opcode, Stamp};

use crate::Now;
use crate::channel::Channel;
use crate::delivery::{Deliveries, Delivery, Keeps, hold_id};
use crate::feed::{Feed, Filter};
use crate::out::{HoldId, Out, Source, Span};
use crate::session::Session;
use crate::slab::{Key, Slab};
use crate::stream::Stream;
use crate::stretch::{Found, Stretch};

/// Everything that is touched to hand something to one member.
pub(crate) struct Hand<'a, O> {
    key: Key,
    stream: Key,
    pub(crate) channel: &'a mut Channel,
    session: &'a mut Session,
    deliveries: &'a mut Deliveries,
    now: Now,
    out: &'a mut O,
}

impl<'a, O: Out> Hand<'a, O> {
    pub(crate) fn new(
        key: Key,
        stream: Key,
        channels: &'a mut Slab<Channel>,
        sessions: &'a mut Slab<Session>,
        deliveries: &'a mut Deliveries,
        now: Now,
        out: &'a mut O,
    ) -> Option<Self> {
        let channel = channels.at_mut(key)?;
        let session = sessions.at_mut(channel.session)?;
        Some(Self {
            key,
            stream,
            channel,
            session,
            deliveries,
            now,
            out,
        })
    }

    /// Tells the owner what the files of the stream do not hold.
    pub(crate) fn damaged(&mut self, log: LogId, first: u64, last: u64) {
        self.out.damaged(log, first, last);
    }

    pub(crate) fn gap(&mut self, first: u64, last: u64, reason: GapReason) {
        if last < first {
            return;
        }
        let mut body = [0; 32];
        let gap = Gap {
            first,
            last,
            reason,
        };
        if let Ok(len) = gap.encode(&mut body) {
            let header = FrameHeader {
                opcode: Opcode::Gap,
                flags: FrameFlags::empty(),
                sequence: self.channel.number,
                length: len as u32,
            };
            self.out.frame(self.channel.id, header, &body[..len]);
        }
    }

    /// Tells the client subjects that it does not know yet and may need. False: there may be more of them.
    #[inline]
    pub(crate) fn definitions(
        &mut self,
        feed: &mut Feed,
        stream: &Stream,
        scratch: &mut Vec<u8>,
    ) -> bool {
        if self.channel.definitions >= stream.journal.len() {
            return true;
        }
        self.define(feed, stream, scratch)
    }

    #[cold]
    fn define(&mut self, feed: &mut Feed, stream: &Stream, scratch: &mut Vec<u8>) -> bool {
        if let Filter::Some(matches) = &mut feed.filter
            && !matches.look(
                &feed.pattern,
                &stream.journal,
                &stream.log,
                SUBJECTS_A_VISIT,
            )
        {
            return false;
        }
        scratch.clear();
        let upto = stream
            .journal
            .len()
            .min(self.channel.definitions + SUBJECTS_A_VISIT);
        while self.channel.definitions < upto && scratch.len() < DEFINITION_BYTES {
            let id = stream.journal[self.channel.definitions];
            self.channel.definitions += 1;
            let wanted = match &feed.filter {
                Filter::Whole => true,
                Filter::Some(matches) => matches.has(id),
            };
            let Some(name) = stream.log.subject(id).filter(|_| wanted) else {
                continue;
            };
            let start = scratch.len();
            scratch.resize(start + record::body_record_bytes(name.len()), 0);
            let stamp = Stamp {
                kind: Kind::Definition,
                subject_id: id,
                ..Stamp::DATA
            };
            if record::encode(&mut scratch[start..], &stamp, name.as_bytes()).is_err() {
                scratch.truncate(start);
            }
        }
        if !scratch.is_empty() {
            self.copied(scratch, 0, 1, 0);
        }
        self.channel.definitions >= stream.journal.len()
    }

    /// Hands over a whole run.
    #[inline]
    pub(crate) fn whole(&mut self, run: &Found, log: &mut Log) {
        if run.records == 0 {
            return;
        }
        let last = run.first + u64::from(run.records) - 1;
        let keeps = match run.source {
            Source::Tail(_) => Keeps::Tail {
                position: run.start,
                hold: log.hold(run.start, run.len),
                reclaimed: false,
            },
            Source::Buffer(buffer) => Keeps::Buffer(buffer),
        };
        let span = Span {
            source: run.source,
            position: run.start,
            len: run.len,
        };
        self.span(span, run.records, run.first, last, keeps);
        self.track(run.first, last);
    }

    /// Hands over the stretches that match; `bytes` are the run's unless it lies in the tail.
    pub(crate) fn stretches(
        &mut self,
        run: &Found,
        bytes: Option<&[u8]>,
        log: &mut Log,
        stretches: &mut Vec<Stretch>,
        scratch: &mut Vec<u8>,
    ) {
        scratch.clear();
        let (mut records, mut first, mut last) = (0, 1, 0);
        for stretch in stretches.drain(..) {
            let stretch_last = stretch.first + u64::from(stretch.records) - 1;
            self.track(stretch.first, stretch_last);
            let long = stretch.len >= COPY_BELOW;
            if !scratch.is_empty() && (long || scratch.len() + stretch.len as usize > COPY_BYTES) {
                self.copied(scratch, records, first, last);
                scratch.clear();
                records = 0;
            }
            let start = run.start + u64::from(stretch.offset);
            if long {
                let keeps = match run.source {
                    Source::Tail(_) => Keeps::Tail {
                        position: start,
                        hold: log.hold(start, stretch.len),
                        reclaimed: false,
                    },
                    Source::Buffer(buffer) => Keeps::Buffer(buffer),
                };
                let span = Span {
                    source: run.source,
                    position: start,
                    len: stretch.len,
                };
                self.span(span, stretch.records, stretch.first, stretch_last, keeps);
                continue;
            }
            scratch.extend_from_slice(match bytes {
                Some(bytes) => {
                    &bytes[stretch.offset as usize..(stretch.offset + stretch.len) as usize]
                }
                None => log.bytes(start, stretch.len),
            });
            if records == 0 {
                first = stretch.first;
            }
            records += stretch.records;
            last = stretch_last;
        }
        if !scratch.is_empty() {
            self.copied(scratch, records, first, last);
        }
    }

    fn span(&mut self, span: Span, records: u32, first: u64, last: u64, keeps: Keeps) {
        if let Some(hold) = self.begin(span.len, first, last, keeps) {
            self.out
                .deliver(self.channel.id, self.channel.number, span, records, hold);
        }
    }

    fn copied(&mut self, body: &[u8], records: u32, first: u64, last: u64) {
        if let Some(hold) = self.begin(body.len() as u32, first, last, Keeps::Nothing) {
            self.out
                .deliver_copied(self.channel.id, self.channel.number, body, records, hold);
        }
    }

    fn begin(&mut self, bytes: u32, first: u64, last: u64, keeps: Keeps) -> Option<HoldId> {
        self.channel.credit -= i64::from(bytes);
        self.session.in_flight_bytes += u64::from(bytes);
        let delivery = Delivery {
            session: self.channel.session,
            id: self.channel.id,
            channel: self.key,
            stream: self.stream,
            bytes,
            first,
            last,
            at_ns: self.now.mono_ns,
            keeps,
        };
        let key = self.deliveries.insert(delivery);
        debug_assert!(
            key.is_ok(),
            "room for what a visit can hand over was checked before it"
        );
        key.ok().map(hold_id)
    }

    #[inline]
    fn track(&mut self, first: u64, last: u64) {
        if self.channel.tracks {
            self.channel.unconfirmed.insert(first, last);
        }
    }
}

/// Stretches of matching records that are shorter are copied together.
pub(crate) const COPY_BELOW: u32 = 2048;
/// Bytes of a frame that is copied together.
const COPY_BYTES: usize = 64 << 10;
/// Bytes of definitions handed over in one visit.
const DEFINITION_BYTES: usize = 16 << 10;
/// Subjects looked at in one visit.
const SUBJECTS_A_VISIT: usize = 4096;
