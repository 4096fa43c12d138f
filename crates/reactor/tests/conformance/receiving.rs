//! Receives: order, end of stream, resets, pausing, empty pools, fairness.

use std::io::{Read, Write};
use std::net::Shutdown;

use rustix::io::Errno;
use trunkline_reactor::{CompletionFlags, Op, Reactor, Wait};

use crate::bed::{Bed, on_every_backend};

on_every_backend! {
    bytes_arrive_in_order_and_the_stream_ends_with_zero,
    data_and_end_of_stream_that_arrive_together_are_both_seen,
    a_reset_by_the_peer_is_the_last_completion,
    a_peer_that_closed_its_half_can_still_be_sent_to,
    a_paused_socket_receives_nothing_until_resumed,
    pausing_and_resuming_at_any_time_loses_nothing,
    an_empty_pool_holds_bytes_back_and_loses_none,
    one_busy_connection_does_not_starve_the_others,
    hundreds_of_connections_share_a_small_pool,
    a_buffer_is_recycled_once,
}

fn bytes_arrive_in_order_and_the_stream_ends_with_zero(mut bed: Bed) {
    let (socket, mut peer) = bed.pair();
    bed.stage(Op::RecvMulti { socket }, 1);
    let sent: Vec<u8> = (0..300_000u32).map(|place| (place % 251) as u8).collect();
    let to_send = sent.clone();
    let writer = std::thread::spawn(move || {
        for chunk in to_send.chunks(1777) {
            peer.write_all(chunk).unwrap();
        }
    });
    let mut received = Vec::new();
    loop {
        let completion = bed.next_of(1);
        if completion.result == 0 {
            assert!(completion.is_final());
            assert_eq!(completion.buffer(), None);
            break;
        }
        assert!(completion.flags.contains(CompletionFlags::MORE));
        received.extend(bed.take_bytes(completion));
    }
    writer.join().unwrap();
    assert_eq!(received, sent);
    assert_eq!(bed.reactor.in_flight(), 0);
}

fn data_and_end_of_stream_that_arrive_together_are_both_seen(mut bed: Bed) {
    for _ in 0..20 {
        let (socket, mut peer) = bed.pair();
        peer.write_all(b"last words").unwrap();
        drop(peer);
        bed.stage(Op::RecvMulti { socket }, 1);
        let words = bed.next_of(1);
        assert_eq!(bed.take_bytes(words), b"last words");
        assert_eq!(bed.next_of(1).result, 0);
        bed.stage(Op::Close { socket }, 2);
        assert_eq!(bed.next_of(2).result, 0);
    }
}

fn a_reset_by_the_peer_is_the_last_completion(mut bed: Bed) {
    let (socket, mut peer) = bed.pair();
    let (region, _) = bed.region(4096);
    bed.stage(Op::RecvMulti { socket }, 1);
    let slice = trunkline_reactor::Slice {
        region,
        offset: 0,
        len: 4096,
    };
    bed.stage(
        Op::Send {
            socket,
            slices: &[slice],
            zero_copy: false,
        },
        2,
    );
    assert_eq!(bed.next_of(2).result, 4096);
    // Closing with unread bytes makes the system send a reset.
    peer.read_exact(&mut [0; 1]).unwrap();
    drop(peer);
    let ended = bed.next_of(1);
    assert_eq!(ended.result, -Errno::CONNRESET.raw_os_error());
    assert!(ended.is_final());
    bed.stage(
        Op::Send {
            socket,
            slices: &[slice],
            zero_copy: false,
        },
        3,
    );
    assert_eq!(bed.next_of(3).result, -Errno::PIPE.raw_os_error());
}

fn a_peer_that_closed_its_half_can_still_be_sent_to(mut bed: Bed) {
    let (socket, mut peer) = bed.pair();
    let (region, pattern) = bed.region(1000);
    bed.stage(Op::RecvMulti { socket }, 1);
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(bed.next_of(1).result, 0);
    let slice = trunkline_reactor::Slice {
        region,
        offset: 0,
        len: 1000,
    };
    bed.stage(
        Op::Send {
            socket,
            slices: &[slice],
            zero_copy: false,
        },
        2,
    );
    assert_eq!(bed.next_of(2).result, 1000);
    let mut got = vec![0; 1000];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(got, pattern);
}

fn a_paused_socket_receives_nothing_until_resumed(mut bed: Bed) {
    let (socket, mut peer) = bed.pair();
    bed.stage(Op::RecvMulti { socket }, 1);
    bed.expect_quiet();
    bed.reactor.pause(socket);
    bed.expect_quiet();
    peer.write_all(b"held").unwrap();
    bed.expect_quiet();
    bed.reactor.resume(socket);
    let received = bed.next_of(1);
    assert_eq!(bed.take_bytes(received), b"held");
    drop(peer);
    assert_eq!(bed.next_of(1).result, 0);
}

