//! Sends: vectors, short counts, waiting for room, bounds, zero copy.

use std::io::Read;

use rustix::io::Errno;
use trunkline_reactor::{CancelTarget, CompletionFlags, Op, Reactor, Slice};

use crate::bed::{Bed, on_every_backend};

on_every_backend! {
    sends_slices_in_order,
    a_full_socket_makes_a_send_wait_and_short_counts_add_up,
    a_received_buffer_is_sent_again,
    slices_out_of_bounds_are_refused,
    a_cancelled_send_ends,
    an_unregistered_region_lives_until_its_send_is_done,
    zero_copy_sends_arrive_and_say_when_the_bytes_are_free,
    an_empty_send_completes,
}

fn sends_slices_in_order(mut bed: Bed) {
    let (socket, mut peer) = bed.pair();
    let (region, pattern) = bed.region(65536);
    let places: Vec<(u64, u32)> = (0..64)
        .map(|place| ((63 - place) * 1000, 100 + place as u32))
        .collect();
    let slices: Vec<Slice> = places
        .iter()
        .map(|&(offset, len)| Slice {
            region,
            offset,
            len,
        })
        .collect();
    bed.stage(
        Op::Send {
            socket,
            slices: &slices,
            zero_copy: false,
        },
        1,
    );
    let expected: Vec<u8> = places
        .iter()
        .flat_map(|&(offset, len)| &pattern[offset as usize..][..len as usize])
        .copied()
        .collect();
    assert_eq!(bed.next_of(1).result as usize, expected.len());
    let mut got = vec![0; expected.len()];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(got, expected);
    bed.stage(
        Op::Send {
            socket,
            slices: &[slices[0]; 65],
            zero_copy: false,
        },
        2,
    );
    assert_eq!(bed.next_of(2).result, -Errno::MSGSIZE.raw_os_error());
}

fn a_full_socket_makes_a_send_wait_and_short_counts_add_up(mut bed: Bed) {
    let (socket, mut peer) = bed.pair();
    let (region, pattern) = bed.region(1 << 20);
    let total = 32 << 20;
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        // Late, so that the socket is full by then.
        std::thread::sleep(std::time::Duration::from_millis(20));
        peer.read_to_end(&mut got).unwrap();
        got
    });
    let (mut sent, mut completions) = (0usize, 0);
    while sent < total {
        let offset = sent % (1 << 20);
        let slice = Slice {
            region,
            offset: offset as u64,
            len: ((1 << 20) - offset) as u32,
        };
        bed.stage(
            Op::Send {
                socket,
                slices: &[slice],
                zero_copy: false,
            },
            1,
        );
        let completion = bed.next_of(1);
        assert!(completion.result > 0, "{completion:?}");
        sent += completion.result as usize;
        completions += 1;
    }
    bed.stage(Op::Close { socket }, 2);
    assert_eq!(bed.next_of(2).result, 0);
    let got = reader.join().unwrap();
    assert_eq!(got.len(), total);
    assert!(got.chunks(1 << 20).all(|chunk| chunk == pattern));
    assert!(completions >= 32);
}

fn a_received_buffer_is_sent_again(mut bed: Bed) {
    let (socket, mut peer) = bed.pair();
    bed.stage(Op::RecvMulti { socket }, 1);
    for round in 0..50u8 {
        std::io::Write::write_all(&mut peer, &[round; 500]).unwrap();
        let mut left = 500;
        while left > 0 {
            let received = bed.next_of(1);
            let id = received.buffer().unwrap();
            let slice = bed.slice_of(id, received.result as u32);
            bed.stage(
                Op::Send {
                    socket,
                    slices: &[slice],
                    zero_copy: false,
                },
                2,
            );
            assert_eq!(bed.next_of(2).result, received.result);
            bed.reactor.recycle(id);
            left -= received.result;
        }
        let mut back = [0; 500];
        peer.read_exact(&mut back).unwrap();
        assert_eq!(back, [round; 500]);
    }
}

