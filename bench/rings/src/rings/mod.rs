//! All rings behind one face, a file for each peer. Each does what the ring's documentation shows.

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

mod crossbeam;
mod disruptor;
mod heapless;
mod kanal;
mod omango;
mod ours;
mod ringbuf;
mod rtrb;
mod standard;

pub use crossbeam::*;
pub use disruptor::*;
pub use heapless::*;
pub use kanal::*;
pub use omango::*;
pub use ours::*;
pub use ringbuf::*;
pub use rtrb::*;
pub use standard::*;

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
        std::array::from_fn(|word| number.wrapping_add(word as u64))
    }

    #[inline(always)]
    fn check(&self) -> u64 {
        // All words at once, and one branch.
        let of_first = Self::number(self[0]);
        let wrong = (0..8).fold(0, |wrong, word| wrong | (self[word] ^ of_first[word]));
        assert_eq!(wrong, 0, "a torn item");
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
