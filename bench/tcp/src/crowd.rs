//! Many connections that have nothing to do: what each costs the memory of a server.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use bench_harness::server::{Server as Process, free_address};
use bench_harness::{Failure, Figure, Sample, cores, limits};

use crate::client::FRAME_BYTES;
use crate::seats;
use crate::servers::{Server, Tuning};

/// So many of them.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    pub connections: usize,
}

impl Crowd {
    /// The server is measured twice, with few connections and with so many more: what it takes for itself falls out.
    pub fn measure(self, server: Server) -> Result<Sample, Failure> {
        limits::raise_open_files((FEW + self.connections + SPARE) as u64)?;
        let few = rss_mib(server, FEW)?;
        let many = rss_mib(server, FEW + self.connections)?;
        // Two processes differ by more than some take for their connections.
        let each = (many - few).max(0.0) * 1024.0 / self.connections as f64;
        Ok(Sample::default()
            .with(Figure::ConnectionKib, each.max(LEAST_KIB))
            .with(Figure::RssMib, many))
    }
}

/// The memory of a server with so many connections, each of which has been served once.
fn rss_mib(server: Server, connections: usize) -> Result<f64, Failure> {
    let address = free_address()?;
    let folder = Process::folder(&std::env::temp_dir())?;
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(own);
    // One more is whoever looks whether it listens.
    command.args([COMMAND, &server.name(), &address.to_string()]);
    command.arg((connections + 1).to_string());
    // Of what it said the last lines are shown: they are to be its reason.
    command.env("RUST_BACKTRACE", "0");
    let mut process = Process::start(command, folder, Some(seats()[0]))?;
    process.wait_until_listening(address)?;
    let joined = cores::on_core(Some(seats()[1]), || join(address, connections));
    let streams = joined.map_err(|why| format!("{why}; {}", process.said()))?;
    let rss_mib = process.rss_mib();
    drop(streams);
    Ok(rss_mib)
}

/// Connects, and then has one frame of each echoed.
fn join(address: SocketAddr, connections: usize) -> Result<Vec<TcpStream>, Failure> {
    let connect = |_| {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    };
    let failed = |error: std::io::Error| error.to_string();
    let streams: std::io::Result<Vec<TcpStream>> = (0..connections).map(connect).collect();
    let mut streams = streams.map_err(failed)?;
    for (number, stream) in streams.iter_mut().enumerate() {
        let frame = [number as u8; FRAME_BYTES];
        let mut back = [!frame[0]; FRAME_BYTES];
        stream.write_all(&frame).map_err(failed)?;
        stream.read_exact(&mut back).map_err(failed)?;
        if back != frame {
            return Err(format!("connection {number} got back what it did not send"));
        }
    }
    Ok(streams)
}

/// The server's side: `NAME ADDRESS CONNECTIONS`.
pub fn serve(arguments: &[String]) -> Result<(), Failure> {
    let [name, address, connections] = arguments else {
        return Err("NAME ADDRESS CONNECTIONS".into());
    };
    let server = SERVERS.into_iter().find(|server| server.name() == *name);
    let server = server.ok_or_else(|| format!("there is no server {name}"))?;
    let connections = connections
        .parse()
        .map_err(|_| format!("{connections} is no number"))?;
    let listener = TcpListener::bind(address).map_err(|error| format!("{address}: {error}"))?;
    // Whoever finds the queue full tries again after a second.
    rustix::net::listen(&listener, QUEUE).map_err(|error| format!("{address}: {error}"))?;
    server.serve(listener, connections);
    Ok(())
}

/// All that are compared.
pub const SERVERS: [Server; 8] = [
    Server::Epoll(Tuning::PLAIN),
    Server::Uring(Tuning::PLAIN),
    Server::RawEpoll,
    Server::Mio,
    Server::Tokio,
    Server::Monoio,
    Server::Compio,
    Server::Glommio,
];

/// The word that makes this program such a server.
pub const COMMAND: &str = "serve";
const FEW: usize = 100;
/// One byte: less cannot be told from nothing.
const LEAST_KIB: f64 = 1.0 / 1024.0;
/// Connections that wait to be accepted, where the system allows as many.
const QUEUE: i32 = 16 << 10;
/// Files that are no connections.
const SPARE: usize = 256;
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::start;

    #[test]
    fn every_server_serves_each_of_a_crowd() {
        for server in SERVERS {
            let (address, thread) = start(server, 5);
            drop(join(address, 5).unwrap());
            thread.join().unwrap();
        }
    }

    /// More than the queue of a ring has room for.
    #[test]
    fn a_crowd_that_comes_and_goes_at_once_is_served() {
        const CROWD: usize = 3000;
        limits::raise_open_files((2 * CROWD + SPARE) as u64).unwrap();
        for server in [Server::Epoll(Tuning::PLAIN), Server::Uring(Tuning::PLAIN)] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            rustix::net::listen(&listener, QUEUE).unwrap();
            let address = listener.local_addr().unwrap();
            let connect = |_| {
                let stream = TcpStream::connect(address).unwrap();
                (&stream).write_all(&[7; FRAME_BYTES]).unwrap();
                stream
            };
            let mut streams: Vec<TcpStream> = (0..CROWD).map(connect).collect();
            let thread = std::thread::spawn(move || server.serve(listener, CROWD));
            for stream in &mut streams {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.read_exact(&mut [0; FRAME_BYTES]).unwrap();
            }
            drop(streams);
            thread.join().unwrap();
        }
    }

    #[test]
    fn every_server_can_be_named() {
        let mut names: Vec<String> = SERVERS.iter().map(|server| server.name()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), SERVERS.len());
        assert!(serve(&["nobody".into(), "127.0.0.1:0".into(), "1".into()]).is_err());
    }
}
