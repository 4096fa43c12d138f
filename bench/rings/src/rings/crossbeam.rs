//! crossbeam: its queue and its channel.

use std::sync::Arc;

use super::{CAPACITY, Item, Receive1, Ring, Send1};

shared!(
    ArrayQueue,
    Arc<crossbeam_queue::ArrayQueue<T>>,
    Arc<crossbeam_queue::ArrayQueue<T>>,
    {
        let queue = Arc::new(crossbeam_queue::ArrayQueue::new(CAPACITY));
        (queue.clone(), queue)
    },
    |ring, item| ring.push(item).is_ok(),
    |ring| ring.pop()
);
shared!(
    CrossbeamChannel,
    crossbeam_channel::Sender<T>,
    crossbeam_channel::Receiver<T>,
    crossbeam_channel::bounded(CAPACITY),
    |ring, item| ring.try_send(item).is_ok(),
    |ring| ring.try_recv().ok()
);
