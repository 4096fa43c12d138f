use loom::thread;
use trunkline_ring::bytes;

// Frames of 2 KiB: two fill the ring, and none crosses its end, which has no mirror here.
const LEN: usize = 2048 - bytes::HEADER_BYTES;

#[test]
fn messages_cross_whole_and_in_order() {
    crate::check(3, || {
        let (mut producer, mut consumer) = bytes::channel(4096).unwrap();
        let pusher = thread::spawn(move || {
            let mut next = 0u8;
            while next < 3 {
                match producer.claim(LEN) {
                    Some(mut claim) => {
                        claim[0] = next;
                        claim.commit();
                        next += 1;
                    }
                    None => thread::yield_now(),
                }
            }
        });
        let mut expected = 0;
        while expected < 3 {
            let some = consumer.read(|message| {
                assert_eq!(message[0], expected);
                expected += 1;
            });
            if some == 0 {
                thread::yield_now();
            }
        }
        pusher.join().unwrap();
    });
}

#[test]
fn a_staged_batch_appears_at_once_or_not_at_all() {
    crate::check(3, || {
        let (mut producer, mut consumer) = bytes::channel(4096).unwrap();
        let pusher = thread::spawn(move || {
            for number in 0..2 {
                let mut claim = producer.claim(LEN).unwrap();
                claim[0] = number;
                claim.stage();
            }
            producer.publish();
        });
        let mut read = Vec::new();
        let count = consumer.read(|message| read.push(message[0]));
        assert!(count == 0 || read == [0, 1]);
        pusher.join().unwrap();
    });
}
