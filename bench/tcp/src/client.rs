//! The load: closed loop over so many connections with so many 64-byte frames in flight on each; every byte is checked.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bench_harness::Failure;
use mio::{Events, Interest, Poll, Token};

pub const FRAME_BYTES: usize = 64;

/// One connection that spins: the round trips, in nanoseconds.
pub fn ping(address: SocketAddr, warm_up: usize, rounds: usize) -> Result<Vec<u64>, Failure> {
    let mut stream = connected(address)?;
    let mut trips = Vec::with_capacity(rounds);
    let mut frame = [0; FRAME_BYTES];
    let mut back = [0; FRAME_BYTES];
    for round in 0..warm_up + rounds {
        fill(&mut frame, 0, round as u64);
        let start = Instant::now();
        stream.write_all(&frame).map_err(text)?;
        let (mut got, mut spins) = (0, 0u32);
        while got < FRAME_BYTES {
            match stream.read(&mut back[got..]) {
                Ok(0) => return Err(CLOSED.into()),
                Ok(bytes) => got += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    spins = spins.wrapping_add(1);
                    if spins.is_multiple_of(SPINS_PER_LOOK) && start.elapsed() > PATIENCE {
                        return Err(format!("frame {round} did not come back"));
                    }
                    std::hint::spin_loop();
                }
                Err(error) => return Err(text(error)),
            }
        }
        let trip = start.elapsed();
        if frame != back {
            return Err(format!("frame {round} came back altered"));
        }
        if round >= warm_up {
            trips.push(trip.as_nanos() as u64);
        }
    }
    std::thread::sleep(QUIET);
    nothing_is_left(&mut stream)?;
    Ok(trips)
}

fn connected(address: SocketAddr) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(address).map_err(text)?;
    stream.set_nodelay(true).map_err(text)?;
    stream.set_nonblocking(true).map_err(text)?;
    Ok(stream)
}

/// All that was sent has come back: whatever comes now came twice.
fn nothing_is_left(stream: &mut impl Read) -> Result<(), Failure> {
    match stream.read(&mut [0; FRAME_BYTES]) {
        Ok(0) => Err(CLOSED.into()),
        Ok(bytes) => Err(format!("{bytes} bytes came back that were not sent")),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(text(error)),
    }
}

