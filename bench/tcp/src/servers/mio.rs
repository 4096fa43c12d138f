//! As lean as mio allows: one event, one read (a short one ends it), one write.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::READ_BYTES;

pub fn serve(listener: TcpListener, connections: usize) {
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(1024);
    let mut streams: Vec<Option<TcpStream>> = Vec::new();
    for number in 0..connections {
        let (stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut stream = TcpStream::from_std(stream);
        poll.registry()
            .register(&mut stream, Token(number), Interest::READABLE)
            .unwrap();
        streams.push(Some(stream));
    }
    let mut buffer = vec![0; READ_BYTES];
    let mut open = connections;
    while open > 0 {
        poll.poll(&mut events, None).unwrap();
        for event in &events {
            let slot = &mut streams[event.token().0];
            if let Some(stream) = slot
                && !echo(stream, &mut buffer, event.is_read_closed())
            {
                *slot = None;
                open -= 1;
            }
        }
    }
}

/// False at the end of the stream.
fn echo(stream: &mut TcpStream, buffer: &mut [u8], closed: bool) -> bool {
    loop {
        match stream.read(buffer) {
            Ok(0) => return false,
            Ok(bytes) => {
                write_all(stream, &buffer[..bytes]);
                if bytes < buffer.len() && !closed {
                    return true;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(error) => panic!("{error}"),
        }
    }
}

fn write_all(stream: &mut TcpStream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}
