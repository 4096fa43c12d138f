//! All rings behind one face. Each implementation does what the ring's documentation shows.

use std::sync::Arc;

use disruptor::{
    EventPoller, Producer as _, SingleConsumerBarrier, SingleProducer, SingleProducerBarrier,
};
use ringbuf::traits::{Consumer as _, Producer as _, Split as _};
use trunkline_ring::{mpmc, mpsc, spsc};

/// What is sent: numbered, so that loss, repetition and disorder show.
pub trait Item: Copy + Send + Sync + Default + 'static {
    fn number(number: u64) -> Self;
    /// The number, checked against the rest of the item.
    fn check(&self) -> u64;
}

impl Item for u64 {
    #[inline(always)]
    fn number(number: u64) -> Self {
        number
    }

    #[inline(always)]
    fn check(&self) -> u64 {
        *self
    }
}

/// 64 bytes, as large as a cache line.
pub type Line = [u64; 8];

impl Item for Line {
    #[inline(always)]
    fn number(number: u64) -> Self {
        [number, 1, 2, 3, 4, 5, 6, !number]
    }

    #[inline(always)]
    fn check(&self) -> u64 {
        assert_eq!(self[0], !self[7], "a torn item");
        self[0]
    }
}

pub const CAPACITY: usize = 1024;

pub trait Send1<T>: Send + 'static {
    fn try_send(&mut self, item: T) -> bool;
    /// Sends some of `items`, in one batch where the ring has batches.
    fn send_some(&mut self, items: &[T]) -> usize
    where
        T: Copy,
    {
        items
            .iter()
            .take_while(|item| self.try_send(**item))
            .count()
    }
}

pub trait Receive1<T>: Send + 'static {
    /// Receives one, or as many as the ring hands out in its normal use.
    fn try_receive(&mut self, take: impl FnMut(&T)) -> usize;
    /// Receives up to `max` in one batch where the ring has batches.
    fn receive_some(&mut self, max: usize, mut take: impl FnMut(&T)) -> usize {
        let mut count = 0;
        while count < max && self.try_receive(&mut take) > 0 {
            count += 1;
        }
        count
    }
}

/// A kind of ring, to be made anew for each sample.
pub trait Ring<T: Item>: 'static {
    type Sender: Send1<T>;
    type Receiver: Receive1<T>;
    fn make() -> (Self::Sender, Self::Receiver);
}

pub struct OursFixed;
impl<T: Item> Ring<T> for OursFixed {
    type Sender = spsc::Producer<'static, T, spsc::Fixed<CAPACITY>>;
    type Receiver = spsc::Consumer<'static, T, spsc::Fixed<CAPACITY>>;
    fn make() -> (Self::Sender, Self::Receiver) {
        spsc::RingBuffer::<T, CAPACITY>::channel()
    }
}

pub struct OursDynamic;
impl<T: Item> Ring<T> for OursDynamic {
    type Sender = spsc::Producer<'static, T, spsc::Dynamic>;
    type Receiver = spsc::Consumer<'static, T, spsc::Dynamic>;
    fn make() -> (Self::Sender, Self::Receiver) {
        spsc::channel(CAPACITY).expect("memory")
    }
}

impl<T: Item, C: trunkline_ring::Capacity + 'static> Send1<T> for spsc::Producer<'static, T, C> {
    #[inline(always)]
    fn try_send(&mut self, item: T) -> bool {
        self.push(item).is_ok()
    }
    #[inline(always)]
    fn send_some(&mut self, items: &[T]) -> usize {
        self.push_slice(items)
    }
}

impl<T: Item, C: trunkline_ring::Capacity + 'static> Receive1<T> for spsc::Consumer<'static, T, C> {
    #[inline(always)]
    fn try_receive(&mut self, mut take: impl FnMut(&T)) -> usize {
        self.pop().map(|item| take(&item)).is_some().into()
    }
    #[inline(always)]
    fn receive_some(&mut self, max: usize, mut take: impl FnMut(&T)) -> usize {
        let (front, back) = self.chunk(max);
        let count = front.len() + back.len();
        front.iter().chain(back).for_each(&mut take);
        self.release(count);
        count
    }
}

