//! Everything that one of our logs has, from its start.

use std::os::unix::fs::FileExt;

use bench_harness::Failure;
use trunkline::storage::StreamDir;
use trunkline_log::{
    Disk, FetchedRun, Log, LogConfig, LogId, ReadDone, Request, Run, SEQUENCE_FIRST, Token,
};
use trunkline_wire::record::{Kind, Records};

use crate::appender::On;

/// Opens the log that was closed, hands over the bodies of its records, and returns how many it has removed before those.
pub fn each(config: &LogConfig, dir: &StreamDir, on: On<'_>) -> Result<u64, Failure> {
    let reopened = Log::open(LogId(0), config, &mut dir.clone());
    let (mut log, _) = reopened.map_err(|error| error.to_string())?;
    let mut disk = Asked(None);
    let mut buffer = Vec::new();
    let (first, upto) = (log.first().sequence, log.received());
    let mut walk = Walk { next: first, on };
    let mut cursor = log.seek_first();
    loop {
        match log.read(&cursor, upto, RUN_BYTES, &mut disk) {
            Run::CaughtUp if walk.next == upto.sequence => return Ok(first - SEQUENCE_FIRST),
            Run::Hot {
                position,
                len,
                next,
                ..
            } => {
                walk.take(log.bytes(position, len))?;
                cursor = next;
            }
            Run::Cold { token } => {
                let (_, request) = disk.0.take().ok_or("a read was not asked for")?;
                let Request::Read {
                    segment,
                    offset,
                    len,
                } = request
                else {
                    return Err("not a read was asked for".into());
                };
                buffer.resize(len as usize, 0);
                let file = dir.clone().segment(segment);
                file.and_then(|file| file.read_exact_at(&mut buffer, offset))
                    .map_err(|error| error.to_string())?;
                let ReadDone::Fetched(fetched) = log.on_read(token, Ok(len)) else {
                    return Err(format!("the log does not take the read at {cursor:?}"));
                };
                cursor = loop {
                    match log.read_fetched(&fetched, &buffer, &cursor, upto, RUN_BYTES) {
                        FetchedRun::Run {
                            offset, len, next, ..
                        } => {
                            walk.take(&buffer[offset as usize..][..len as usize])?;
                            cursor = next;
                        }
                        FetchedRun::Done { next } => break next,
                        lost @ FetchedRun::Lost { .. } => return Err(format!("{lost:?}")),
                    }
                };
            }
            other => return Err(format!("record {} is not there: {other:?}", walk.next)),
        }
    }
}

/// Records, one sequence after the other.
struct Walk<'a> {
    next: u64,
    on: On<'a>,
}

impl Walk<'_> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        for raw in &mut Records::new(bytes, RUN_BYTES) {
            let record = raw.map_err(|error| error.to_string())?;
            let record = record.verify().map_err(|error| error.to_string())?;
            if record.kind() != Kind::Data {
                continue;
            }
            if record.sequence() != self.next {
                return Err(format!(
                    "sequence {} is there where {} was next",
                    record.sequence(),
                    self.next
                ));
            }
            (self.on)(record.body())?;
            self.next += 1;
        }
        Ok(())
    }
}

/// The read that the log has asked for.
struct Asked(Option<(Token, Request)>);

impl Disk for Asked {
    fn submit(&mut self, _: LogId, token: Token, request: Request) {
        self.0 = Some((token, request));
    }
}

const RUN_BYTES: u32 = 1 << 20;
