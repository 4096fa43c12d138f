//! omango.

use super::{CAPACITY, Item, Receive1, Ring, Send1};

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

shared!(
    OmangoMpmc,
    omango::queue::mpmc::BSender<T>,
    omango::queue::mpmc::BReceiver<T>,
    omango::queue::mpmc::bounded(CAPACITY as u32),
    |ring, item| ring.try_send(item).is_ok(),
    |ring| ring.try_recv().ok()
);