/// Our ring, received through a local array.
pub struct OursCopied;
pub struct Copied<T: Item>(spsc::Consumer<'static, T, spsc::Fixed<CAPACITY>>);
impl<T: Item> Ring<T> for OursCopied {
    type Sender = spsc::Producer<'static, T, spsc::Fixed<CAPACITY>>;
    type Receiver = Copied<T>;
    fn make() -> (Self::Sender, Self::Receiver) {
        let (sender, receiver) = spsc::RingBuffer::<T, CAPACITY>::channel();
        (sender, Copied(receiver))
    }
}
impl<T: Item> Receive1<T> for Copied<T> {
    #[inline(always)]
    fn try_receive(&mut self, mut take: impl FnMut(&T)) -> usize {
        self.0.pop().map(|item| take(&item)).is_some().into()
    }
    #[inline(always)]
    fn receive_some(&mut self, max: usize, mut take: impl FnMut(&T)) -> usize {
        let mut out = [T::default(); 64];
        let count = self.0.pop_into(&mut out[..max]);
        out[..count].iter().for_each(&mut take);
        count
    }
}

pub struct Rtrb;
impl<T: Item> Ring<T> for Rtrb {
    type Sender = rtrb::Producer<T>;
    type Receiver = rtrb::Consumer<T>;
    fn make() -> (Self::Sender, Self::Receiver) {
        rtrb::RingBuffer::new(CAPACITY)
    }
}
impl<T: Item> Send1<T> for rtrb::Producer<T> {
    #[inline(always)]
    fn try_send(&mut self, item: T) -> bool {
        self.push(item).is_ok()
    }
    #[inline(always)]
    fn send_some(&mut self, items: &[T]) -> usize {
        self.push_partial_slice(items).0.len()
    }
}
impl<T: Item> Receive1<T> for rtrb::Consumer<T> {
    #[inline(always)]
    fn try_receive(&mut self, mut take: impl FnMut(&T)) -> usize {
        self.pop().map(|item| take(&item)).is_ok().into()
    }
    #[inline(always)]
    fn receive_some(&mut self, max: usize, mut take: impl FnMut(&T)) -> usize {
        let count = self.slots().min(max);
        let chunk = self.read_chunk(count).expect("so many slots are ready");
        let (front, back) = chunk.as_slices();
        front.iter().chain(back).for_each(&mut take);
        chunk.commit_all();
        count
    }
}

/// rtrb with chunks on the sending side too, and a local array on the receiving.
pub struct RtrbChunks;
pub struct RtrbChunkSender<T>(rtrb::Producer<T>);
pub struct RtrbCopyReceiver<T>(rtrb::Consumer<T>);
impl<T: Item> Ring<T> for RtrbChunks {
    type Sender = RtrbChunkSender<T>;
    type Receiver = RtrbCopyReceiver<T>;
    fn make() -> (Self::Sender, Self::Receiver) {
        let (sender, receiver) = rtrb::RingBuffer::new(CAPACITY);
        (RtrbChunkSender(sender), RtrbCopyReceiver(receiver))
    }
}
impl<T: Item> Send1<T> for RtrbChunkSender<T> {
    fn try_send(&mut self, item: T) -> bool {
        self.0.push(item).is_ok()
    }
    #[inline(always)]
    fn send_some(&mut self, items: &[T]) -> usize {
        match self.0.write_chunk_uninit(items.len()) {
            Ok(chunk) => chunk.fill_from_iter(items.iter().copied()),
            Err(_) => 0,
        }
    }
}
impl<T: Item> Receive1<T> for RtrbCopyReceiver<T> {
    fn try_receive(&mut self, mut take: impl FnMut(&T)) -> usize {
        self.0.pop().map(|item| take(&item)).is_ok().into()
    }
    #[inline(always)]
    fn receive_some(&mut self, max: usize, mut take: impl FnMut(&T)) -> usize {
        let mut out = [T::default(); 64];
        let count = self.0.pop_partial_slice(&mut out[..max]).0.len();
        out[..count].iter().for_each(&mut take);
        count
    }
}

pub struct Ringbuf;
impl<T: Item> Ring<T> for Ringbuf {
    type Sender = ringbuf::HeapProd<T>;
    type Receiver = ringbuf::HeapCons<T>;
    fn make() -> (Self::Sender, Self::Receiver) {
        ringbuf::HeapRb::new(CAPACITY).split()
    }
}
impl<T: Item> Send1<T> for ringbuf::HeapProd<T> {
    #[inline(always)]
    fn try_send(&mut self, item: T) -> bool {
        self.try_push(item).is_ok()
    }
    #[inline(always)]
    fn send_some(&mut self, items: &[T]) -> usize {
        self.push_slice(items)
    }
}
impl<T: Item> Receive1<T> for ringbuf::HeapCons<T> {
    #[inline(always)]
    fn try_receive(&mut self, mut take: impl FnMut(&T)) -> usize {
        self.try_pop().map(|item| take(&item)).is_some().into()
    }
    #[inline(always)]
    fn receive_some(&mut self, max: usize, mut take: impl FnMut(&T)) -> usize {
        let mut out = [T::default(); 64];
        let count = self.pop_slice(&mut out[..max]);
        out[..count].iter().for_each(&mut take);
        count
    }
}

pub struct Heapless;
impl<T: Item> Ring<T> for Heapless {
    type Sender = heapless::spsc::Producer<'static, T>;
    type Receiver = heapless::spsc::Consumer<'static, T>;
    fn make() -> (Self::Sender, Self::Receiver) {
        // The queue outlives its halves: some hundred kilobytes a run.
        Box::leak(Box::new(heapless::spsc::Queue::<T, CAPACITY>::new())).split()
    }
}
impl<T: Item> Send1<T> for heapless::spsc::Producer<'static, T> {
    #[inline(always)]
    fn try_send(&mut self, item: T) -> bool {
        self.enqueue(item).is_ok()
    }
}
impl<T: Item> Receive1<T> for heapless::spsc::Consumer<'static, T> {
    #[inline(always)]
    fn try_receive(&mut self, mut take: impl FnMut(&T)) -> usize {
        self.dequeue().map(|item| take(&item)).is_some().into()
    }
}

