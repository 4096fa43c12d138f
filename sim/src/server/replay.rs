//! Reads a log from one end to the other, synchronously: after recovery, and at the end of a run.

use trunkline_log::{
    Cursor, Disk, FetchedRun, Log, LogId, Loss, Mark, ReadDone, Request, Run, Token,
};
use trunkline_wire::record::Records;
use trunkline_wire::{Kind, Record};

/// What a replay came upon, in order.
pub(crate) enum Found<'a> {
    /// A data record and the name of its subject.
    Record(Record<'a>, Option<&'a str>),
    /// Records that will not come.
    Lost(Lost),
}

/// A range that was reported as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    /// The first sequence.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// Why.
    pub why: Loss,
}

/// Takes the one read that is in flight.
#[derive(Default)]
struct OneRead(Option<(Token, Request)>);

impl Disk for OneRead {
    fn submit(&mut self, _: LogId, token: Token, request: Request) {
        self.0 = Some((token, request));
    }
}

/// Hands over everything from `cursor` up to `upto`. `read` gives the bytes of a segment from an offset on, as many as there are.
///
/// # Errors
/// What is wrong with the bytes that came.
pub(crate) fn replay(
    log: &mut Log,
    mut read: impl FnMut(u64, u64, u32) -> Vec<u8>,
    mut cursor: Cursor,
    upto: Mark,
    mut on: impl FnMut(Found<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let mut disk = OneRead::default();
    // More steps than there are bytes mean that it does not get on.
    for _ in 0..upto.position + 1000 {
        match log.read(&cursor, upto, 32 << 10, &mut disk) {
            Run::CaughtUp => return Ok(()),
            Run::Busy => return Err("one read at a time, and the log is busy".into()),
            Run::Lost {
                first,
                last,
                why,
                next,
            } => {
                on(Found::Lost(Lost { first, last, why }))?;
                cursor = next;
            }
            Run::Hot {
                position,
                len,
                next,
                ..
            } => {
                walk(log, log.bytes(position, len), &mut on)?;
                cursor = next;
            }
            Run::Cold { token } => {
                let Some((
                    _,
                    Request::Read {
                        segment,
                        offset,
                        len,
                    },
                )) = disk.0.take()
                else {
                    return Err("a cold run without a read".into());
                };
                let bytes = read(segment, offset, len);
                match log.on_read(token, Ok(bytes.len() as u32)) {
                    ReadDone::Fetched(fetched) => loop {
                        match log.read_fetched(&fetched, &bytes, &cursor, upto, 32 << 10) {
                            FetchedRun::Run {
                                offset, len, next, ..
                            } => {
                                walk(log, &bytes[offset as usize..][..len as usize], &mut on)?;
                                cursor = next;
                            }
                            FetchedRun::Done { next } => {
                                cursor = next;
                                break;
                            }
                            FetchedRun::Lost {
                                first,
                                last,
                                why,
                                next,
                            } => {
                                on(Found::Lost(Lost { first, last, why }))?;
                                cursor = next;
                            }
                        }
                    },
                    ReadDone::Lost {
                        first,
                        last,
                        why,
                        next,
                    } => {
                        on(Found::Lost(Lost { first, last, why }))?;
                        cursor = next;
                    }
                    ReadDone::Again => {}
                    ReadDone::Unknown => return Err("the log does not know its read".into()),
                }
            }
        }
    }
    Err("reading does not get on".into())
}

fn walk(
    log: &Log,
    bytes: &[u8],
    on: &mut impl FnMut(Found<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let mut records = Records::new(bytes, u32::MAX);
    for raw in &mut records {
        let raw = raw.map_err(|error| error.to_string())?;
        let kind = raw.kind();
        let subject = raw.subject_id();
        let record = raw.verify().map_err(|error| error.to_string())?;
        match kind {
            Kind::Data => on(Found::Record(record, log.subject(subject)))?,
            Kind::Definition => {}
            kind => return Err(format!("a {kind:?} record in a run")),
        }
    }
    if records.rest().is_empty() {
        Ok(())
    } else {
        Err("a run ends within a record".into())
    }
}