fn slices_out_of_bounds_are_refused(mut bed: Bed) {
    let (socket, _peer) = bed.pair();
    let (region, _) = bed.region(4096);
    let inside = Slice {
        region,
        offset: 0,
        len: 1,
    };
    let outside = [
        Slice {
            region,
            offset: 4096,
            len: 1,
        },
        Slice {
            region,
            offset: 4095,
            len: 2,
        },
        Slice {
            region,
            offset: u64::MAX,
            len: 2,
        },
        Slice {
            region,
            offset: 0,
            len: u32::MAX,
        },
    ];
    for slice in outside {
        bed.stage(
            Op::Send {
                socket,
                slices: &[inside, slice],
                zero_copy: false,
            },
            1,
        );
        assert_eq!(bed.next_of(1).result, -Errno::FAULT.raw_os_error());
    }
    bed.reactor.unregister_region(region);
    bed.stage(
        Op::Send {
            socket,
            slices: &[inside],
            zero_copy: false,
        },
        2,
    );
    assert_eq!(bed.next_of(2).result, -Errno::FAULT.raw_os_error());
}

fn a_cancelled_send_ends(mut bed: Bed) {
    let (socket, peer) = bed.pair();
    let (region, _) = bed.region(1 << 20);
    let slice = Slice {
        region,
        offset: 0,
        len: 1 << 20,
    };
    // Until one has to wait.
    loop {
        bed.stage(
            Op::Send {
                socket,
                slices: &[slice; 8],
                zero_copy: false,
            },
            1,
        );
        bed.turn(trunkline_reactor::Wait::Poll);
        if bed.try_next_of(1).is_none() {
            break;
        }
    }
    bed.expect_quiet();
    assert_eq!(bed.reactor.cancel(CancelTarget::UserData(1)), 1);
    assert_eq!(bed.next_of(1).result, -Errno::CANCELED.raw_os_error());
    drop(peer);
}

fn an_unregistered_region_lives_until_its_send_is_done(mut bed: Bed) {
    let (socket, mut peer) = bed.pair();
    let (region, pattern) = bed.region(1 << 20);
    let slice = Slice {
        region,
        offset: 0,
        len: 1 << 20,
    };
    bed.stage(
        Op::Send {
            socket,
            slices: &[slice],
            zero_copy: false,
        },
        1,
    );
    // `region`'s only other owner is gone since `Bed::region` returned.
    bed.reactor.unregister_region(region);
    let sent = bed.next_of(1).result as usize;
    let mut got = vec![0; sent];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(got, pattern[..sent]);
}

fn zero_copy_sends_arrive_and_say_when_the_bytes_are_free(mut bed: Bed) {
    let (socket, mut peer) = bed.pair();
    let (region, pattern) = bed.region(65536);
    let slices = [
        Slice {
            region,
            offset: 0,
            len: 10_000,
        },
        Slice {
            region,
            offset: 20_000,
            len: 5_000,
        },
    ];
    for count in 1..=2 {
        let expected: Vec<u8> = if count == 1 {
            pattern[..10_000].to_vec()
        } else {
            [&pattern[..10_000], &pattern[20_000..25_000]].concat()
        };
        bed.stage(
            Op::Send {
                socket,
                slices: &slices[..count],
                zero_copy: true,
            },
            1,
        );
        let sent = bed.next_of(1);
        assert_eq!(sent.result as usize, expected.len());
        let mut got = vec![0; expected.len()];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(got, expected);
        if bed.reactor.caps().zero_copy_send {
            assert!(sent.flags.contains(CompletionFlags::MORE));
            let free = bed.next_of(1);
            assert!(free.flags.contains(CompletionFlags::NOTIF) && free.is_final());
        }
    }
    assert_eq!(bed.reactor.in_flight(), 0);
}

fn an_empty_send_completes(mut bed: Bed) {
    let (socket, _peer) = bed.pair();
    bed.stage(
        Op::Send {
            socket,
            slices: &[],
            zero_copy: false,
        },
        1,
    );
    assert_eq!(bed.next_of(1).result, 0);
}
