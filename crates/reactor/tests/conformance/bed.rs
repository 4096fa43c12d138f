//! A reactor to test, its completions, and peers made of ordinary blocking sockets.

use std::collections::VecDeque;
use std::net::{TcpListener, TcpStream};

use trunkline_reactor::{
    AnyReactor, BufferId, Clock, Completion, Config, IoBackend, Op, Reactor, RegionId, Slice,
    SocketId, Wait,
};
use trunkline_ring::Buffer;

/// Makes one test per back-end of each function that takes a [`Bed`].
macro_rules! on_every_backend {
    ($($name:ident $(($config:expr))?,)*) => {
        $(mod $name {
            use crate::bed::Bed;

            #[allow(unused_mut, unused_assignments)]
            fn config() -> trunkline_reactor::Config {
                let mut config = crate::bed::small();
                $(config = $config;)?
                config
            }

            #[test]
            fn on_epoll() {
                super::$name(Bed::new(trunkline_reactor::IoBackend::Epoll, &config()));
            }

            #[test]
            fn on_io_uring() {
                if !crate::machine::has_io_uring() {
                    return;
                }
                super::$name(Bed::new(trunkline_reactor::IoBackend::IoUring, &config()));
            }

            #[test]
            fn on_io_uring_with_queued_sends_and_everything_registered() {
                if !crate::machine::has_io_uring() {
                    return;
                }
                let mut config = config();
                config.uring.registered_files = true;
                config.uring.registered_buffers = true;
                config.uring.direct_sends = false;
                super::$name(Bed::new(trunkline_reactor::IoBackend::IoUring, &config));
            }
        })*
    };
}
pub(crate) use on_every_backend;

pub(crate) struct Bed {
    pub(crate) reactor: AnyReactor,
    pub(crate) clock: Clock,
    seen: VecDeque<Completion>,
}

/// Small tables and pools, so that their ends are reached.
pub(crate) fn small() -> Config {
    Config {
        max_sockets: 512,
        max_operations: 2048,
        max_sends: 512,
        receive_buffers: 8,
        receive_buffer_bytes: 4096,
        read_buffers: 2,
        read_buffer_bytes: 8192,
        ..Config::default()
    }
}

impl Bed {
    pub(crate) fn new(backend: IoBackend, config: &Config) -> Self {
        let (reactor, choice) = AnyReactor::new(backend, config).unwrap();
        assert_eq!(choice.backend, backend);
        Self {
            reactor,
            clock: Clock,
            seen: VecDeque::new(),
        }
    }

    pub(crate) fn stage(&mut self, op: Op<'_>, user_data: u64) {
        self.reactor.stage(op, user_data).unwrap();
    }

    /// The next completion; fails the test when none comes.
    pub(crate) fn next(&mut self) -> Completion {
        let patience_ns = self.clock.now_ns() + PATIENCE_NS;
        loop {
            if let Some(completion) = self.seen.pop_front() {
                return completion;
            }
            assert!(self.clock.now_ns() < patience_ns, "no completion came");
            self.turn(Wait::Until(patience_ns));
        }
    }

    /// The next completion with this word; others stay.
    pub(crate) fn next_of(&mut self, user_data: u64) -> Completion {
        let patience_ns = self.clock.now_ns() + PATIENCE_NS;
        loop {
            if let Some(place) = self
                .seen
                .iter()
                .position(|completion| completion.user_data == user_data)
            {
                return self.seen.remove(place).unwrap();
            }
            assert!(
                self.clock.now_ns() < patience_ns,
                "no completion of {user_data} came; there are {:?}",
                self.seen
            );
            self.turn(Wait::Until(patience_ns));
        }
    }

    /// Nothing more comes for a while.
    pub(crate) fn expect_quiet(&mut self) {
        let until_ns = self.clock.now_ns() + QUIET_NS;
        while self.clock.now_ns() < until_ns {
            self.turn(Wait::Until(until_ns));
        }
        assert!(self.seen.is_empty(), "unexpected: {:?}", self.seen);
    }

    pub(crate) fn turn(&mut self, wait: Wait) {
        self.reactor.submit_and_wait(1, wait).unwrap();
        let mut out = [Completion::default(); 7];
        loop {
            let count = self.reactor.reap(&mut out);
            self.seen.extend(&out[..count]);
            if count == 0 {
                return;
            }
        }
    }

    /// The bytes of a completion, whose buffer is given back.
    pub(crate) fn take_bytes(&mut self, completion: Completion) -> Vec<u8> {
        let id = completion.buffer().unwrap();
        let bytes = self.reactor.buffer(id).to_vec();
        assert_eq!(bytes.len(), usize::try_from(completion.result).unwrap());
        self.reactor.recycle(id);
        bytes
    }

    /// A connection: this reactor's end and the peer's.
    pub(crate) fn pair(&mut self) -> (SocketId, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        peer.set_nodelay(true).unwrap();
        (self.reactor.add_stream(stream).unwrap(), peer)
    }

    /// A region filled with bytes that differ from their neighbours.
    pub(crate) fn region(&mut self, bytes: usize) -> (RegionId, Vec<u8>) {
        let mut buffer = Buffer::new(bytes.next_multiple_of(4096)).unwrap();
        let pattern: Vec<u8> = (0..bytes)
            .map(|place| (place * 7 + place / 251) as u8)
            .collect();
        buffer.slice_mut(0, bytes).copy_from_slice(&pattern);
        (self.reactor.register_region(buffer.pin()), pattern)
    }

    pub(crate) fn slice_of(&self, id: BufferId, len: u32) -> Slice {
        let (region, offset) = self.reactor.buffer_slice(id);
        Slice {
            region,
            offset,
            len,
        }
    }
}

const PATIENCE_NS: u64 = 10_000_000_000;
const QUIET_NS: u64 = 30_000_000;

impl Bed {
    /// A completion with this word that is already here.
    pub(crate) fn try_next_of(&mut self, user_data: u64) -> Option<Completion> {
        let place = self
            .seen
            .iter()
            .position(|completion| completion.user_data == user_data)?;
        self.seen.remove(place)
    }

    /// Nothing comes for a while but completions with this word.
    pub(crate) fn expect_quiet_except(&mut self, user_data: u64) {
        let until_ns = self.clock.now_ns() + QUIET_NS;
        while self.clock.now_ns() < until_ns {
            self.turn(Wait::Until(until_ns));
        }
        self.seen
            .retain(|completion| completion.user_data != user_data);
        assert!(self.seen.is_empty(), "unexpected: {:?}", self.seen);
    }
}
