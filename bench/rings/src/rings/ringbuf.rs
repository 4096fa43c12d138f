//! ringbuf.

use ringbuf::traits::{Consumer as _, Producer as _, Split as _};

use super::{CAPACITY, Item, Receive1, Ring, Send1};

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
