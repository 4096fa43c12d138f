//! Ours, in each of their uses.

use trunkline_ring::{mpmc, mpsc, spsc};

use super::{CAPACITY, Item, Receive1, Ring, Send1};

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

/// One of our rings, received in another way.
macro_rules! received {
    ($(#[$what:meta])* $kind:ident, $receiver:ident, $ring:ty) => {
        $(#[$what])*
        pub struct $kind;
        pub struct $receiver<T: Item>(<$ring as Ring<T>>::Receiver);
        impl<T: Item> Ring<T> for $kind {
            type Sender = <$ring as Ring<T>>::Sender;
            type Receiver = $receiver<T>;
            fn make() -> (Self::Sender, Self::Receiver) {
                let (sender, receiver) = <$ring>::make();
                (sender, $receiver(receiver))
            }
        }
    };
}

received!(
    /// Through a local array.
    OursCopied, Copied, OursFixed
);
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

received!(
    /// Each item read where it lies.
    OursInPlace, InPlace, OursFixed
);
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

received!(
    /// All that is there taken at once, as the disruptor's poller does.
    OursDrained, Drained, OursFixed
);
impl<T: Item> Receive1<T> for Drained<T> {
    #[inline(always)]
    fn try_receive(&mut self, take: impl FnMut(&T)) -> usize {
        self.0.receive_some(usize::MAX, take)
    }
    #[inline(always)]
    fn receive_some(&mut self, _max: usize, take: impl FnMut(&T)) -> usize {
        self.try_receive(take)
    }
}

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
    #[inline(always)]
    fn send_some(&mut self, items: &[T]) -> usize {
        self.push_slice(items)
    }
}
impl<T: Item> Receive1<T> for mpsc::Consumer<T> {
    #[inline(always)]
    fn try_receive(&mut self, mut take: impl FnMut(&T)) -> usize {
        self.pop().map(|item| take(&item)).is_some().into()
    }
    #[inline(always)]
    fn receive_some(&mut self, max: usize, mut take: impl FnMut(&T)) -> usize {
        self.pop_each(max, |item| take(&item))
    }
}

received!(
    /// Each item read where it lies.
    OursMpscChunks, Chunks, OursMpsc
);
impl<T: Item> Receive1<T> for Chunks<T> {
    #[inline(always)]
    fn try_receive(&mut self, take: impl FnMut(&T)) -> usize {
        self.receive_some(1, take)
    }
    #[inline(always)]
    fn receive_some(&mut self, max: usize, mut take: impl FnMut(&T)) -> usize {
        let (front, back) = self.0.chunk(max);
        let count = front.len() + back.len();
        front.iter().chain(back).for_each(&mut take);
        self.0.release(count);
        count
    }
}

shared!(
    OursMpmc,
    mpmc::Producer<T>,
    mpmc::Consumer<T>,
    mpmc::channel(CAPACITY).expect("memory"),
    |ring, item| ring.push(item).is_ok(),
    |ring| ring.pop()
);
