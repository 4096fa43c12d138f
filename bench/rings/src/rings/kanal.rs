//! kanal.

use super::{CAPACITY, Item, Receive1, Ring, Send1};

shared!(
    Kanal,
    kanal::Sender<T>,
    kanal::Receiver<T>,
    kanal::bounded(CAPACITY),
    |ring, item| ring.try_send(item) == Ok(true),
    |ring| ring.try_recv().ok().flatten()
);

/// All that is there is moved to a local vector at once.
pub struct KanalDrained;
#[derive(Clone)]
pub struct KanalSender<T>(kanal::Sender<T>);
pub struct KanalDrain<T> {
    channel: kanal::Receiver<T>,
    drained: Vec<T>,
}
impl<T: Item> Ring<T> for KanalDrained {
    type Sender = KanalSender<T>;
    type Receiver = KanalDrain<T>;
    fn make() -> (Self::Sender, Self::Receiver) {
        let (sender, channel) = kanal::bounded(CAPACITY);
        let drained = Vec::with_capacity(CAPACITY);
        (KanalSender(sender), KanalDrain { channel, drained })
    }
}
impl<T: Item> Send1<T> for KanalSender<T> {
    #[inline(always)]
    fn try_send(&mut self, item: T) -> bool {
        self.0.try_send(item) == Ok(true)
    }
}
impl<T: Item> Receive1<T> for KanalDrain<T> {
    #[inline(always)]
    fn try_receive(&mut self, take: impl FnMut(&T)) -> usize {
        let count = self.channel.drain_into(&mut self.drained).unwrap_or(0);
        self.drained.iter().for_each(take);
        self.drained.clear();
        count
    }
    #[inline(always)]
    fn receive_some(&mut self, _max: usize, take: impl FnMut(&T)) -> usize {
        self.try_receive(take)
    }
}
