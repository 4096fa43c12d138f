use loom::thread;
use trunkline_ring::{mpmc, mpsc};

#[test]
fn two_producers_reach_one_consumer_whole() {
    crate::check(2, || {
        let (producer, mut consumer) = mpsc::channel::<Box<u32>>(2).unwrap();
        let pushers: Vec<_> = (0..2)
            .map(|thread| {
                let mut producer = producer.clone();
                thread::spawn(move || producer.push(Box::new(thread)).is_ok())
            })
            .collect();
        let mut sum = 0;
        for _ in 0..2 {
            sum += loop {
                match consumer.pop() {
                    Some(value) => break *value,
                    None => thread::yield_now(),
                }
            };
        }
        assert_eq!(sum, 1);
        assert!(consumer.pop().is_none());
        assert!(pushers.into_iter().all(|pusher| pusher.join().unwrap()));
    });
}

#[test]
fn batches_of_two_producers_come_whole() {
    crate::check(2, || {
        let (producer, mut consumer) = mpsc::channel::<u32>(4).unwrap();
        let pushers: Vec<_> = (0..2)
            .map(|thread| {
                let mut producer = producer.clone();
                thread::spawn(move || producer.push_slice(&[2 * thread, 2 * thread + 1]))
            })
            .collect();
        let mut popped = Vec::new();
        while popped.len() < 4 {
            if consumer.pop_each(3, |value| popped.push(value)) == 0 {
                thread::yield_now();
            }
        }
        let in_order = [[0, 1, 2, 3], [2, 3, 0, 1]];
        assert!(in_order.iter().any(|order| popped == order), "{popped:?}");
        assert!(
            pushers
                .into_iter()
                .all(|pusher| pusher.join().unwrap() == 2)
        );
    });
}

#[test]
fn a_stamp_of_the_last_lap_hands_nothing_over() {
    crate::check(3, || {
        let (mut producer, mut consumer) = mpsc::channel::<u32>(2).unwrap();
        assert_eq!(producer.push_slice(&[0, 1]), 2);
        let pusher = thread::spawn(move || {
            let mut next = 2;
            while next < 5 {
                next += producer.push_slice(&[2, 3, 4][next - 2..]);
                thread::yield_now();
            }
        });
        let mut expected = 0;
        while expected < 5 {
            match consumer.pop() {
                Some(value) => {
                    assert_eq!(value, expected);
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
fn a_full_ring_of_one_is_reused_only_when_released() {
    crate::check(3, || {
        let (mut producer, mut consumer) = mpsc::channel::<Box<u32>>(1).unwrap();
        let pusher = thread::spawn(move || {
            let mut pushed = 0;
            for value in 0..2 {
                pushed += u32::from(producer.push(Box::new(value)).is_ok());
            }
            pushed
        });
        let mut popped = u32::from(consumer.pop().is_some());
        let pushed = pusher.join().unwrap();
        while consumer.pop().is_some() {
            popped += 1;
        }
        assert_eq!(popped, pushed);
    });
}

#[test]
fn each_of_two_consumers_gets_what_the_other_does_not() {
    crate::check(2, || {
        let (producer, consumer) = mpmc::channel::<Box<u32>>(2).unwrap();
        let other = consumer.clone();
        let popper = thread::spawn(move || other.pop().map_or(0, |value| *value));
        let second = producer.clone();
        let pusher = thread::spawn(move || second.push(Box::new(2)).is_ok());
        assert!(producer.push(Box::new(1)).is_ok());
        let mut sum = popper.join().unwrap();
        assert!(pusher.join().unwrap());
        while let Some(value) = consumer.pop() {
            sum += *value;
        }
        assert_eq!(sum, 3);
    });
}

#[test]
fn a_slot_is_written_again_only_after_it_was_read() {
    crate::check(2, || {
        let (producer, consumer) = mpmc::channel::<Box<u32>>(2).unwrap();
        assert!(producer.push(Box::new(0)).is_ok());
        assert!(producer.push(Box::new(1)).is_ok());
        let pusher = thread::spawn(move || producer.push(Box::new(2)).is_ok());
        assert_eq!(consumer.pop().map(|value| *value), Some(0));
        let pushed = pusher.join().unwrap();
        assert_eq!(consumer.pop().map(|value| *value), Some(1));
        assert_eq!(consumer.pop().is_some(), pushed);
    });
}
