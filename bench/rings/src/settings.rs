//! What is set, for the reader.

use crate::rings::CAPACITY;

/// How a contender's ring was made.
pub fn of(name: &str) -> String {
    let known = HOW.iter().find(|(start, _)| name.starts_with(start));
    let how = known.map_or("defaults otherwise", |(_, how)| how);
    format!("capacity {CAPACITY}; {how}")
}

/// By how a name begins; the longer of two comes first.
const HOW: [(&str, &str); 17] = [
    (
        "trunkline fixed",
        "spsc::RingBuffer, the capacity a constant; push, pop",
    ),
    (
        "trunkline dynamic",
        "spsc::channel, the capacity a number; push, pop, or slices and chunks",
    ),
    (
        "trunkline in place",
        "spsc::RingBuffer; pushed where the item will lie, read where it lies",
    ),
    (
        "trunkline drained",
        "spsc::RingBuffer; all that is there is taken at once",
    ),
    (
        "trunkline slice",
        "spsc::RingBuffer; push_slice, and the words after it for the receiver: drained takes all that is there",
    ),
    (
        "trunkline mpsc slice",
        "mpsc::channel; push_slice, pop_each or chunk up to 64",
    ),
    ("trunkline mpsc", "mpsc::channel; push, pop"),
    ("trunkline mpmc", "mpmc::channel; push, pop"),
    (
        "rtrb",
        "RingBuffer::new; push and pop, or slices and chunks",
    ),
    ("ringbuf", "HeapRb::new; try_push and try_pop, or slices"),
    (
        "heapless",
        "spsc::Queue, which holds one less; enqueue, dequeue",
    ),
    (
        "omango",
        "queue::spsc or queue::mpmc, bounded; calls that do not wait",
    ),
    (
        "disruptor",
        "single producer, or one for several, BusySpin, an event poller, which takes all that is there",
    ),
    (
        "crossbeam",
        "ArrayQueue::new, or channel::bounded; calls that do not wait",
    ),
    (
        "kanal drain_into",
        "bounded; try_send one by one, all that is there moved to a vector at once",
    ),
    ("kanal", "bounded; calls that do not wait"),
    ("std", "mpsc::sync_channel; try_send, try_recv"),
];
