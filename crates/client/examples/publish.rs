//! Publishes each line of standard input, and says what became of them.
//!
//! `cargo run -p trunkline-client --example publish -- orders.eu.new < lines.txt`

use std::io::BufRead;
use std::time::Duration;

use trunkline_client::{AckLevel, Client, Error};

fn main() -> Result<(), Error> {
    let subject = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "orders.eu.new".into());
    let address = std::env::var("TRUNKLINE_SERVER").unwrap_or_else(|_| "127.0.0.1:7400".into());
    run(&address, &subject, std::io::stdin().lock())
}

/// The example itself; a test runs it, too.
pub fn run(address: &str, subject: &str, lines: impl BufRead) -> Result<(), Error> {
    let client = Client::builder(address).name("example").connect()?;

    // Records leave together while others are under way, so there is no need to wait for each.
    let publisher = client.publisher_with(AckLevel::Stored);
    for line in lines.lines() {
        publisher.publish(subject, line?.as_bytes())?;
    }
    match publisher.flush(Duration::from_secs(30))? {
        Some(acked) => println!(
            "last sequence {}, {}",
            acked.last_stream_sequence, acked.level
        ),
        None => println!("nothing was published"),
    }

    // One that is worth waiting for.
    let receipt = publisher.publish_acked(subject, b"the last one")?;
    let acked = receipt.wait(Duration::from_secs(5))?;
    println!(
        "the last one is {} as {}",
        acked.level, acked.last_stream_sequence
    );
    Ok(())
}
