//! The bounds: for one connection a loop of non-blocking receive and send, for any number the same behind `epoll_wait`.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;

use super::READ_BYTES;

pub fn spin(listener: &TcpListener, connections: usize) {
    assert_eq!(connections, 1);
    let mut stream = accepted(listener);
    let mut buffer = vec![0; READ_BYTES];
    while echo(&mut stream, &mut buffer) {}
}

/// One event, one receive, one send: whoever has more to say is told of again.
pub fn park(listener: &TcpListener, connections: usize) {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let add = |number: usize| {
        let stream = accepted(listener);
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&epoll, &stream, data, epoll::EventFlags::IN).unwrap();
        Some(stream)
    };
    let mut streams: Vec<Option<TcpStream>> = (0..connections).map(add).collect();
    let mut events = Vec::with_capacity(1024);
    let mut buffer = vec![0; READ_BYTES];
    let mut open = connections;
    while open > 0 {
        events.clear();
        match epoll::wait(&epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("{error}"),
        }
        for event in &events {
            let slot = &mut streams[event.data.u64() as usize];
            if let Some(stream) = slot
                && !echo(stream, &mut buffer)
            {
                *slot = None;
                open -= 1;
            }
        }
    }
}

fn accepted(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}

/// Sends back what is there; false at the end of the stream.
fn echo(stream: &mut TcpStream, buffer: &mut [u8]) -> bool {
    match stream.read(buffer) {
        Ok(0) => return false,
        Ok(bytes) => stream.write_all(&buffer[..bytes]).unwrap(),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(error) => panic!("{error}"),
    }
    true
}
