//! After warm-up the data path of a reactor allocates nothing: receive, send (one slice and many), recycle, write, timeout, wake.

mod machine;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use trunkline_reactor::{
    AnyReactor, Clock, Completion, Config, FileId, IoBackend, Op, Reactor, RegionId, Slice,
    SocketId, Wait, WriteMode,
};
use trunkline_ring::Buffer;

#[test]
fn the_data_path_allocates_nothing_on_epoll() {
    check(IoBackend::Epoll);
}

#[test]
fn the_data_path_allocates_nothing_on_io_uring() {
    if machine::has_io_uring() {
        check(IoBackend::IoUring);
    }
}

struct Bed {
    reactor: AnyReactor,
    clock: Clock,
    socket: SocketId,
    peer: TcpStream,
    file: FileId,
    region: RegionId,
    out: [Completion; 32],
}

fn check(backend: IoBackend) {
    // A second thread may be started at any time, when the first is slow.
    let config = Config {
        offload_threads: 1,
        ..Config::default()
    };
    let (mut reactor, _) = AnyReactor::new(backend, &config).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let socket = reactor.add_stream(listener.accept().unwrap().0).unwrap();
    let file = reactor.add_file(tempfile::tempfile().unwrap());
    let buffer = Buffer::new(65536).unwrap();
    let region = reactor.register_region(buffer.pin());
    reactor.stage(Op::RecvMulti { socket }, 1).unwrap();
    let mut bed = Bed {
        reactor,
        clock: Clock,
        socket,
        peer,
        file,
        region,
        out: [Completion::default(); 32],
    };
    for _ in 0..50 {
        bed.round();
    }
    let counted = allocation_counter::measure(|| {
        for _ in 0..200 {
            bed.round();
        }
    });
    assert_eq!(counted.count_total, 0);
}

impl Bed {
    fn round(&mut self) {
        let (socket, file, region) = (self.socket, self.file, self.region);
        self.peer.write_all(&[7; 1000]).unwrap();
        let mut left = 1000;
        while left > 0 {
            let received = self.next(1);
            let id = received.buffer().unwrap();
            let (region, offset) = self.reactor.buffer_slice(id);
            let slice = Slice {
                region,
                offset,
                len: received.result as u32,
            };
            self.reactor
                .stage(
                    Op::Send {
                        socket,
                        slices: &[slice],
                        zero_copy: false,
                    },
                    2,
                )
                .unwrap();
            assert_eq!(self.next(2).result, received.result);
            self.reactor.recycle(id);
            left -= received.result;
        }
        let slice = |number: u64| Slice {
            region,
            offset: number * 100,
            len: 100,
        };
        let many = [slice(1), slice(2), slice(3), slice(4), slice(5)];
        self.reactor
            .stage(
                Op::Send {
                    socket,
                    slices: &many,
                    zero_copy: false,
                },
                3,
            )
            .unwrap();
        assert_eq!(self.next(3).result, 500);
        self.peer.read_exact(&mut [0; 1500]).unwrap();
        self.reactor
            .stage(
                Op::Write {
                    file,
                    slice: slice(0),
                    offset: 0,
                    mode: WriteMode::Inline,
                },
                4,
            )
            .unwrap();
        assert_eq!(self.next(4).result, 100);
        self.reactor
            .stage(
                Op::Write {
                    file,
                    slice: slice(0),
                    offset: 0,
                    mode: WriteMode::Async,
                },
                5,
            )
            .unwrap();
        assert_eq!(self.next(5).result, 100);
        self.reactor
            .stage(
                Op::Read {
                    file,
                    offset: 0,
                    len: 100,
                },
                6,
            )
            .unwrap();
        let id = self.next(6).buffer().unwrap();
        self.reactor.recycle(id);
        self.reactor
            .stage(
                Op::Timeout {
                    at_ns: self.clock.now_ns() + 1000,
                },
                7,
            )
            .unwrap();
        self.next(7);
        self.reactor.waker().wake();
        self.reactor.submit_and_wait(1, Wait::Forever).unwrap();
    }

    fn next(&mut self, user_data: u64) -> Completion {
        loop {
            let count = self.reactor.reap(&mut self.out);
            if count > 0 {
                assert_eq!((count, self.out[0].user_data), (1, user_data));
                return self.out[0];
            }
            self.reactor.submit_and_wait(1, Wait::Forever).unwrap();
        }
    }
}