fn pausing_and_resuming_at_any_time_loses_nothing(mut bed: Bed) {
    let (socket, mut peer) = bed.pair();
    bed.stage(Op::RecvMulti { socket }, 1);
    let sent: Vec<u8> = (0..200_000u32).map(|place| (place % 241) as u8).collect();
    let to_send = sent.clone();
    let writer = std::thread::spawn(move || {
        to_send
            .chunks(991)
            .for_each(|chunk| peer.write_all(chunk).unwrap())
    });
    let (mut received, mut step, mut ended) = (Vec::new(), 0u32, None);
    while received.len() < sent.len() {
        // A fixed walk through pause, turn and resume in all their orders.
        step = step.wrapping_mul(1_103_515_245).wrapping_add(12345);
        match step >> 30 {
            0 => bed.reactor.pause(socket),
            1 => bed.turn(Wait::Poll),
            _ => bed.reactor.resume(socket),
        }
        bed.turn(Wait::Poll);
        while let Some(completion) = bed.try_next_of(1) {
            if completion.is_final() {
                ended = Some(completion.result);
                break;
            }
            received.extend(bed.take_bytes(completion));
        }
    }
    bed.reactor.resume(socket);
    assert_eq!(ended.unwrap_or_else(|| bed.next_of(1).result), 0);
    writer.join().unwrap();
    assert_eq!(received, sent);
}

fn an_empty_pool_holds_bytes_back_and_loses_none(mut bed: Bed) {
    let (socket, mut peer) = bed.pair();
    let (idle, mut idle_peer) = bed.pair();
    bed.stage(Op::RecvMulti { socket }, 1);
    bed.stage(Op::RecvMulti { socket: idle }, 2);
    let sent: Vec<u8> = (0..100_000u32).map(|place| (place % 239) as u8).collect();
    let to_send = sent.clone();
    let writer = std::thread::spawn(move || peer.write_all(&to_send).unwrap());
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(bed.next_of(1));
    }
    // All eight buffers are here: nobody receives, and that is no error.
    idle_peer.write_all(b"me too").unwrap();
    bed.expect_quiet();
    let mut received = Vec::new();
    let mut others = Vec::new();
    for completion in held {
        received.extend(bed.take_bytes(completion));
    }
    while received.len() < sent.len() || others.len() < 6 {
        let completion = bed.next();
        match completion.user_data {
            1 if completion.result == 0 => {}
            1 => received.extend(bed.take_bytes(completion)),
            _ => others.extend(bed.take_bytes(completion)),
        }
    }
    writer.join().unwrap();
    assert_eq!(received, sent);
    assert_eq!(others, b"me too");
}

fn one_busy_connection_does_not_starve_the_others(mut bed: Bed) {
    let (busy, mut busy_peer) = bed.pair();
    let (quiet, mut quiet_peer) = bed.pair();
    bed.stage(Op::RecvMulti { socket: busy }, 1);
    bed.stage(Op::RecvMulti { socket: quiet }, 2);
    let writer = std::thread::spawn(move || {
        let chunk = [7; 65536];
        while busy_peer.write_all(&chunk).is_ok() {}
    });
    for round in 0..20 {
        quiet_peer.write_all(&[round]).unwrap();
        let mut taken = 0;
        loop {
            let completion = bed.next();
            let bytes = bed.take_bytes(completion);
            if completion.user_data == 2 {
                assert_eq!(bytes, [round]);
                break;
            }
            taken += 1;
            assert!(taken < 20_000, "the quiet connection never had its turn");
        }
    }
    bed.stage(Op::Close { socket: busy }, 3);
    while bed.next().user_data != 3 {}
    writer.join().unwrap();
}

fn hundreds_of_connections_share_a_small_pool(mut bed: Bed) {
    let mut pairs: Vec<_> = (0..200).map(|_| bed.pair()).collect();
    for (number, (socket, _)) in pairs.iter().enumerate() {
        bed.stage(Op::RecvMulti { socket: *socket }, number as u64);
    }
    for round in 0..5u8 {
        for (number, (_, peer)) in pairs.iter_mut().enumerate() {
            peer.write_all(&[number as u8 ^ round; 33]).unwrap();
        }
        let mut left = vec![33usize; pairs.len()];
        while left.iter().any(|left| *left > 0) {
            let completion = bed.next();
            let number = completion.user_data as usize;
            let bytes = bed.take_bytes(completion);
            assert!(bytes.iter().all(|byte| *byte == number as u8 ^ round));
            left[number] -= bytes.len();
        }
    }
}

fn a_buffer_is_recycled_once(mut bed: Bed) {
    let (socket, mut peer) = bed.pair();
    bed.stage(Op::RecvMulti { socket }, 1);
    peer.write_all(b"a").unwrap();
    let id = bed.next_of(1).buffer().unwrap();
    bed.reactor.recycle(id);
    bed.reactor.recycle(id);
    let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        bed.reactor.buffer(id).len()
    }));
    assert!(looked.is_err(), "a recycled buffer belongs to the kernel");
    // Were it in the pool twice, two receives would share it.
    for round in 0..20u8 {
        peer.write_all(&[round]).unwrap();
        let completion = bed.next_of(1);
        assert_eq!(bed.take_bytes(completion), [round]);
    }
}
