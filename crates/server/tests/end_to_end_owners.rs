//! Frames with records for streams of several workers: what is said of them is true, whichever worker has the connection.

mod support;

use std::time::{Duration, Instant};

use support::machine::inject_into;
use support::raw::{
    ACK, DELIVER, ERROR, EXPECTS_RESPONSE, PUBLISH, Raw, Refused, SUBSCRIBE, SUBSCRIBED, Said,
    data, definition, frame, payloads, subscribe,
};
use support::{ONE_STREAM, Server, with_workers};
use trunkline_client::{AckLevel, Client, Start, Subscription};

/// A server with two workers, and a stream of each.
struct TwoOwners {
    server: Server,
    /// A stream in memory and one in a file, of different workers: their numbers.
    memory: u64,
    file: u64,
}

/// Streams m0 to m3 in memory, f0 to f3 in files, which hash to both workers.
fn config() -> String {
    let streams: String = (0..4)
        .map(|at| {
            format!(
                "- {{name: m{at}, subjects: ['m{at}.>'], storage: memory, tail: 1MiB}}\n\
                 - {{name: f{at}, subjects: ['f{at}.>'], segment: 1MiB, tail: 1MiB}}\n"
            )
        })
        .collect();
    let limits = "limits: {max_record: 64KiB, subscriptions: 2000}";
    with_workers(2, &format!("{limits}\nstreams:\n{streams}"))
}

impl TwoOwners {
    fn start() -> Self {
        let server = Server::with(&config());
        let worker = |name: &str| server.stream(name)["worker"].as_u64().unwrap();
        let memory = 0;
        let of_memory = worker("m0");
        let file = (0..4).find(|at| worker(&format!("f{at}")) != of_memory);
        let file = file.expect("one of four names hashes to the other worker");
        Self {
            server,
            memory,
            file,
        }
    }

    fn memory_subject(&self) -> String {
        format!("m{}.x", self.memory)
    }

    fn file_subject(&self) -> String {
        format!("f{}.x", self.file)
    }

    /// The worker of the stream in memory.
    fn worker_of_memory(&self) -> u64 {
        self.worker(&format!("m{}", self.memory))
    }

    /// The worker of the stream in a file.
    fn worker_of_file(&self) -> u64 {
        self.worker(&format!("f{}", self.file))
    }

    fn worker(&self, stream: &str) -> u64 {
        self.server.stream(stream)["worker"].as_u64().unwrap()
    }

    /// How many records the stream in a file has.
    fn in_file(&self) -> u64 {
        self.server.stream(&format!("f{}", self.file))["last_sequence"]
            .as_u64()
            .unwrap()
    }

    /// Definitions of both subjects: 1 in memory, 2 in a file.
    fn names(&self) -> Vec<u8> {
        [
            definition(1, &self.memory_subject()),
            definition(2, &self.file_subject()),
        ]
        .concat()
    }
}

/// The flags of a frame that asks for this level.
const fn asks(level: u8) -> u8 {
    EXPECTS_RESPONSE | level << 6
}

const RECEIVED: u8 = 1;
const STORED: u8 = 2;
const SYNCED: u8 = 3;

#[test]
fn a_record_over_the_limit_is_refused_and_those_before_it_are_acknowledged_whoever_has_them() {
    let owners = TwoOwners::start();
    let long = vec![b'x'; 64 << 10];
    for worker in 0..2 {
        let mut raw = Raw::greeted_by(&owners.server.address, worker);
        raw.send(&frame(PUBLISH, EXPECTS_RESPONSE, 1, &owners.names()));
        assert_eq!(raw.ack().0, 1);
        // Of one worker, of the other, of both, of none.
        for (number, before) in (2..).zip([&[1][..], &[2], &[1, 2, 1], &[]]) {
            let mut records = Vec::new();
            for (sequence, subject) in (1..).zip(before) {
                records.extend(data(*subject, sequence, b"good"));
            }
            let good = before.len() as u64;
            records.extend(data(1, good + 1, &long));
            records.extend(data(2, good + 2, b"behind"));
            raw.send(&frame(PUBLISH, EXPECTS_RESPONSE, number, &records));
            if good > 0 {
                let (acked, count, _) = raw.ack();
                assert_eq!((acked, u64::from(count)), (number, good));
            }
            let refused = raw.refusal();
            assert_eq!(
                (refused.frame_sequence, refused.code, refused.count),
                (number, 10, 2),
                "{refused:?}"
            );
            assert_eq!(refused.producer_sequence, good + 1, "{refused:?}");
            // What comes next has its own answer, from either worker.
            for (number, subject) in [(100 + number, 1), (200 + number, 2)] {
                raw.publish(number, &data(subject, 1, b"next"));
            }
        }
    }
}

