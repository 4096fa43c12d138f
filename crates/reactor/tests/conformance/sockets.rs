//! Accept, connect, close, shutdown, cancel, drain, stale ids.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use rustix::io::Errno;
use trunkline_reactor::{CancelTarget, CompletionFlags, Op, Reactor, SocketId};

use crate::bed::{Bed, on_every_backend};

on_every_backend! {
    accepts_many_connections_with_one_operation,
    says_who_is_at_the_other_end_as_long_as_somebody_is,
    connects_and_talks,
    a_refused_connection_says_so,
    closing_ends_what_is_in_flight_and_completes_last,
    a_closed_id_is_dead,
    shutting_down_ends_the_peers_stream,
    cancelling_ends_each_operation_once,
    a_cancelled_accept_leaves_the_listener_usable,
    draining_leaves_nothing_in_flight,
    dropping_a_reactor_in_full_flight_is_sound,
    the_table_of_sockets_is_bounded(trunkline_reactor::Config { max_sockets: 4, ..crate::bed::small() }),
    the_table_of_operations_is_bounded(trunkline_reactor::Config { max_operations: 4, ..crate::bed::small() }),
    a_second_receive_or_send_on_a_socket_is_refused,
}

fn errno(errno: Errno) -> i32 {
    -errno.raw_os_error()
}

fn accepts_many_connections_with_one_operation(mut bed: Bed) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listener = bed.reactor.add_listener(listener).unwrap();
    bed.stage(Op::Accept { listener }, 1);
    let mut ids = Vec::new();
    for _ in 0..3 {
        let peers: Vec<TcpStream> = (0..20)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        for _ in 0..20 {
            let accepted = bed.next_of(1);
            assert!(accepted.flags.contains(CompletionFlags::MORE));
            ids.push(SocketId::from_result(accepted.result).unwrap());
        }
        drop(peers);
    }
    ids.sort_unstable_by_key(|id| id.index());
    ids.dedup();
    assert_eq!(ids.len(), 60);
}

fn says_who_is_at_the_other_end_as_long_as_somebody_is(mut bed: Bed) {
    let (one, first) = bed.pair();
    let (other, second) = bed.pair();
    assert_eq!(bed.reactor.peer(one), first.local_addr().ok());
    assert_eq!(bed.reactor.peer(other), second.local_addr().ok());
    bed.stage(Op::Close { socket: one }, 1);
    bed.next_of(1);
    assert_eq!(bed.reactor.peer(one), None);
    assert_eq!(bed.reactor.peer(other), second.local_addr().ok());
}

fn connects_and_talks(mut bed: Bed) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    bed.stage(
        Op::Connect {
            address: listener.local_addr().unwrap(),
        },
        1,
    );
    let socket = SocketId::from_result(bed.next_of(1).result).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    bed.stage(Op::RecvMulti { socket }, 2);
    peer.write_all(b"hello").unwrap();
    let received = bed.next_of(2);
    assert_eq!(bed.take_bytes(received), b"hello");
}

fn a_refused_connection_says_so(mut bed: Bed) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    bed.stage(Op::Connect { address }, 1);
    assert_eq!(bed.next_of(1).result, errno(Errno::CONNREFUSED));
    assert_eq!(bed.reactor.in_flight(), 0);
}

fn closing_ends_what_is_in_flight_and_completes_last(mut bed: Bed) {
    let (socket, mut peer) = bed.pair();
    bed.stage(Op::RecvMulti { socket }, 1);
    bed.expect_quiet();
    bed.stage(Op::Close { socket }, 2);
    let received = bed.next();
    assert_eq!(
        (received.user_data, received.result),
        (1, errno(Errno::CANCELED))
    );
    assert!(received.is_final());
    let closed = bed.next();
    assert_eq!((closed.user_data, closed.result), (2, 0));
    assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(bed.reactor.in_flight(), 0);
}