fn text(error: std::io::Error) -> Failure {
    error.to_string()
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
    pub fn connect(address: SocketAddr, connections: usize, depth: usize) -> Result<Self, Failure> {
        let poll = Poll::new().map_err(text)?;
        let mut peers = Vec::new();
        for number in 0..connections {
            let mut stream = mio::net::TcpStream::from_std(connected(address)?);
            poll.registry()
                .register(&mut stream, Token(number), Interest::READABLE)
                .map_err(text)?;
            peers.push(Peer {
                stream,
                next: 0,
                partial: 0,
                out: 0,
                sent: 0,
            });
        }
        let scratch = vec![0; 64 * 1024];
        Ok(Self {
            poll,
            events: Events::with_capacity(1024),
            peers,
            depth,
            scratch,
        })
    }

    /// Keeps every connection's frames in flight for so long; returns how many came back. Nothing is in flight afterwards.
    ///
    /// # Errors
    /// When a frame does not come back, or is not what was sent.
    pub fn run(&mut self, duration: Duration) -> Result<u64, Failure> {
        let end = Instant::now() + duration;
        let mut done = 0;
        let mut busy = 0;
        for number in 0..self.peers.len() {
            self.send(number)?;
            busy += 1;
        }
        while busy > 0 {
            self.poll
                .poll(&mut self.events, Some(PATIENCE))
                .map_err(text)?;
            if self.events.is_empty() {
                return Err(format!("frames of {busy} connections did not come back"));
            }
            let go_on = Instant::now() < end;
            let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
            for event in &events {
                let number = event.token().0;
                done += self.receive(number)?;
                if self.peers[number].out == 0 {
                    if go_on {
                        self.send(number)?;
                    } else {
                        busy -= 1;
                    }
                }
            }
            self.events = events;
        }
        Ok(done)
    }

    /// Ends the connections, on which nothing more may come.
    ///
    /// # Errors
    /// When something comes.
    pub fn close(mut self) -> Result<(), Failure> {
        std::thread::sleep(QUIET);
        self.peers
            .iter_mut()
            .try_for_each(|peer| nothing_is_left(&mut peer.stream))
    }

    fn send(&mut self, number: usize) -> Result<(), Failure> {
        let peer = &mut self.peers[number];
        let batch = &mut self.scratch[..self.depth * FRAME_BYTES];
        for frame in batch.chunks_exact_mut(FRAME_BYTES) {
            fill(frame, number as u64, peer.sent);
            peer.sent += 1;
        }
        peer.stream.write_all(batch).map_err(text)?;
        peer.out = self.depth;
        Ok(())
    }

    fn receive(&mut self, number: usize) -> Result<u64, Failure> {
        let peer = &mut self.peers[number];
        let before = peer.out;
        let mut expected = [0; FRAME_BYTES];
        loop {
            let len = self.scratch.len();
            let bytes = match peer.stream.read(&mut self.scratch) {
                Ok(0) => return Err(CLOSED.into()),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(text(error)),
            };
            let mut rest = &self.scratch[..bytes];
            while !rest.is_empty() {
                fill(&mut expected, number as u64, peer.next);
                let part = rest.len().min(FRAME_BYTES - peer.partial);
                if rest[..part] != expected[peer.partial..][..part] {
                    return Err(format!(
                        "connection {number}: not frame {} came where it was next",
                        peer.next
                    ));
                }
                rest = &rest[part..];
                peer.partial += part;
                if peer.partial == FRAME_BYTES {
                    peer.partial = 0;
                    peer.next += 1;
                    peer.out = peer.out.checked_sub(1).ok_or("a frame came twice")?;
                }
            }
            if bytes < len {
                break;
            }
        }
        Ok((before - peer.out) as u64)
    }
}

/// Bytes that belong to one frame of one connection.
fn fill(frame: &mut [u8], connection: u64, number: u64) {
    let word = (connection << 48 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for (place, chunk) in frame.chunks_exact_mut(8).enumerate() {
        chunk.copy_from_slice(&(word ^ place as u64).to_le_bytes());
    }
}

const CLOSED: &str = "the server closed the connection";
/// How long a frame may be out.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
/// As long as bytes that nobody sent have to show.
const QUIET: Duration = Duration::from_millis(20);
const SPINS_PER_LOOK: u32 = 1 << 12;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    type Answer = fn(&[u8]) -> Vec<u8>;

    /// Accepts one connection, takes one frame, and answers as `answer` says; then it waits until the client closes.
    fn server(answer: Answer) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut frame = [0; FRAME_BYTES];
            stream.read_exact(&mut frame).unwrap();
            stream.write_all(&answer(&frame)).unwrap();
            while stream.read(&mut frame).is_ok_and(|bytes| bytes > 0) {}
        });
        address
    }

    #[test]
    fn who_answers_nothing_or_wrong_fails_in_bounded_time() {
        let begin = Instant::now();
        let altered = |frame: &[u8]| frame.iter().map(|byte| byte ^ 1).collect();
        let answers: [Answer; 4] = [
            |_| Vec::new(),
            |frame| frame[1..].to_vec(),
            |frame| frame.repeat(2),
            altered,
        ];
        for answer in answers {
            assert!(ping(server(answer), 0, 1).is_err());
            let mut load = Load::connect(server(answer), 1, 1).unwrap();
            let ran = load.run(Duration::ZERO);
            assert!(ran.and_then(|_| load.close()).is_err());
        }
        assert!(ping(server(<[u8]>::to_vec), 0, 1).is_ok());
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
}
