//! One synced kilobyte after the other, to a file that is allocated and zero-filled: each way that the reactor has, against the plain calls.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Instant;

use trunkline_reactor::{
    Completion, Config, FileId, Op, Reactor, Readiness, RegionId, Slice, Uring, Wait, WriteMode,
};
use trunkline_ring::Buffer;

#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// `pwrite`, then `fdatasync`, on this thread.
    PlainSync,
    /// `pwritev2` with `RWF_DSYNC` on this thread.
    PlainDsync,
    /// One `Op::Write` with `AsyncSync`.
    OneOp,
    /// `Op::Write` inline, then `Op::Sync`.
    InlineThenSync,
}

#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub way: Way,
    pub uring: bool,
    pub direct: bool,
    pub spin: bool,
}

impl Case {
    pub fn name(self) -> String {
        let by = match self.way {
            Way::PlainSync | Way::PlainDsync => "this thread",
            _ if self.uring => "io_uring",
            _ => "epoll",
        };
        let direct = if self.direct { ", O_DIRECT 4 KiB" } else { "" };
        let spin = if self.spin { ", spin" } else { "" };
        format!("{:?} by {by}{direct}{spin}", self.way)
    }

    /// Commits, one at a time; the time of each in microseconds.
    pub fn run(self, folder: &Path, count: usize) -> Vec<f64> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true);
        let path = folder.join("segment");
        let file = options.open(&path).unwrap();
        file.write_all_at(&vec![0; FILE_BYTES], 0).unwrap();
        file.sync_all().unwrap();
        let file = if self.direct {
            options.custom_flags(libc::O_DIRECT).open(&path).unwrap()
        } else {
            file
        };
        let bytes: u32 = if self.direct { 4096 } else { 1024 };
        match self.way {
            Way::PlainSync | Way::PlainDsync => plain(self.way, &file, bytes, count),
            _ if self.uring => through(
                &mut Uring::new(&Config::default()).unwrap(),
                self,
                file,
                bytes,
                count,
            ),
            _ => through(
                &mut Readiness::new(&Config::default()).unwrap(),
                self,
                file,
                bytes,
                count,
            ),
        }
    }
}

const FILE_BYTES: usize = 4 << 20;

fn plain(way: Way, file: &File, bytes: u32, count: usize) -> Vec<f64> {
    let memory = Buffer::new(65536).unwrap();
    let body = memory.slice(0, bytes as usize);
    timed(count, |number| {
        let offset = number as u64 * u64::from(bytes);
        match way {
            Way::PlainSync => {
                file.write_all_at(body, offset).unwrap();
                file.sync_data().unwrap();
            }
            _ => {
                let vector = libc::iovec {
                    iov_base: body.as_ptr().cast_mut().cast(),
                    iov_len: body.len(),
                };
                // SAFETY: the vector names `body`, which outlives the call.
                let written = unsafe {
                    libc::pwritev2(file.as_raw_fd(), &vector, 1, offset as i64, libc::RWF_DSYNC)
                };
                assert_eq!(written, body.len() as isize);
            }
        }
    })
}

fn through<R: Reactor>(
    reactor: &mut R,
    case: Case,
    file: File,
    bytes: u32,
    count: usize,
) -> Vec<f64> {
    let mut memory = Buffer::new(65536).unwrap();
    memory.slice_mut(0, 65536).fill(7);
    let region = reactor.register_region(memory.pin());
    let file = reactor.add_file(file);
    let wait = if case.spin { Wait::Poll } else { Wait::Forever };
    timed(count, |number| {
        commit(reactor, case.way, file, region, bytes, number, wait)
    })
}

fn commit<R: Reactor>(
    reactor: &mut R,
    way: Way,
    file: FileId,
    region: RegionId,
    bytes: u32,
    number: usize,
    wait: Wait,
) {
    let slice = Slice {
        region,
        offset: 0,
        len: bytes,
    };
    let offset = number as u64 * u64::from(bytes);
    let mode = if matches!(way, Way::OneOp) {
        WriteMode::AsyncSync
    } else {
        WriteMode::Inline
    };
    reactor
        .stage(
            Op::Write {
                file,
                slice,
                offset,
                mode,
            },
            1,
        )
        .unwrap();
    assert_eq!(finished(reactor, wait), bytes as i32);
    if matches!(way, Way::InlineThenSync) {
        reactor
            .stage(
                Op::Sync {
                    file,
                    data_only: true,
                },
                2,
            )
            .unwrap();
        assert_eq!(finished(reactor, wait), 0);
    }
}

fn finished<R: Reactor>(reactor: &mut R, wait: Wait) -> i32 {
    let mut out = [Completion::default(); 4];
    loop {
        reactor.submit_and_wait(1, wait).unwrap();
        if reactor.reap(&mut out) > 0 {
            return out[0].result;
        }
    }
}

fn timed(count: usize, mut step: impl FnMut(usize)) -> Vec<f64> {
    (0..count)
        .map(|number| {
            let start = Instant::now();
            step(number);
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect()
}
