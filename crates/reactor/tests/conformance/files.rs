//! Files: writes in every mode, syncs, reads into the pool, descriptors that are polled.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use trunkline_reactor::{CancelTarget, CompletionFlags, FileId, Op, Reactor, Slice, WriteMode};

use crate::bed::{Bed, on_every_backend};

on_every_backend! {
    writes_reach_the_file_in_every_mode,
    reads_bring_the_bytes_and_the_end,
    reads_wait_for_buffers_of_their_pool,
    a_read_larger_than_a_buffer_is_refused,
    syncing_works_and_errors_are_reported,
    a_removed_file_is_dead_but_ends_its_operations,
    many_synced_writes_at_once_all_complete,
    polls_a_descriptor_once_or_until_cancelled,
}

fn scratch(bed: &mut Bed) -> (FileId, File) {
    let file = tempfile::tempfile().unwrap();
    (bed.reactor.add_file(file.try_clone().unwrap()), file)
}

fn read_back(file: &File, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut bytes, offset).unwrap();
    bytes
}

fn writes_reach_the_file_in_every_mode(mut bed: Bed) {
    let (file, reader) = scratch(&mut bed);
    let (region, pattern) = bed.region(65536);
    for (number, mode) in [WriteMode::Inline, WriteMode::Async, WriteMode::AsyncSync]
        .into_iter()
        .enumerate()
    {
        let place = number * 10_000;
        let slice = Slice {
            region,
            offset: place as u64,
            len: 10_000,
        };
        bed.stage(
            Op::Write {
                file,
                slice,
                offset: place as u64,
                mode,
            },
            1,
        );
        assert_eq!(bed.next_of(1).result, 10_000);
        assert_eq!(
            read_back(&reader, place as u64, 10_000),
            pattern[place..][..10_000]
        );
    }
    let slice = Slice {
        region,
        offset: 65536,
        len: 1,
    };
    bed.stage(
        Op::Write {
            file,
            slice,
            offset: 0,
            mode: WriteMode::Inline,
        },
        2,
    );
    assert_eq!(bed.next_of(2).result, -Errno::FAULT.raw_os_error());
}

fn reads_bring_the_bytes_and_the_end(mut bed: Bed) {
    let (file, _) = scratch(&mut bed);
    let (region, pattern) = bed.region(10_000);
    let slice = Slice {
        region,
        offset: 0,
        len: 10_000,
    };
    bed.stage(
        Op::Write {
            file,
            slice,
            offset: 0,
            mode: WriteMode::Inline,
        },
        1,
    );
    assert_eq!(bed.next_of(1).result, 10_000);
    let mut read = Vec::new();
    loop {
        bed.stage(
            Op::Read {
                file,
                offset: read.len() as u64,
                len: 4096,
            },
            2,
        );
        let completion = bed.next_of(2);
        let bytes = bed.take_bytes(completion);
        if bytes.is_empty() {
            break;
        }
        read.extend(bytes);
    }
    assert_eq!(read, pattern);
}

fn reads_wait_for_buffers_of_their_pool(mut bed: Bed) {
    let (file, _) = scratch(&mut bed);
    let (region, pattern) = bed.region(8192);
    let slice = Slice {
        region,
        offset: 0,
        len: 8192,
    };
    bed.stage(
        Op::Write {
            file,
            slice,
            offset: 0,
            mode: WriteMode::Inline,
        },
        100,
    );
    assert_eq!(bed.next_of(100).result, 8192);
    for number in 0..8 {
        bed.stage(
            Op::Read {
                file,
                offset: number * 1024,
                len: 1024,
            },
            number,
        );
    }
    // Two buffers in the pool: two reads at a time.
    let mut waiting: Vec<u64> = (0..8).collect();
    while !waiting.is_empty() {
        let completions: Vec<_> = (0..2).map(|_| bed.next()).collect();
        bed.expect_quiet();
        for completion in completions {
            let number = completion.user_data;
            waiting.retain(|waits| *waits != number);
            assert_eq!(
                bed.take_bytes(completion),
                pattern[number as usize * 1024..][..1024]
            );
        }
    }
}

