//! disruptor, polled.

use disruptor::{
    EventPoller, MultiProducer, MultiProducerBarrier, Producer, SingleConsumerBarrier,
    SingleProducer, SingleProducerBarrier,
};

use super::{CAPACITY, Item, Receive1, Ring, Send1};

/// The poller hands out all that is there: that is its normal use.
pub struct Disruptor;
#[derive(Clone)]
pub struct DisruptorSender<P>(P);
pub struct DisruptorReceiver<T, B>(EventPoller<T, B>);
impl<T: Item> Ring<T> for Disruptor {
    type Sender = DisruptorSender<SingleProducer<T, SingleConsumerBarrier>>;
    type Receiver = DisruptorReceiver<T, SingleProducerBarrier>;
    fn make() -> (Self::Sender, Self::Receiver) {
        let builder = disruptor::build_single_producer(CAPACITY, T::default, disruptor::BusySpin);
        let (poller, builder) = builder.new_event_poller();
        (DisruptorSender(builder.build()), DisruptorReceiver(poller))
    }
}

pub struct DisruptorMulti;
impl<T: Item> Ring<T> for DisruptorMulti {
    type Sender = DisruptorSender<MultiProducer<T, SingleConsumerBarrier>>;
    type Receiver = DisruptorReceiver<T, MultiProducerBarrier>;
    fn make() -> (Self::Sender, Self::Receiver) {
        let builder = disruptor::build_multi_producer(CAPACITY, T::default, disruptor::BusySpin);
        let (poller, builder) = builder.new_event_poller();
        (DisruptorSender(builder.build()), DisruptorReceiver(poller))
    }
}
impl<T: Item, P: Producer<T> + Send + 'static> Send1<T> for DisruptorSender<P> {
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
/// The trait that both kinds of barrier have is private.
macro_rules! polled {
    ($barrier:ty) => {
        impl<T: Item> Receive1<T> for DisruptorReceiver<T, $barrier> {
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
    };
}
polled!(SingleProducerBarrier);
polled!(MultiProducerBarrier);
