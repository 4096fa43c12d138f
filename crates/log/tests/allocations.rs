//! After warm-up, appending, flushing, completing and reading allocate nothing.

use trunkline_log::{
    AppendError, Cursor, Disk, Durability, FetchedRun, Log, LogConfig, LogId, Now, ReadDone,
    Request, Retention, Run, Token, testing::MemoryFiles,
};
use trunkline_wire::record::{self, RawRecord, Stamp};

/// Files of a fixed number of bytes each, all there before.
struct Plates {
    plates: Vec<Vec<u8>>,
    queue: Vec<(Token, Request)>,
}

impl Disk for Plates {
    fn submit(&mut self, _: LogId, token: Token, request: Request) {
        self.queue.push((token, request));
    }
}

const SEGMENT: usize = 1 << 20;

fn settle(log: &mut Log, disk: &mut Plates, now: Now) {
    log.flush(now, disk);
    while let Some((token, request)) = disk.queue.pop() {
        let answer = match request {
            Request::Write {
                segment,
                offset,
                position,
                len,
                ..
            } => {
                let plate = segment as usize % disk.plates.len();
                let at = offset as usize;
                disk.plates[plate][at..at + len as usize].copy_from_slice(log.bytes(position, len));
                len
            }
            _ => 0,
        };
        log.on_completion(token, Ok(answer), now, disk);
    }
}

fn read(log: &mut Log, disk: &mut Plates, mut cursor: Cursor, buffer: &mut [u8]) -> u64 {
    let upto = log.stored();
    let mut records = 0_u64;
    loop {
        match log.read(&cursor, upto, 64 << 10, disk) {
            Run::Hot {
                position,
                len,
                records: count,
                next,
                ..
            } => {
                let hold = log.hold(position, len);
                records += u64::from(count);
                cursor = next;
                log.release(hold);
            }
            Run::Cold { token } => {
                let Some((
                    _,
                    Request::Read {
                        segment,
                        offset,
                        len,
                    },
                )) = disk.queue.pop()
                else {
                    panic!("a read")
                };
                let plate = &disk.plates[segment as usize % disk.plates.len()];
                buffer[..len as usize].copy_from_slice(&plate[offset as usize..][..len as usize]);
                let ReadDone::Fetched(fetched) = log.on_read(token, Ok(len)) else {
                    panic!("it was read")
                };
                loop {
                    match log.read_fetched(&fetched, buffer, &cursor, upto, 64 << 10) {
                        FetchedRun::Run {
                            records: count,
                            next,
                            ..
                        } => {
                            records += u64::from(count);
                            cursor = next;
                        }
                        FetchedRun::Done { next } => {
                            cursor = next;
                            break;
                        }
                        FetchedRun::Lost { first, last, .. } => panic!("{first}..{last}"),
                    }
                }
            }
            Run::CaughtUp => return records,
            run => panic!("{run:?}"),
        }
    }
}

#[test]
fn the_data_path_allocates_nothing_after_warm_up() {
    for durability in [Durability::Stored, Durability::Synced] {
        let config = LogConfig {
            durability,
            tail_bytes: 1 << 20,
            segment_bytes: SEGMENT as u64,
            record_bytes_max: 16 << 10,
            retention: Retention {
                bytes_max: Some(8 * SEGMENT as u64),
                ..Retention::default()
            },
            ..LogConfig::default()
        };
        let (mut log, _) =
            Log::open(LogId(0), &config, &mut MemoryFiles::default()).expect("it opens");
        let mut disk = Plates {
            plates: vec![vec![0; SEGMENT]; 12],
            queue: Vec::with_capacity(64),
        };
        let mut buffer = vec![0; 1 << 20];
        let mut bytes = [0; 128];
        let len = record::encode(&mut bytes, &Stamp::DATA, &[7; 80]).expect("room");
        let raw = RawRecord::peek(&bytes[..len], 1 << 20)
            .expect("framed")
            .expect("whole");
        let ids: Vec<u32> = (0..50)
            .map(|n| log.define(&format!("subject.{n}")).expect("room"))
            .collect();
        let mut now = Now {
            mono_ns: 1,
            wall_ns: 1,
        };
        let mut turn = |log: &mut Log, disk: &mut Plates, records: u64| {
            for n in 0..records {
                now.mono_ns += 1000;
                now.wall_ns += 1000;
                while log.append(&raw, ids[n as usize % ids.len()], now.wall_ns)
                    == Err(AppendError::Full)
                {
                    settle(log, disk, now);
                }
                if n % 100 == 0 {
                    log.want_synced(log.received().sequence - 1);
                    settle(log, disk, now);
                }
            }
            settle(log, disk, now);
        };
        turn(&mut log, &mut disk, 150_000);
        let warm = log.stats().segments_sealed;
        let mut records = 0;
        let counted = allocation_counter::measure(|| {
            turn(&mut log, &mut disk, 50_000);
            let cold = log.seek_first();
            records = read(&mut log, &mut disk, cold, &mut buffer);
        });
        assert!(
            log.stats().segments_sealed > warm + 3 && log.stats().segments_removed > 3,
            "{:?}",
            log.stats()
        );
        assert!(
            records > 40_000 && log.stats().reads > 10,
            "{records} records, {:?}",
            log.stats()
        );
        assert_eq!(
            counted.count_total, 0,
            "{durability:?}: 50,000 appends and {records} reads"
        );
    }
}
