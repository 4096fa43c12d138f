//! What only `io_uring` can get wrong: queues that overflow or are full, the kernel's submission thread.

mod machine;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use trunkline_reactor::{
    Completion, Config, Full, Op, Reactor, Slice, SocketId, Uring, Wait, WriteMode,
};
use trunkline_ring::Buffer;

use machine::has_io_uring;

fn pair(reactor: &mut Uring) -> (SocketId, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (
        reactor.add_stream(listener.accept().unwrap().0).unwrap(),
        peer,
    )
}

fn small() -> Config {
    let mut config = Config {
        max_sockets: 512,
        receive_buffers: 256,
        receive_buffer_bytes: 256,
        ..Config::default()
    };
    // A completion queue of 32.
    config.uring.entries = 4;
    config
}

/// Stages; makes room when there is none.
fn stage(reactor: &mut Uring, op: Op<'_>, user_data: u64) {
    while reactor.stage(op, user_data) == Err(Full) {
        reactor.submit().unwrap();
    }
}

#[test]
fn an_overflow_of_the_completion_queue_loses_nothing() {
    if !has_io_uring() {
        return;
    }
    let mut reactor = Uring::new(&small()).unwrap();
    let mut pairs: Vec<_> = (0..200).map(|_| pair(&mut reactor)).collect();
    for (number, (socket, _)) in pairs.iter().enumerate() {
        stage(
            &mut reactor,
            Op::RecvMulti { socket: *socket },
            number as u64,
        );
    }
    reactor.submit().unwrap();
    let mut out = [Completion::default(); 16];
    for round in 0..5u8 {
        for (number, (_, peer)) in pairs.iter_mut().enumerate() {
            peer.write_all(&[number as u8 ^ round; 3]).unwrap();
        }
        let mut left = vec![3usize; pairs.len()];
        while left.iter().any(|left| *left > 0) {
            // Several turns without reaping, so that completions pile up beyond the queue.
            for _ in 0..4 {
                reactor.submit_and_wait(64, Wait::Poll).unwrap();
            }
            let count = reactor.reap(&mut out);
            for completion in &out[..count] {
                let number = completion.user_data as usize;
                let id = completion
                    .buffer()
                    .unwrap_or_else(|| panic!("{completion:?}"));
                assert!(
                    reactor
                        .buffer(id)
                        .iter()
                        .all(|byte| *byte == number as u8 ^ round)
                );
                left[number] -= completion.result as usize;
                reactor.recycle(id);
            }
        }
    }
}

#[test]
fn a_full_submission_queue_says_so_and_keeps_the_order() {
    if !has_io_uring() {
        return;
    }
    let mut reactor = Uring::new(&small()).unwrap();
    let file = reactor.add_file(tempfile::tempfile().unwrap());
    let buffer = Buffer::new(4096).unwrap();
    let region = reactor.register_region(buffer.pin());
    let write = |number: u64| Op::Write {
        file,
        slice: Slice {
            region,
            offset: 0,
            len: 8,
        },
        offset: number * 8,
        mode: WriteMode::Async,
    };
    let taken = (0..100)
        .take_while(|number| reactor.stage(write(*number), *number).is_ok())
        .count();
    assert!((1..=4).contains(&taken), "{taken}");
    assert_eq!(reactor.in_flight(), taken);
    assert_eq!(reactor.submit().unwrap(), taken);
    assert_eq!(reactor.stage(write(50), 50), Ok(()));
    let mut out = [Completion::default(); 16];
    let mut done = 0;
    while done < taken + 1 {
        reactor.submit_and_wait(1, Wait::Forever).unwrap();
        done += reactor.reap(&mut out);
    }
}

#[test]
fn a_submission_thread_of_the_kernel_works_too() {
    if !has_io_uring() {
        return;
    }
    let mut config = Config::default();
    config.uring.sqpoll_idle_ms = Some(5);
    let mut reactor = Uring::new(&config).unwrap();
    assert!(reactor.caps().sqpoll);
    let (socket, mut peer) = pair(&mut reactor);
    stage(&mut reactor, Op::RecvMulti { socket }, 1);
    let mut out = [Completion::default(); 8];
    for round in 0..20u8 {
        peer.write_all(&[round; 10]).unwrap();
        let mut sent = 0;
        while sent < 10 {
            reactor.submit_and_wait(1, Wait::Forever).unwrap();
            let count = reactor.reap(&mut out);
            for completion in &out[..count] {
                if let Some(id) = completion.buffer() {
                    let (region, offset) = reactor.buffer_slice(id);
                    let slice = Slice {
                        region,
                        offset,
                        len: completion.result as u32,
                    };
                    let word = 1 << 32 | u64::from(offset as u32);
                    stage(
                        &mut reactor,
                        Op::Send {
                            socket,
                            slices: &[slice],
                            zero_copy: false,
                        },
                        word,
                    );
                } else {
                    sent += completion.result;
                }
            }
        }
        let mut back = [0; 10];
        peer.read_exact(&mut back).unwrap();
        assert_eq!(back, [round; 10]);
    }
}