#[test]
fn an_ack_is_true_of_every_frame_that_it_answers() {
    let owners = TwoOwners::start();
    for worker in 0..2 {
        let mut raw = Raw::greeted_by(&owners.server.address, worker);
        raw.send(&frame(PUBLISH, EXPECTS_RESPONSE, 1, &owners.names()));
        assert_eq!(raw.ack().0, 1);
        // What each frame is to be acknowledged with: in memory, nothing is more than received; of both, the weakest counts.
        let mut levels = vec![0, 0];
        let mut frames = Vec::new();
        for number in 2..2002 {
            let sequence = u64::from(number);
            let (level, asked, records) = match number * 7 % 11 % 5 {
                0 => (RECEIVED, 0, data(1, sequence, b"memory")),
                1 => (SYNCED, SYNCED, data(2, sequence, b"file")),
                2 => (RECEIVED, RECEIVED, data(2, sequence, b"file")),
                3 => (STORED, STORED, data(2, sequence, b"file")),
                _ => {
                    let both = [data(2, sequence, b"file"), data(1, sequence, b"memory")];
                    (RECEIVED, 0, both.concat())
                }
            };
            levels.push(level);
            frames.extend(frame(PUBLISH, asks(asked), number, &records));
        }
        let last = levels.len() - 1;
        raw.send(&frames);
        let mut answered = 1;
        while answered < last {
            let Said::Ack { frame, level, .. } = raw.said() else {
                panic!("an Error after {answered}");
            };
            let frame = usize::from(frame);
            assert!(frame > answered, "{frame} after {answered}");
            let due = &levels[answered + 1..=frame];
            assert!(
                due.iter().all(|due| *due == level),
                "{due:?} from frame {} on are told {level} by the Ack of {frame}",
                answered + 1
            );
            answered = frame;
        }
    }
}

#[test]
fn what_the_worker_of_the_connection_refuses_is_refused_with_the_rest_of_the_frame() {
    let owners = TwoOwners::start();
    let mut raw = Raw::greeted_by(&owners.server.address, owners.worker_of_memory());
    let records = [
        owners.names(),
        definition(3, "nobody.x"),
        data(2, 1, b"taken"),
        data(1, 2, b"a stream in memory cannot store"),
        data(2, 3, b"behind"),
        data(2, 4, b"behind"),
    ]
    .concat();
    raw.send(&frame(PUBLISH, asks(STORED), 1, &records));
    assert_eq!(raw.ack(), (1, 1, 1));
    let refused = raw.refusal();
    assert_eq!(
        (refused.code, refused.producer_sequence, refused.count),
        (19, 2, 3),
        "{refused:?}"
    );
    assert_eq!(owners.in_file(), 1);
    // A subject of no stream is known as such by every worker.
    for worker in 0..2 {
        let mut raw = Raw::greeted_by(&owners.server.address, worker);
        raw.send(&frame(PUBLISH, EXPECTS_RESPONSE, 1, &owners.names()));
        assert_eq!(raw.ack().0, 1);
        let records = [
            definition(3, "nobody.x"),
            data(3, 1, b"nobody has that"),
            data(1, 2, b"behind"),
            data(2, 3, b"behind"),
        ]
        .concat();
        raw.send(&frame(PUBLISH, EXPECTS_RESPONSE, 2, &records));
        let refused = raw.refusal();
        assert_eq!(
            (refused.code, refused.producer_sequence, refused.count),
            (12, 1, 3),
            "{refused:?}"
        );
        raw.publish(3, &data(1, 4, b"goes on"));
    }
    assert_eq!(owners.in_file(), 1);
}

#[test]
fn what_another_worker_refuses_is_told_by_one_error_that_counts_it() {
    let owners = TwoOwners::start();
    let mut raw = Raw::greeted_by(&owners.server.address, owners.worker_of_file());
    let records = [
        owners.names(),
        data(2, 10, b"taken"),
        data(1, 11, b"a stream in memory cannot store"),
        data(2, 12, b"taken"),
        data(1, 13, b"nor this"),
        data(2, 14, b"taken"),
    ]
    .concat();
    raw.send(&frame(PUBLISH, asks(STORED), 1, &records));
    // There are four from the first refused one on: not all of them were refused.
    let refused = raw.refusal();
    assert_eq!(
        (refused.frame_sequence, refused.code, refused.closing),
        (1, 19, false),
        "{refused:?}"
    );
    assert_eq!(
        (refused.producer_sequence, refused.count),
        (11, 2),
        "{refused:?}"
    );
    let said = raw.said();
    let Said::Ack {
        frame: 1,
        level: STORED,
        count: 3,
        producer_sequence: 14,
    } = said
    else {
        panic!("{said:?}");
    };
    assert_eq!(owners.in_file(), 3);
    // One Error, one Ack, and no more.
    assert_eq!(raw.publish(2, &data(2, 15, b"goes on")), 4);
}

