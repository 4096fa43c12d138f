//! A service that answers, and somebody who asks it.
//!
//! `cargo run -p trunkline-client --example request_reply`

use std::time::Duration;

use trunkline_client::{Client, Error, ErrorCode};

fn main() -> Result<(), Error> {
    let address = std::env::var("TRUNKLINE_SERVER").unwrap_or_else(|_| "127.0.0.1:7400".into());
    println!("{}", run(&address)?);
    Ok(())
}

/// The example itself; a test runs it, too.
pub fn run(address: &str) -> Result<String, Error> {
    let client = Client::connect(address)?;

    // Answers on a thread of its own until it is dropped.
    let service = client.reply("svc.upper", |call| call.payload().to_ascii_uppercase())?;
    let answer = client.request("svc.upper", b"hello", Duration::from_secs(1))?;
    drop(service);

    // Nobody is left who could answer, which is an answer, too.
    match client.request("svc.upper", b"hello", Duration::from_secs(1)) {
        Err(error) if error.code() == Some(ErrorCode::NOBODY_LISTENS) => {}
        Err(error) => return Err(error),
        Ok(_) => unreachable!("the service has ended"),
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
