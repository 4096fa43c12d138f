//! The bound for one connection: a loop of non-blocking receive and send.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;

use super::READ_BYTES;

pub fn serve(listener: &TcpListener, connections: usize) {
    assert_eq!(connections, 1);
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(bytes) => stream.write_all(&buffer[..bytes]).unwrap(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
    }
}