#[test]
fn what_a_client_is_told_to_be_refused_is_not_in_the_stream() {
    let owners = TwoOwners::start();
    let (file, memory) = (owners.file_subject(), owners.memory_subject());
    let patience = Duration::from_secs(20);
    let (mut refused, mut taken, mut told) = (0, 0, Vec::new());
    // Connections are dealt out as the kernel likes: some are here, some there.
    for client in 0..8 {
        let connection = Client::connect(&owners.server.address).unwrap();
        let publisher = connection.publisher_with(AckLevel::Stored);
        let mut receipts = Vec::new();
        for number in 0..400 {
            let payload = format!("{client}.{number}");
            let subject = if number % 2 == 0 { &file } else { &memory };
            let receipt = publisher.publish_acked(subject, payload.as_bytes());
            receipts.push((payload, number % 2 == 0, receipt.unwrap()));
        }
        for (payload, to_file, receipt) in receipts {
            match receipt.wait(patience) {
                Ok(_) => {
                    assert!(to_file, "{payload} is in memory and said to be stored");
                    taken += 1;
                    told.push((payload, true));
                }
                Err(error) if error.code().is_some() => {
                    refused += 1;
                    told.push((payload, false));
                }
                Err(_) => {}
            }
        }
    }
    assert!(refused > 0 && taken > 0, "{refused} refused, {taken} taken");
    let reader = Client::connect(&owners.server.address).unwrap();
    let subscription = Subscription::new(&file).start(Start::First);
    let mut subscriber = reader.subscribe(&subscription).unwrap();
    let mut stored = std::collections::HashSet::new();
    for _ in 0..owners.in_file() {
        let message = subscriber
            .next_timeout(patience)
            .unwrap()
            .expect("a record");
        let payload = String::from_utf8(message.payload().to_vec()).unwrap();
        assert!(stored.insert(payload));
    }
    for (payload, is_stored) in told {
        assert_eq!(stored.contains(&payload), is_stored, "{payload}");
    }
}

#[test]
fn names_of_subjects_are_no_part_of_a_frames_answer() {
    let owners = TwoOwners::start();
    for worker in 0..2 {
        let mut raw = Raw::greeted_by(&owners.server.address, worker);
        // The stream in memory cannot store; but nothing is asked of it.
        let records = [owners.names(), data(2, 1, b"stored")].concat();
        raw.send(&frame(PUBLISH, asks(STORED), 1, &records));
        let (acked, count, _) = raw.ack();
        assert_eq!((acked, count), (1, 1));
    }
}

#[test]
fn ids_of_subjects_may_be_any_numbers_and_keep_their_meaning() {
    let owners = TwoOwners::start();
    let (memory, file) = (owners.memory_subject(), owners.file_subject());
    for worker in 0..2 {
        for id in [0, 4095, 4096, u32::MAX] {
            let mut raw = Raw::greeted_by(&owners.server.address, worker);
            let other = id ^ 1;
            let records = [
                definition(id, &memory),
                definition(other, &file),
                data(id, 1, b"x"),
                data(other, 2, b"x"),
                // Said again it is fine.
                definition(id, &memory),
            ]
            .concat();
            raw.send(&frame(PUBLISH, EXPECTS_RESPONSE, 1, &records));
            let (acked, count, _) = raw.ack();
            assert_eq!((acked, count), (1, 2));
            let begin = raw.sent();
            let records = [data(id, 3, b"x"), definition(id, &file), data(id, 4, b"x")];
            raw.send(&frame(PUBLISH, EXPECTS_RESPONSE, 2, &records.concat()));
            let refused = raw.refusal_after_acks();
            let wrong = begin + 8 + records[0].len() as u64;
            assert_eq!(
                (refused.code, refused.offset, refused.closing),
                (5, wrong, true),
                "{refused:?}"
            );
            raw.expect_end();
        }
    }
}

#[test]
fn a_broken_record_is_told_with_its_place_whichever_worker_finds_it() {
    let owners = TwoOwners::start();
    for worker in 0..2 {
        for broken in [1, 2] {
            let mut raw = Raw::greeted_by(&owners.server.address, worker);
            raw.publish(
                1,
                &[owners.names(), data(1, 1, b"x"), data(2, 2, b"x")].concat(),
            );
            let begin = raw.sent();
            let mut wrong = data(broken, 5, b"payload.");
            wrong[41] ^= 1;
            let before = [
                data(broken, 3, b"good"),
                data(3 - broken, 4, b"good"),
                data(broken, 5, b"good"),
            ]
            .concat();
            let at = begin + 8 + before.len() as u64;
            let records = [before, wrong, data(broken, 6, b"behind")].concat();
            raw.send(&frame(PUBLISH, EXPECTS_RESPONSE, 2, &records));
            let refused = raw.refusal_after_acks();
            assert_eq!(
                (refused.code, refused.offset, refused.closing),
                (2, at, true),
                "{refused:?}"
            );
            raw.expect_end();
        }
    }
}

