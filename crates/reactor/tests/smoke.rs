//! placeholder
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use trunkline_reactor::*;

#[test]
fn echoes_through_a_pool_buffer() {
    let (mut reactor, _) = AnyReactor::new(IoBackend::Auto, &Config::default()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listener = reactor.add_listener(listener).unwrap();
    reactor.stage(Op::Accept { listener }, 1).unwrap();
    let client = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        for n in 0..100u8 {
            stream.write_all(&[n; 64]).unwrap();
            let mut back = [0; 64];
            stream.read_exact(&mut back).unwrap();
            assert_eq!(back, [n; 64]);
        }
    });
    let mut out = [Completion::default(); 16];
    let mut held = None;
    'run: loop {
        reactor.submit_and_wait(1, Wait::Forever).unwrap();
        loop {
            let n = reactor.reap(&mut out);
            if n == 0 {
                break;
            }
            for c in &out[..n] {
                match c.user_data {
                    1 => {
                        let socket = SocketId::from_result(c.result).unwrap();
                        reactor
                            .stage(Op::RecvMulti { socket }, 2 << 32 | c.result as u64)
                            .unwrap();
                    }
                    ud if ud >> 32 == 2 => {
                        if c.result == 0 {
                            break 'run;
                        }
                        let socket = SocketId::from_result(ud as u32 as i32).unwrap();
                        let id = c.buffer().unwrap();
                        assert_eq!(reactor.buffer(id).len(), c.result as usize);
                        let (region, offset) = reactor.buffer_slice(id);
                        let slices = [Slice {
                            region,
                            offset,
                            len: c.result as u32,
                        }];
                        reactor
                            .stage(
                                Op::Send {
                                    socket,
                                    slices: &slices,
                                    zero_copy: false,
                                },
                                3 << 32,
                            )
                            .unwrap();
                        held = Some(id);
                    }
                    _ => reactor.recycle(held.take().unwrap()),
                }
            }
        }
    }
    client.join().unwrap();
}