pub struct OmangoSpsc;
impl<T: Item> Ring<T> for OmangoSpsc {
    type Sender = omango::queue::spsc::BSender<T>;
    type Receiver = omango::queue::spsc::BReceiver<T>;
    fn make() -> (Self::Sender, Self::Receiver) {
        omango::queue::spsc::bounded(CAPACITY as u32)
    }
}
impl<T: Item> Send1<T> for omango::queue::spsc::BSender<T> {
    #[inline(always)]
    fn try_send(&mut self, item: T) -> bool {
        omango::queue::spsc::BSender::try_send(self, item).is_ok()
    }
}
impl<T: Item> Receive1<T> for omango::queue::spsc::BReceiver<T> {
    #[inline(always)]
    fn try_receive(&mut self, mut take: impl FnMut(&T)) -> usize {
        self.try_recv().map(|item| take(&item)).is_ok().into()
    }
}

/// The poller hands out all that is there: that is its normal use.
pub struct Disruptor;
pub struct DisruptorSender<T>(SingleProducer<T, SingleConsumerBarrier>);
pub struct DisruptorReceiver<T>(EventPoller<T, SingleProducerBarrier>);
impl<T: Item> Ring<T> for Disruptor {
    type Sender = DisruptorSender<T>;
    type Receiver = DisruptorReceiver<T>;
    fn make() -> (Self::Sender, Self::Receiver) {
        let builder = disruptor::build_single_producer(CAPACITY, T::default, disruptor::BusySpin);
        let (poller, builder) = builder.new_event_poller();
        (DisruptorSender(builder.build()), DisruptorReceiver(poller))
    }
}
impl<T: Item> Send1<T> for DisruptorSender<T> {
    #[inline(always)]
    fn try_send(&mut self, item: T) -> bool {
        self.0.try_publish(|slot| *slot = item).is_ok()
    }
    #[inline(always)]
    fn send_some(&mut self, items: &[T]) -> usize {
        let sent = self.0.try_batch_publish(items.len(), |slots| {
            for (slot, item) in slots.zip(items) {
                *slot = *item;
            }
        });
        if sent.is_ok() { items.len() } else { 0 }
    }
}
impl<T: Item> Receive1<T> for DisruptorReceiver<T> {
    #[inline(always)]
    fn try_receive(&mut self, mut take: impl FnMut(&T)) -> usize {
        match self.0.poll() {
            Ok(mut events) => {
                let events = &mut events;
                let count = events.len();
                events.for_each(&mut take);
                count
            }
            Err(_) => 0,
        }
    }
    #[inline(always)]
    fn receive_some(&mut self, _max: usize, take: impl FnMut(&T)) -> usize {
        self.try_receive(take)
    }
}

/// Senders and receivers that are one shared value: queues for many threads.
macro_rules! shared {
    ($kind:ident, $sender:ty, $receiver:ty, $make:expr, $send:expr, $receive:expr) => {
        pub struct $kind;
        const _: () = {
            #[derive(Clone)]
            pub struct Sender<T: Item>($sender);
            #[derive(Clone)]
            pub struct Receiver<T: Item>($receiver);
            impl<T: Item> Ring<T> for $kind {
                type Sender = Sender<T>;
                type Receiver = Receiver<T>;
                fn make() -> (Sender<T>, Receiver<T>) {
                    let (sender, receiver) = $make;
                    (Sender(sender), Receiver(receiver))
                }
            }
            impl<T: Item> Send1<T> for Sender<T> {
                #[inline(always)]
                fn try_send(&mut self, item: T) -> bool {
                    let send: fn(&mut $sender, T) -> bool = $send;
                    send(&mut self.0, item)
                }
            }
            impl<T: Item> Receive1<T> for Receiver<T> {
                #[inline(always)]
                fn try_receive(&mut self, mut take: impl FnMut(&T)) -> usize {
                    let receive: fn(&mut $receiver) -> Option<T> = $receive;
                    receive(&mut self.0)
                        .map(|item| take(&item))
                        .is_some()
                        .into()
                }
            }
        };
    };
}

