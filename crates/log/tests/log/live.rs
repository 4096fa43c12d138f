//! Files that are looked at while they are written, rotated and removed.

use std::io;
use std::ops::ControlFlow;

use trunkline_log::testing::Rng;
use trunkline_log::{
    Beginning, Extracted, Files, LogConfig, Retention, SegmentFile, extract, verify,
};

use crate::world::{SECOND, World, small};

/// The files of a log that goes on between any two pages that are read of them.
struct Live {
    world: World,
    rng: Rng,
    /// Steps between two pages, at most.
    pace: u64,
}

impl Live {
    fn new(seed: u64, pace: u64) -> Self {
        let retention = Retention {
            bytes_max: Some(4 * (64 << 10)),
            ..Retention::default()
        };
        let config = LogConfig {
            retention,
            sync_interval_ns: SECOND / 100,
            ..small()
        };
        let mut live = Self {
            world: World::new(config, seed),
            rng: Rng(seed),
            pace,
        };
        for _ in 0..seed % 3000 {
            live.step();
        }
        live
    }

    fn go_on(&mut self) {
        for _ in 0..self.rng.below(self.pace + 1) {
            self.step();
        }
    }

    fn step(&mut self) {
        match self.rng.below(8) {
            0 => self.world.advance(SECOND / 100),
            1..4 => self.world.flush(),
            4..6 if !self.world.queue.requests.is_empty() => self.world.complete(0),
            _ => {
                let len = self.rng.below(4000) as usize;
                self.world.append_waiting("a", len);
            }
        }
    }
}

impl Files for Live {
    fn list(&mut self) -> io::Result<Vec<SegmentFile>> {
        // A directory is not read at one moment.
        let mut listed = self.world.files.list()?;
        listed.retain(|file| file.index % 2 == 0);
        self.go_on();
        let later = self.world.files.list()?;
        listed.extend(later.into_iter().filter(|file| file.index % 2 == 1));
        self.go_on();
        Ok(listed)
    }

    fn read_at(&mut self, segment: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut offset = offset;
        for page in out.chunks_mut(4096) {
            self.world.files.read_at(segment, offset, page)?;
            offset += page.len() as u64;
            self.go_on();
        }
        Ok(())
    }

    fn create(&mut self, _segment: u64, _bytes: u64) -> io::Result<()> {
        unreachable!("nothing is changed")
    }

    fn write_at(&mut self, _segment: u64, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
        unreachable!("nothing is changed")
    }

    fn sync(&mut self, _segment: u64) -> io::Result<()> {
        unreachable!("nothing is changed")
    }

    fn remove(&mut self, _segment: u64) -> io::Result<()> {
        unreachable!("nothing is changed")
    }
}

/// From somebody who hardly moves to one that goes round the whole retention while one segment is read.
const PACES: [u64; 4] = [1, 4, 20, 100];

#[test]
fn a_log_that_is_written_meanwhile_is_never_taken_for_damaged() {
    let mut records = 0;
    for pace in PACES {
        for seed in 0..60 {
            let mut live = Live::new(seed * 127, pace);
            let verified = verify(&mut live, |_, _| {})
                .unwrap_or_else(|error| panic!("pace {pace}, seed {seed}: {error}"));
            assert_eq!(
                verified.damages,
                [],
                "pace {pace}, seed {seed}: {:?}",
                live.world.files.segments()
            );
            let in_segments = verified.segments.iter().map(|segment| segment.records);
            records += in_segments.sum::<u64>();
        }
    }
    assert!(records > 8_000, "{records}");
}

#[test]
fn what_is_extracted_meanwhile_has_no_gap_but_what_retention_took() {
    let mut records = 0;
    for pace in PACES {
        for seed in 0..60 {
            let mut live = Live::new(seed * 127, pace);
            let mut last = 0;
            extract(
                &mut live,
                Beginning::default(),
                |_, _| {},
                |extracted| {
                    match extracted {
                        Extracted::Record { record, subject } => {
                            assert!(record.sequence() > last, "pace {pace}, seed {seed}");
                            assert_eq!(subject, "a");
                            last = record.sequence();
                            records += 1;
                        }
                        Extracted::Lost(damage) => panic!("pace {pace}, seed {seed}: {damage}"),
                    }
                    ControlFlow::Continue(())
                },
            )
            .unwrap_or_else(|error| panic!("pace {pace}, seed {seed}: {error}"));
        }
    }
    assert!(records > 8_000, "{records}");
}
