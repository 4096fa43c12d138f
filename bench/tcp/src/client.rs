//! The load: closed loop over so many connections with so many 64-byte frames in flight on each; every byte is checked.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

pub const FRAME_BYTES: usize = 64;

/// One connection that spins: the round trips, in nanoseconds.
pub fn ping(address: SocketAddr, warm_up: usize, rounds: usize) -> Vec<u64> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut trips = Vec::with_capacity(rounds);
    let mut frame = [0; FRAME_BYTES];
    let mut back = [0; FRAME_BYTES];
    for round in 0..warm_up + rounds {
        fill(&mut frame, 0, round as u64);
        let start = Instant::now();
        stream.write_all(&frame).unwrap();
        let mut got = 0;
        while got < FRAME_BYTES {
            match stream.read(&mut back[got..]) {
                Ok(0) => panic!("the server closed"),
                Ok(bytes) => got += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
                Err(error) => panic!("{error}"),
            }
        }
        let trip = start.elapsed();
        assert_eq!(frame, back, "round {round}");
        if round >= warm_up {
            trips.push(trip.as_nanos() as u64);
        }
    }
    trips
}

/// Many connections, open until dropped.
pub struct Load {
    poll: Poll,
    events: Events,
    peers: Vec<Peer>,
    depth: usize,
    scratch: Vec<u8>,
}

struct Peer {
    stream: mio::net::TcpStream,
    /// The frame that comes next, and how much of it has come.
    next: u64,
    partial: usize,
    /// Frames of the current batch that are still out.
    out: usize,
    sent: u64,
}

impl Load {
    pub fn connect(address: SocketAddr, connections: usize, depth: usize) -> Self {
        let poll = Poll::new().unwrap();
        let mut peers = Vec::new();
        for number in 0..connections {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_nonblocking(true).unwrap();
            let mut stream = mio::net::TcpStream::from_std(stream);
            poll.registry()
                .register(&mut stream, Token(number), Interest::READABLE)
                .unwrap();
            peers.push(Peer {
                stream,
                next: 0,
                partial: 0,
                out: 0,
                sent: 0,
            });
        }
        let scratch = vec![0; 64 * 1024];
        Self {
            poll,
            events: Events::with_capacity(1024),
            peers,
            depth,
            scratch,
        }
    }

    /// Keeps every connection's frames in flight for so long; returns how many came back. Nothing is in flight afterwards.
    pub fn run(&mut self, duration: Duration) -> u64 {
        let end = Instant::now() + duration;
        let mut done = 0;
        let mut busy = 0;
        for number in 0..self.peers.len() {
            self.send(number);
            busy += 1;
        }
        while busy > 0 {
            self.poll.poll(&mut self.events, None).unwrap();
            let go_on = Instant::now() < end;
            let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
            for event in &events {
                let number = event.token().0;
                done += self.receive(number);
                if self.peers[number].out == 0 {
                    if go_on {
                        self.send(number);
                    } else {
                        busy -= 1;
                    }
                }
            }
            self.events = events;
        }
        done
    }

    fn send(&mut self, number: usize) {
        let peer = &mut self.peers[number];
        let batch = &mut self.scratch[..self.depth * FRAME_BYTES];
        for frame in batch.chunks_exact_mut(FRAME_BYTES) {
            fill(frame, number as u64, peer.sent);
            peer.sent += 1;
        }
        peer.stream.write_all(batch).unwrap();
        peer.out = self.depth;
    }

    fn receive(&mut self, number: usize) -> u64 {
        let peer = &mut self.peers[number];
        let before = peer.out;
        let mut expected = [0; FRAME_BYTES];
        loop {
            let len = self.scratch.len();
            let bytes = match peer.stream.read(&mut self.scratch) {
                Ok(0) => panic!("the server closed"),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            };
            let mut rest = &self.scratch[..bytes];
            while !rest.is_empty() {
                fill(&mut expected, number as u64, peer.next);
                let part = rest.len().min(FRAME_BYTES - peer.partial);
                assert_eq!(
                    rest[..part],
                    expected[peer.partial..][..part],
                    "connection {number}, frame {}",
                    peer.next
                );
                rest = &rest[part..];
                peer.partial += part;
                if peer.partial == FRAME_BYTES {
                    peer.partial = 0;
                    peer.next += 1;
                    peer.out -= 1;
                }
            }
            if bytes < len {
                break;
            }
        }
        (before - peer.out) as u64
    }
}

/// Bytes that belong to one frame of one connection.
fn fill(frame: &mut [u8], connection: u64, number: u64) {
    let word = (connection << 48 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for (place, chunk) in frame.chunks_exact_mut(8).enumerate() {
        chunk.copy_from_slice(&(word ^ place as u64).to_le_bytes());
    }
}
