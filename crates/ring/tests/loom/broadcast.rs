use loom::thread;
use trunkline_ring::broadcast::{self, Received};

#[test]
fn a_receiver_sees_whole_values_in_order_or_how_many_it_lost() {
    crate::check(2, || {
        let (mut sender, mut receiver) = broadcast::channel::<[u64; 2]>(2).unwrap();
        let sending = thread::spawn(move || {
            for number in 0..3 {
                sender.send([number, !number]);
            }
        });
        let mut next = 0;
        for _ in 0..3 {
            match receiver.receive() {
                Received::Value(value) => {
                    assert_eq!(value, [next, !next]);
                    next += 1;
                }
                Received::Lost(lost) => {
                    assert!(lost > 0);
                    next += lost;
                    assert!(next <= 3);
                }
                Received::Empty => {}
            }
        }
        sending.join().unwrap();
        loop {
            match receiver.receive() {
                Received::Value(value) => {
                    assert_eq!(value, [next, !next]);
                    next += 1;
                }
                Received::Lost(lost) => next += lost,
                Received::Empty => break,
            }
        }
        assert_eq!(next, 3);
    });
}