fn a_closed_id_is_dead(mut bed: Bed) {
    let (socket, _peer) = bed.pair();
    bed.stage(Op::Close { socket }, 1);
    assert_eq!(bed.next_of(1).result, 0);
    let (other, mut peer) = bed.pair();
    assert_ne!(socket, other);
    bed.stage(Op::RecvMulti { socket }, 2);
    bed.stage(Op::Close { socket }, 3);
    assert_eq!(bed.next_of(2).result, errno(Errno::BADF));
    assert_eq!(bed.next_of(3).result, errno(Errno::BADF));
    bed.stage(Op::RecvMulti { socket: other }, 4);
    peer.write_all(b"still here").unwrap();
    let received = bed.next_of(4);
    assert_eq!(bed.take_bytes(received), b"still here");
}

fn shutting_down_ends_the_peers_stream(mut bed: Bed) {
    let (socket, mut peer) = bed.pair();
    bed.stage(Op::RecvMulti { socket }, 1);
    bed.stage(
        Op::Shutdown {
            socket,
            how: Shutdown::Write,
        },
        2,
    );
    assert_eq!(bed.next_of(2).result, 0);
    assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
    // The other half still works.
    peer.write_all(b"bye").unwrap();
    let received = bed.next_of(1);
    assert_eq!(bed.take_bytes(received), b"bye");
}

fn cancelling_ends_each_operation_once(mut bed: Bed) {
    let (one, _one_peer) = bed.pair();
    let (two, mut two_peer) = bed.pair();
    bed.stage(Op::RecvMulti { socket: one }, 1);
    bed.stage(Op::RecvMulti { socket: two }, 2);
    bed.stage(Op::Timeout { at_ns: u64::MAX }, 3);
    bed.expect_quiet();
    assert_eq!(bed.reactor.cancel(CancelTarget::UserData(1)), 1);
    assert_eq!(bed.reactor.cancel(CancelTarget::UserData(3)), 1);
    assert_eq!(bed.reactor.cancel(CancelTarget::UserData(99)), 0);
    assert_eq!(bed.next_of(1).result, errno(Errno::CANCELED));
    assert_eq!(bed.next_of(3).result, errno(Errno::CANCELED));
    two_peer.write_all(b"x").unwrap();
    let received = bed.next_of(2);
    assert_eq!(bed.take_bytes(received), b"x");
    // A receive that was cancelled can be asked for again.
    bed.stage(Op::RecvMulti { socket: one }, 4);
    assert_eq!(bed.reactor.cancel(CancelTarget::Socket(one)), 1);
    assert_eq!(bed.next_of(4).result, errno(Errno::CANCELED));
    bed.expect_quiet();
    assert_eq!(bed.reactor.in_flight(), 1);
}

fn a_cancelled_accept_leaves_the_listener_usable(mut bed: Bed) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listener = bed.reactor.add_listener(listener).unwrap();
    bed.stage(Op::Accept { listener }, 1);
    bed.expect_quiet();
    bed.reactor.cancel(CancelTarget::UserData(1));
    assert_eq!(bed.next_of(1).result, errno(Errno::CANCELED));
    bed.stage(Op::Accept { listener }, 2);
    let _peer = TcpStream::connect(address).unwrap();
    assert!(bed.next_of(2).result >= 0);
    bed.stage(Op::Close { socket: listener }, 3);
    assert_eq!(bed.next_of(2).result, errno(Errno::CANCELED));
    assert_eq!(bed.next_of(3).result, 0);
    assert!(TcpStream::connect(address).is_err());
}