#[test]
fn a_subscription_that_one_worker_refuses_is_refused() {
    let owners = TwoOwners::start();
    let mut raw = Raw::greeted(&owners.server.address);
    // As many channels as a worker gives to one connection: all to one stream.
    let many = 1024;
    for number in 1..=many {
        let body = subscribe(number, 0, 0, 1 << 20, &owners.memory_subject());
        raw.send(&frame(SUBSCRIBE, 0, number, &body));
        assert_eq!(raw.answer().unwrap().opcode, SUBSCRIBED);
        assert_eq!(raw.ack(), (number, 1, 0));
    }
    let number = many + 1;
    let both = subscribe(number, 0, 0, 1 << 20, ">");
    raw.send(&frame(SUBSCRIBE, 0, number, &both));
    let refused = loop {
        let next = raw.answer().unwrap();
        match next.opcode {
            SUBSCRIBED => {}
            ERROR => break Refused::read(&next),
            _ => panic!("{next:?}"),
        }
    };
    assert_eq!(
        (refused.frame_sequence, refused.code, refused.closing),
        (number, 8, false),
        "{refused:?}"
    );
    // Where it was begun, it is over: nothing is delivered, and the number is free.
    let records = [owners.names(), data(2, 1, b"x")].concat();
    raw.send(&frame(PUBLISH, EXPECTS_RESPONSE, number, &records));
    let next = raw.answer().unwrap();
    assert_eq!((next.opcode, next.sequence), (ACK, number), "{next:?}");
    let one = subscribe(number, 0, 0, 1 << 20, &owners.file_subject());
    raw.send(&frame(SUBSCRIBE, 0, number, &one));
    assert_eq!(raw.answer().unwrap().opcode, SUBSCRIBED);
    raw.send(&frame(PUBLISH, 0, 0, &data(2, 2, b"delivered")));
    let (mut acked, mut delivered) = (false, false);
    while !(acked && delivered) {
        let next = raw.answer().unwrap();
        match next.opcode {
            ACK => acked = true,
            // The name of the subject may come before.
            DELIVER => delivered |= payloads(&next.body) == [b"delivered"],
            _ => panic!("{next:?}"),
        }
    }
}

#[test]
fn a_barrier_is_answered_also_where_as_many_frames_wait_as_may() {
    let server = Server::with_flags(
        &with_workers(2, &ONE_STREAM.replace("1MiB", "16MiB")),
        &["--io", "epoll"],
    );
    let worker = server.stream("main")["worker"].as_u64().unwrap();
    let connect = || {
        let mut raw = Raw::greeted_by(&server.address, worker);
        raw.send(&frame(PUBLISH, 0, 0, &definition(1, "a")));
        raw
    };
    // 4,096 parts of frames may wait for their Ack, of which a frame leaves some unused: one of these numbers is the last that fits.
    let mut raws: Vec<(u16, Raw)> = (4085..4097).map(|count| (count, connect())).collect();
    let mut first = connect();
    let Some(mut tracer) = inject_into(server.pid(), "fdatasync:delay_enter=2s") else {
        return;
    };
    // From the first sync that takes long on, all do.
    let begin = Instant::now();
    loop {
        let synced = Instant::now();
        first.send(&frame(PUBLISH, asks(SYNCED), 1, &data(1, 1, b"x")));
        assert_eq!(first.ack().0, 1);
        if synced.elapsed() > Duration::from_secs(1) {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "no sync is slow");
    }
    for (count, raw) in &mut raws {
        let records = (1..=*count).map(|number| {
            let record = data(1, u64::from(number), b"x");
            frame(PUBLISH, asks(SYNCED), number, &record)
        });
        let frames: Vec<u8> = records.flatten().collect();
        raw.send(&[frames, frame(PUBLISH, asks(SYNCED), 5000, b"")].concat());
    }
    for (count, mut raw) in raws {
        let (mut last, mut acked) = (0, 0);
        while last != 5000 {
            let said = raw.said();
            let Said::Ack {
                frame,
                level: SYNCED,
                count,
                ..
            } = said
            else {
                panic!("{said:?}");
            };
            last = frame;
            acked += count;
        }
        assert_eq!(acked, u32::from(count));
    }
    tracer.kill().unwrap();
    tracer.wait().unwrap();
}
