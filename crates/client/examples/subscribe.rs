//! Prints what a stream holds, and then what comes.
//!
//! `cargo run -p trunkline-client --example subscribe -- 'orders.>'`

use trunkline_client::{Client, Delivery, Error, Start, Subscription};

fn main() -> Result<(), Error> {
    let pattern = std::env::args().nth(1).unwrap_or_else(|| "orders.>".into());
    let address = std::env::var("TRUNKLINE_SERVER").unwrap_or_else(|_| "127.0.0.1:7400".into());
    run(&address, &pattern, u64::MAX, |line| println!("{line}"))
}

/// The example itself; a test runs it, too, with an end.
pub fn run(
    address: &str,
    pattern: &str,
    count: u64,
    mut print: impl FnMut(String),
) -> Result<(), Error> {
    let client = Client::connect(address)?;

    // When the connection breaks, it goes on behind the last record that came.
    let mut subscriber = client.subscribe(&Subscription::new(pattern).start(Start::First))?;
    let mut left = count;
    while left > 0
        && let Some(delivery) = subscriber.next_delivery(None)?
    {
        match delivery {
            Delivery::Message(message) => {
                let text = String::from_utf8_lossy(message.payload());
                print(format!(
                    "{} {} {text}",
                    message.sequence(),
                    message.subject()
                ));
                left -= 1;
            }
            Delivery::Gap { stream, gap } => {
                eprintln!(
                    "{stream}: {} to {} will not come: {:?}",
                    gap.first, gap.last, gap.reason
                );
            }
        }
    }
    Ok(())
}
