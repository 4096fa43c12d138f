//! The standard library's channel.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::{CAPACITY, Item, Receive1, Ring, Send1};

pub struct Std;
impl<T: Item> Ring<T> for Std {
    type Sender = SyncSender<T>;
    type Receiver = Receiver<T>;
    fn make() -> (Self::Sender, Self::Receiver) {
        sync_channel(CAPACITY)
    }
}
impl<T: Item> Send1<T> for SyncSender<T> {
    #[inline(always)]
    fn try_send(&mut self, item: T) -> bool {
        SyncSender::try_send(self, item).is_ok()
    }
}
impl<T: Item> Receive1<T> for Receiver<T> {
    #[inline(always)]
    fn try_receive(&mut self, mut take: impl FnMut(&T)) -> usize {
        self.try_recv().map(|item| take(&item)).is_ok().into()
    }
}