fn draining_leaves_nothing_in_flight(mut bed: Bed) {
    let peers: Vec<_> = (0..20).map(|_| bed.pair()).collect();
    for (number, (socket, _)) in peers.iter().enumerate() {
        bed.stage(Op::RecvMulti { socket: *socket }, number as u64);
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = bed.reactor.add_listener(listener).unwrap();
    bed.stage(Op::Accept { listener }, 20);
    bed.stage(Op::Timeout { at_ns: u64::MAX }, 21);
    bed.reactor.offload(Box::new(|| 7), 22).unwrap();
    bed.expect_quiet_except(22);
    let deadline_ns = bed.clock.now_ns() + 5_000_000_000;
    let report = bed.reactor.drain(deadline_ns);
    assert_eq!(report.left, 0);
    for word in 0..22 {
        let ended = bed.next_of(word);
        assert_eq!(ended.result, errno(Errno::CANCELED), "{word}");
        assert!(ended.is_final());
    }
    bed.expect_quiet();
}

fn dropping_a_reactor_in_full_flight_is_sound(mut bed: Bed) {
    let mut peers: Vec<_> = (0..8).map(|_| bed.pair()).collect();
    let (region, _) = bed.region(65536);
    for (number, (socket, _)) in peers.iter().enumerate() {
        bed.stage(Op::RecvMulti { socket: *socket }, number as u64);
        let slice = trunkline_reactor::Slice {
            region,
            offset: 0,
            len: 65536,
        };
        bed.stage(
            Op::Send {
                socket: *socket,
                slices: &[slice; 64],
                zero_copy: number % 2 == 0,
            },
            100,
        );
    }
    bed.reactor.submit().unwrap();
    for (_, peer) in &mut peers {
        peer.write_all(&[1; 1000]).unwrap();
    }
    bed.reactor.unregister_region(region);
    drop(bed);
    for (_, mut peer) in peers {
        let mut rest = Vec::new();
        let _ = peer.read_to_end(&mut rest);
    }
}

fn the_table_of_sockets_is_bounded(mut bed: Bed) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listener = bed.reactor.add_listener(listener).unwrap();
    bed.stage(Op::Accept { listener }, 1);
    let mut peers: Vec<TcpStream> = (0..5)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let mut accepted = Vec::new();
    for _ in 0..5 {
        let completion = bed.next_of(1);
        assert!(
            completion.flags.contains(CompletionFlags::MORE),
            "the listener must survive"
        );
        accepted.push(completion.result);
    }
    assert_eq!(accepted.iter().filter(|result| **result >= 0).count(), 3);
    assert_eq!(
        accepted
            .iter()
            .filter(|result| **result == errno(Errno::NFILE))
            .count(),
        2
    );
    // The refused ones are closed.
    assert_eq!(peers.pop().unwrap().read(&mut [0; 1]).unwrap(), 0);
    let socket = SocketId::from_result(accepted[0]).unwrap();
    bed.stage(Op::Close { socket }, 2);
    assert_eq!(bed.next_of(2).result, 0);
    peers.push(TcpStream::connect(address).unwrap());
    assert!(bed.next_of(1).result >= 0);
}

fn the_table_of_operations_is_bounded(mut bed: Bed) {
    for word in 0..4 {
        bed.stage(Op::Timeout { at_ns: u64::MAX }, word);
    }
    assert!(bed.reactor.stage(Op::Nop, 4).is_err());
    assert!(bed.reactor.offload(Box::new(|| 0), 4).is_err());
    bed.reactor.cancel(CancelTarget::UserData(0));
    assert_eq!(bed.next_of(0).result, errno(Errno::CANCELED));
    bed.stage(Op::Nop, 5);
    assert_eq!(bed.next_of(5).result, 0);
}

fn a_second_receive_or_send_on_a_socket_is_refused(mut bed: Bed) {
    let (socket, _peer) = bed.pair();
    let (region, _) = bed.region(65536);
    let slice = trunkline_reactor::Slice {
        region,
        offset: 0,
        len: 65536,
    };
    bed.stage(Op::RecvMulti { socket }, 1);
    bed.stage(Op::RecvMulti { socket }, 2);
    assert_eq!(bed.next_of(2).result, errno(Errno::ALREADY));
    // Fill the socket until a send has to wait.
    loop {
        bed.stage(
            Op::Send {
                socket,
                slices: &[slice; 16],
                zero_copy: false,
            },
            3,
        );
        bed.turn(trunkline_reactor::Wait::Poll);
        if bed.try_next_of(3).is_none() {
            break;
        }
    }
    bed.stage(
        Op::Send {
            socket,
            slices: &[slice],
            zero_copy: false,
        },
        4,
    );
    assert_eq!(bed.next_of(4).result, errno(Errno::ALREADY));
}
