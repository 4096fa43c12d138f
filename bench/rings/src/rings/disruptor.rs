//! disruptor, polled.

use disruptor::{
    EventPoller, Producer as _, SingleConsumerBarrier, SingleProducer, SingleProducerBarrier,
};

use super::{CAPACITY, Item, Receive1, Ring, Send1};

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
