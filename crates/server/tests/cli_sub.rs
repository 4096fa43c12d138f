//! `sub`: what it says when the connection ends, or nothing can come, and what its flags do.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use support::{Ran, Server, ran, send_signal};

/// Starts a subscription and waits until the server knows of all of `subscribers`.
fn subscribe(server: &Server, arguments: &[&str], subscribers: u64) -> Child {
    let mut command = server.command(&[&["sub"], arguments].concat());
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = piped.spawn().unwrap();
    server.wait_for("main", "the subscriber", |info| {
        info["subscribers"].as_u64() == Some(subscribers)
    });
    child
}

/// Ctrl-C.
fn interrupt(child: Child) -> Ran {
    send_signal(child.id(), "INT");
    ran(child.wait_with_output().unwrap())
}

#[test]
fn why_the_server_went_is_said() {
    let mut server = Server::start();
    let leaving = subscribe(&server, &["a", "--no-reconnect"], 1);
    let mut staying = subscribe(&server, &["a"], 2);
    let mut said = BufReader::new(staying.stderr.take().unwrap()).lines();
    server.end("TERM");
    let gone = format!(
        "{} closed the connection: the server is shutting down",
        server.address
    );
    let ended = ran(leaving.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.err), (4, format!("error: {gone}\n")));
    assert_eq!(
        said.next().unwrap().unwrap(),
        format!("{gone}; trying again")
    );
    server.restart_in_place();
    let back = format!("connected to {} again", server.address);
    assert_eq!(said.next().unwrap().unwrap(), back);
    assert_eq!(interrupt(staying).code, 0);
}