shared!(
    OursMpmc,
    mpmc::Producer<T>,
    mpmc::Consumer<T>,
    mpmc::channel(CAPACITY).expect("memory"),
    |ring, item| ring.push(item).is_ok(),
    |ring| ring.pop()
);
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
shared!(
    Kanal,
    kanal::Sender<T>,
    kanal::Receiver<T>,
    kanal::bounded(CAPACITY),
    |ring, item| ring.try_send(item) == Ok(true),
    |ring| ring.try_recv().ok().flatten()
);
shared!(
    OmangoMpmc,
    omango::queue::mpmc::BSender<T>,
    omango::queue::mpmc::BReceiver<T>,
    omango::queue::mpmc::bounded(CAPACITY as u32),
    |ring, item| ring.try_send(item).is_ok(),
    |ring| ring.try_recv().ok()
);

pub struct OursMpsc;
impl<T: Item> Ring<T> for OursMpsc {
    type Sender = mpsc::Producer<T>;
    type Receiver = mpsc::Consumer<T>;
    fn make() -> (Self::Sender, Self::Receiver) {
        mpsc::channel(CAPACITY).expect("memory")
    }
}
impl<T: Item> Send1<T> for mpsc::Producer<T> {
    #[inline(always)]
    fn try_send(&mut self, item: T) -> bool {
        self.push(item).is_ok()
    }
}
impl<T: Item> Receive1<T> for mpsc::Consumer<T> {
    #[inline(always)]
    fn try_receive(&mut self, mut take: impl FnMut(&T)) -> usize {
        self.pop().map(|item| take(&item)).is_some().into()
    }
}

pub struct Std;
impl<T: Item> Ring<T> for Std {
    type Sender = std::sync::mpsc::SyncSender<T>;
    type Receiver = std::sync::mpsc::Receiver<T>;
    fn make() -> (Self::Sender, Self::Receiver) {
        std::sync::mpsc::sync_channel(CAPACITY)
    }
}
impl<T: Item> Send1<T> for std::sync::mpsc::SyncSender<T> {
    #[inline(always)]
    fn try_send(&mut self, item: T) -> bool {
        std::sync::mpsc::SyncSender::try_send(self, item).is_ok()
    }
}
impl<T: Item> Receive1<T> for std::sync::mpsc::Receiver<T> {
    #[inline(always)]
    fn try_receive(&mut self, mut take: impl FnMut(&T)) -> usize {
        self.try_recv().map(|item| take(&item)).is_ok().into()
    }
}

/// Our ring, each item read where it lies.
pub struct OursInPlace;
pub struct InPlace<T: Item>(spsc::Consumer<'static, T, spsc::Fixed<CAPACITY>>);
impl<T: Item> Ring<T> for OursInPlace {
    type Sender = spsc::Producer<'static, T, spsc::Fixed<CAPACITY>>;
    type Receiver = InPlace<T>;
    fn make() -> (Self::Sender, Self::Receiver) {
        let (sender, receiver) = spsc::RingBuffer::<T, CAPACITY>::channel();
        (sender, InPlace(receiver))
    }
}
impl<T: Item> Receive1<T> for InPlace<T> {
    #[inline(always)]
    fn try_receive(&mut self, mut take: impl FnMut(&T)) -> usize {
        match self.0.peek() {
            Some(item) => {
                take(item);
                self.0.release(1);
                1
            }
            None => 0,
        }
    }
}

/// Our ring, all that is there taken at once, as the disruptor's poller does.
pub struct OursDrained;
pub struct Drained<T: Item>(spsc::Consumer<'static, T, spsc::Fixed<CAPACITY>>);
impl<T: Item> Ring<T> for OursDrained {
    type Sender = spsc::Producer<'static, T, spsc::Fixed<CAPACITY>>;
    type Receiver = Drained<T>;
    fn make() -> (Self::Sender, Self::Receiver) {
        let (sender, receiver) = spsc::RingBuffer::<T, CAPACITY>::channel();
        (sender, Drained(receiver))
    }
}
impl<T: Item> Receive1<T> for Drained<T> {
    #[inline(always)]
    fn try_receive(&mut self, take: impl FnMut(&T)) -> usize {
        self.0.receive_some(usize::MAX, take)
    }
}
