//! The examples do what they say.
#![allow(dead_code, unreachable_pub, reason = "their `main` is not called")]

#[path = "../examples/publish.rs"]
mod publish;
#[path = "../examples/request_reply.rs"]
mod request_reply;
#[path = "../examples/subscribe.rs"]
mod subscribe;
mod support;

use support::TestServer;

#[test]
fn what_the_first_publishes_the_second_prints() {
    let server = TestServer::start();
    publish::run(&server.address(), "orders.eu.new", &b"one\ntwo\n"[..]).unwrap();
    let mut lines = Vec::new();
    subscribe::run(&server.address(), "orders.>", 3, |line| lines.push(line)).unwrap();
    assert_eq!(
        lines,
        [
            "1 orders.eu.new one",
            "2 orders.eu.new two",
            "3 orders.eu.new the last one"
        ]
    );
}

#[test]
fn the_service_answers_until_it_ends() {
    let server = TestServer::start();
    assert_eq!(request_reply::run(&server.address()).unwrap(), "HELLO");
}
