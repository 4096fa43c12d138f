//! rtrb.

use super::{CAPACITY, Item, Receive1, Ring, Send1};

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
