use loom::thread;
use trunkline_ring::spsc::{self, RingBuffer};

#[test]
fn elements_cross_whole_and_in_order() {
    crate::check(3, || {
        let (mut producer, mut consumer) = RingBuffer::<Box<u64>, 2>::channel();
        let pusher = thread::spawn(move || {
            let mut next = 0;
            while next < 3 {
                match producer.push(Box::new(next)) {
                    Ok(()) => next += 1,
                    Err(_) => thread::yield_now(),
                }
            }
        });
        let mut expected = 0;
        while expected < 3 {
            match consumer.pop() {
                Some(value) => {
                    assert_eq!(*value, expected);
                    expected += 1;
                }
                None => thread::yield_now(),
            }
        }
        pusher.join().unwrap();
        assert!(consumer.pop().is_none());
    });
}

#[test]
fn batches_cross_whole_and_in_order() {
    crate::check(2, || {
        let (mut producer, mut consumer) = spsc::channel::<u64>(2).unwrap();
        let pusher = thread::spawn(move || {
            let mut pushed = 0;
            while pushed < 4 {
                let some = producer.push_slice(&[0, 1, 2, 3][pushed..]);
                pushed += some;
                if some == 0 {
                    thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while expected < 4 {
            let mut out = [0; 3];
            let some = consumer.pop_into(&mut out);
            for &value in &out[..some] {
                assert_eq!(value, expected);
                expected += 1;
            }
            if some == 0 {
                thread::yield_now();
            }
        }
        pusher.join().unwrap();
    });
}

#[test]
fn who_sees_that_the_producer_is_gone_sees_all_that_it_pushed() {
    crate::check(3, || {
        let (mut producer, mut consumer) = RingBuffer::<Box<u64>, 4>::channel();
        let pusher = thread::spawn(move || {
            producer.push(Box::new(1)).unwrap();
            producer.push(Box::new(2)).unwrap();
        });
        let mut popped = 0;
        loop {
            let finished = consumer.is_abandoned();
            popped += consumer.pop_each(4, drop);
            if finished {
                break;
            }
            thread::yield_now();
        }
        assert_eq!(popped, 2);
        pusher.join().unwrap();
    });
}

#[test]
fn the_last_half_drops_what_is_left() {
    crate::check(3, || {
        let left = loom::sync::Arc::new(());
        let (mut producer, mut consumer) = spsc::channel(2).unwrap();
        let element = left.clone();
        let pusher = thread::spawn(move || {
            producer.push(element.clone()).unwrap();
            producer.push(element).unwrap();
        });
        drop(consumer.pop());
        drop(consumer);
        pusher.join().unwrap();
        assert_eq!(loom::sync::Arc::strong_count(&left), 1);
    });
}
