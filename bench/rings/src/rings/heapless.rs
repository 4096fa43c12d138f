//! heapless.

use super::{CAPACITY, Item, Receive1, Ring, Send1};

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