fn a_read_larger_than_a_buffer_is_refused(mut bed: Bed) {
    let (file, _) = scratch(&mut bed);
    bed.stage(
        Op::Read {
            file,
            offset: 0,
            len: 8193,
        },
        1,
    );
    assert_eq!(bed.next_of(1).result, -Errno::INVAL.raw_os_error());
}

fn syncing_works_and_errors_are_reported(mut bed: Bed) {
    let (file, _) = scratch(&mut bed);
    for data_only in [true, false] {
        bed.stage(Op::Sync { file, data_only }, 1);
        assert_eq!(bed.next_of(1).result, 0);
    }
    let read_only = bed.reactor.add_file(File::open("/dev/null").unwrap());
    let (region, _) = bed.region(16);
    let slice = Slice {
        region,
        offset: 0,
        len: 16,
    };
    for mode in [WriteMode::Inline, WriteMode::Async, WriteMode::AsyncSync] {
        bed.stage(
            Op::Write {
                file: read_only,
                slice,
                offset: 0,
                mode,
            },
            2,
        );
        assert_eq!(bed.next_of(2).result, -Errno::BADF.raw_os_error());
    }
    let full = bed
        .reactor
        .add_file(File::options().write(true).open("/dev/full").unwrap());
    bed.stage(
        Op::Write {
            file: full,
            slice,
            offset: 0,
            mode: WriteMode::Async,
        },
        3,
    );
    assert_eq!(bed.next_of(3).result, -Errno::NOSPC.raw_os_error());
}

fn a_removed_file_is_dead_but_ends_its_operations(mut bed: Bed) {
    let (file, reader) = scratch(&mut bed);
    let (region, pattern) = bed.region(4096);
    let slice = Slice {
        region,
        offset: 0,
        len: 4096,
    };
    bed.stage(
        Op::Write {
            file,
            slice,
            offset: 0,
            mode: WriteMode::AsyncSync,
        },
        1,
    );
    bed.reactor.remove_file(file);
    assert_eq!(bed.next_of(1).result, 4096);
    assert_eq!(read_back(&reader, 0, 4096), pattern);
    bed.stage(
        Op::Sync {
            file,
            data_only: true,
        },
        2,
    );
    assert_eq!(bed.next_of(2).result, -Errno::BADF.raw_os_error());
}

fn many_synced_writes_at_once_all_complete(mut bed: Bed) {
    let (file, reader) = scratch(&mut bed);
    let (region, pattern) = bed.region(65536);
    for number in 0..64u64 {
        let slice = Slice {
            region,
            offset: number * 1024,
            len: 1024,
        };
        bed.stage(
            Op::Write {
                file,
                slice,
                offset: number * 1024,
                mode: WriteMode::AsyncSync,
            },
            number,
        );
    }
    for number in 0..64 {
        assert_eq!(bed.next_of(number).result, 1024);
    }
    assert_eq!(read_back(&reader, 0, 65536), pattern);
}

fn polls_a_descriptor_once_or_until_cancelled(mut bed: Bed) {
    let event: OwnedFd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
    let file = bed.reactor.add_file(File::from(event.try_clone().unwrap()));
    bed.stage(Op::Poll { file, multi: false }, 1);
    bed.expect_quiet();
    rustix::io::write(&event, &1u64.to_ne_bytes()).unwrap();
    let once = bed.next_of(1);
    assert!(once.result == 1 && once.is_final());
    rustix::io::read(&event, &mut [0; 8]).unwrap();
    bed.stage(Op::Poll { file, multi: true }, 2);
    bed.expect_quiet();
    for _ in 0..3 {
        rustix::io::write(&event, &1u64.to_ne_bytes()).unwrap();
        let edge = bed.next_of(2);
        assert!(edge.result == 1 && edge.flags.contains(CompletionFlags::MORE));
    }
    bed.reactor.cancel(CancelTarget::UserData(2));
    assert_eq!(bed.next_of(2).result, -Errno::CANCELED.raw_os_error());
    bed.reactor.remove_file(file);
}
