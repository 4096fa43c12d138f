//! The reactor, as a server uses it: receive into the pool, send the same buffer, recycle it when it has left.

use std::collections::VecDeque;
use std::fmt;
use std::net::TcpListener;

use trunkline_reactor::{
    BufferId, Completion, CompletionFlags, Config, Op, Reactor, Readiness, Slice, SocketId, Uring,
    Wait,
};

/// Which features are on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    pub spin: bool,
    pub registered_files: bool,
    pub sqpoll: bool,
    pub zero_copy: bool,
    pub queued_sends: bool,
    pub registered_buffers: bool,
    pub buffers: Option<(u16, u32)>,
    pub sockets_per_turn: Option<usize>,
}

impl Tuning {
    /// As it is by default.
    pub const PLAIN: Self = Self {
        spin: false,
        registered_files: false,
        sqpoll: false,
        zero_copy: false,
        queued_sends: false,
        registered_buffers: false,
        buffers: None,
        sockets_per_turn: None,
    };
}

pub fn serve_epoll(listener: TcpListener, connections: usize, tuning: Tuning) {
    let mut reactor = Readiness::new(&config(tuning)).unwrap();
    echo(&mut reactor, listener, connections, tuning);
}

pub fn serve_uring(listener: TcpListener, connections: usize, tuning: Tuning) {
    let mut reactor = Uring::new(&config(tuning)).unwrap();
    echo(&mut reactor, listener, connections, tuning);
}

fn config(tuning: Tuning) -> Config {
    let mut config = Config::default();
    if let Some((count, bytes)) = tuning.buffers {
        (config.receive_buffers, config.receive_buffer_bytes) = (count, bytes);
    }
    config.sockets_per_turn = tuning.sockets_per_turn.unwrap_or(config.sockets_per_turn);
    config.uring.registered_files = tuning.registered_files;
    config.uring.direct_sends = !tuning.queued_sends;
    config.uring.registered_buffers = tuning.registered_buffers;
    config.uring.sqpoll_idle_ms = tuning.sqpoll.then_some(10);
    config
}

/// Received buffers of a connection that have not all been sent; the first `sent` bytes of the oldest have.
struct Connection {
    socket: SocketId,
    oldest: Option<(BufferId, Slice)>,
    waiting: VecDeque<(BufferId, Slice)>,
    sending: bool,
    closed: bool,
    /// Bytes that a zero-copy send took.
    counted: i32,
}

const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1 << 32;
const SEND: u64 = 2 << 32;
const CLOSE: u64 = 3 << 32;

fn echo<R: Reactor>(reactor: &mut R, listener: TcpListener, expected: usize, tuning: Tuning) {
    let listener = reactor.add_listener(listener).unwrap();
    stage(reactor, Op::Accept { listener }, ACCEPT);
    let mut connections: Vec<Connection> = Vec::new();
    let mut open = 0;
    let mut out = [Completion::default(); 256];
    let wait = if tuning.spin {
        Wait::Poll
    } else {
        Wait::Forever
    };
    loop {
        reactor.submit_and_wait(1, wait).unwrap();
        loop {
            let count = reactor.reap(&mut out);
            if count == 0 {
                break;
            }
            for completion in &out[..count] {
                let number = completion.user_data as u32 as usize;
                match completion.user_data >> 32 << 32 {
                    ACCEPT => {
                        let socket = SocketId::from_result(completion.result).unwrap();
                        let number = connections.len() as u64;
                        stage(reactor, Op::RecvMulti { socket }, RECEIVE | number);
                        connections.push(Connection {
                            socket,
                            oldest: None,
                            counted: 0,
                            waiting: VecDeque::new(),
                            sending: false,
                            closed: false,
                        });
                        open += 1;
                    }
                    RECEIVE => {
                        let connection = &mut connections[number];
                        if let Some(id) = completion.buffer() {
                            let (region, offset) = reactor.buffer_slice(id);
                            let received = (
                                id,
                                Slice {
                                    region,
                                    offset,
                                    len: completion.result as u32,
                                },
                            );
                            match connection.oldest {
                                None => connection.oldest = Some(received),
                                Some(_) => connection.waiting.push_back(received),
                            }
                            connection.send(reactor, number, tuning);
                        } else {
                            connection.closed = true;
                            let socket = connection.socket;
                            stage(reactor, Op::Close { socket }, CLOSE | number as u64);
                        }
                    }
                    SEND => {
                        let connection = &mut connections[number];
                        // A zero-copy send says how much first, and when the bytes are free second.
                        if completion.flags.contains(CompletionFlags::MORE) {
                            connection.counted = completion.result;
                            continue;
                        }
                        let notified = completion.flags.contains(CompletionFlags::NOTIF);
                        let sent = if notified {
                            connection.counted
                        } else {
                            completion.result
                        };
                        connection.sending = false;
                        connection.sent(reactor, sent);
                        connection.send(reactor, number, tuning);
                    }
                    _ => {
                        open -= 1;
                        if open == 0 && connections.len() == expected {
                            return;
                        }
                    }
                }
            }
        }
    }
}

/// Stages an operation. Of a crowd that comes or goes at once more is reaped in a turn than the queue has room for: what is in
/// it is submitted first.
#[inline]
fn stage<R: Reactor>(reactor: &mut R, op: Op<'_>, word: u64) {
    if reactor.stage(op, word).is_err() {
        reactor.submit().unwrap();
        reactor
            .stage(op, word)
            .expect("a queue that was submitted has room");
    }
}

impl Connection {
    #[inline]
    fn send<R: Reactor>(&mut self, reactor: &mut R, number: usize, tuning: Tuning) {
        let Some((_, oldest)) = self.oldest.filter(|_| !self.sending && !self.closed) else {
            return;
        };
        let (socket, zero_copy) = (self.socket, tuning.zero_copy);
        let send = SEND | number as u64;
        if self.waiting.is_empty() {
            stage(
                reactor,
                Op::Send {
                    socket,
                    slices: &[oldest],
                    zero_copy,
                },
                send,
            );
        } else {
            let mut slices = [oldest; Op::MAX_SLICES];
            let count = 1 + self.waiting.len().min(Op::MAX_SLICES - 1);
            slices[1..]
                .iter_mut()
                .zip(&self.waiting)
                .for_each(|(slice, waiting)| *slice = waiting.1);
            stage(
                reactor,
                Op::Send {
                    socket,
                    slices: &slices[..count],
                    zero_copy,
                },
                send,
            );
        }
        self.sending = true;
    }

    #[inline]
    fn sent<R: Reactor>(&mut self, reactor: &mut R, result: i32) {
        let Ok(mut bytes) = u32::try_from(result) else {
            return;
        };
        while let Some((id, slice)) = &mut self.oldest {
            if bytes < slice.len {
                slice.offset += u64::from(bytes);
                slice.len -= bytes;
                return;
            }
            bytes -= slice.len;
            reactor.recycle(*id);
            self.oldest = self.waiting.pop_front();
        }
    }
}

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = [
            (self.spin, "spin"),
            (self.registered_files, "registered files"),
            (self.sqpoll, "sqpoll"),
            (self.zero_copy, "zero copy"),
            (self.queued_sends, "queued sends"),
            (self.registered_buffers, "registered buffers"),
        ];
        for (_, name) in flags.into_iter().filter(|(on, _)| *on) {
            write!(f, ", {name}")?;
        }
        if let Some((count, bytes)) = self.buffers {
            write!(f, ", {count} x {bytes} B")?;
        }
        if let Some(sockets) = self.sockets_per_turn {
            write!(f, ", {sockets} sockets per turn")?;
        }
        Ok(())
    }
}
