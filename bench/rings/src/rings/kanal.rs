//! kanal.

use super::{CAPACITY, Item, Receive1, Ring, Send1};

shared!(
    Kanal,
    kanal::Sender<T>,
    kanal::Receiver<T>,
    kanal::bounded(CAPACITY),
    |ring, item| ring.try_send(item) == Ok(true),
    |ring| ring.try_recv().ok().flatten()
);
