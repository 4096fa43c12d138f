//! After warm-up, a record costs no allocation: neither where the caller drives the connection, nor in the blocking client.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use trunkline_client::{Client, Connection, ConnectionOptions, Event, Subscription};
use trunkline_wire::{
    Ack, AckLevel, Event as Wire, FrameEncoder, FrameFlags, Hello, Kind, Limits, Opcode, Server,
    ServerHello, Session, Stamp, Subscribed, record,
};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator with the arguments that came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as our caller promises.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as our caller promises.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A server that echoes each record to the first subscription, acknowledges each frame, and allocates nothing on the way.
fn echo(listener: &TcpListener) {
    let (stream, _) = listener.accept().unwrap();
    let mut session = Session::<Server>::new(Limits::default());
    let (mut input, mut out) = (vec![0; 1 << 16], vec![0; 1 << 20]);
    let mut sequence = 0;
    while let Ok(len @ 1..) = (&stream).read(&mut input) {
        let mut encoder = FrameEncoder::new(&mut out);
        let mut rest = &input[..len];
        while let (used, Some(event)) = session.next(rest).unwrap() {
            rest = &rest[used..];
            reply(&mut encoder, &mut sequence, event);
        }
        let len = encoder.len();
        (&stream).write_all(&out[..len]).unwrap();
    }
}

fn reply(encoder: &mut FrameEncoder<'_>, sequence: &mut u64, event: Wire<'_>) {
    let none = FrameFlags::empty();
    match event {
        Wire::Hello(_, Hello::Client(_)) => {
            let hello = ServerHello {
                version: 1,
                max_frame_bytes: 4 << 20,
                max_record_bytes: 1 << 20,
                max_subscriptions: 1,
                epoch: 0,
                session: 0,
                wall_ns: 0,
                server: "echo",
            };
            encoder.control(&hello, none, 0).unwrap();
        }
        Wire::Subscribe(frame, subscribe) => {
            let opened = Subscribed {
                subscription: subscribe.subscription,
                stream: 0,
                next: 1,
                first: 1,
                last: 0,
                name: "s",
            };
            encoder.control(&opened, none, 1).unwrap();
            let ack = Ack {
                level: AckLevel::Stored,
                count: 1,
                stream_sequence: 0,
                producer_sequence: 0,
            };
            encoder.control(&ack, none, frame.sequence).unwrap();
            let mut frame = encoder.begin(Opcode::Deliver, none, 1).unwrap();
            frame
                .push_record(
                    &Stamp {
                        kind: Kind::Definition,
                        ..Stamp::DATA
                    },
                    b"load",
                )
                .unwrap();
            frame.finish();
        }
        Wire::Records {
            frame, last, run, ..
        } => {
            let mut producer_sequence = 0;
            let mut deliver = encoder.begin(Opcode::Deliver, none, 1).unwrap();
            for raw in run.records().filter(|raw| raw.kind() == Kind::Data) {
                *sequence += 1;
                producer_sequence = raw.sequence();
                deliver
                    .push_record(
                        &Stamp {
                            sequence: *sequence,
                            ..Stamp::DATA
                        },
                        raw.body(),
                    )
                    .unwrap();
            }
            deliver.finish();
            if last && frame.flags.contains(FrameFlags::EXPECTS_RESPONSE) {
                let ack = Ack {
                    level: AckLevel::Stored,
                    count: 1,
                    stream_sequence: *sequence,
                    producer_sequence,
                };
                encoder.control(&ack, none, frame.sequence).unwrap();
            }
        }
        _ => {}
    }
}

/// Runs `round` often enough to warm up, and then says how much is allocated in another 200 rounds.
fn allocations(mut round: impl FnMut()) -> u64 {
    for _ in 0..400 {
        round();
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..200 {
        round();
    }
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// One test, since everything that runs at the same time is counted.
#[test]
fn records_cost_no_allocation_after_warm_up() {
    const BATCH: u64 = 50;
    let _ = record::record_bytes(8);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        echo(&listener);
        echo(&listener);
    });

    let stream = TcpStream::connect(address).unwrap();
    let mut connection = Connection::from_stream(stream, &ConnectionOptions::default()).unwrap();
    connection.subscribe(&Subscription::new("load")).unwrap();
    let driven = allocations(|| {
        for _ in 0..BATCH {
            connection.publish("load", &[7; 64]).unwrap();
        }
        let (mut records, mut acked) = (0, false);
        while records < BATCH || !acked {
            connection.flush().unwrap();
            connection
                .poll(|event| match event {
                    Event::Record { .. } => records += 1,
                    Event::Acked { .. } => acked = true,
                    _ => {}
                })
                .unwrap();
        }
    });
    drop(connection);
    assert_eq!(
        driven, 0,
        "allocations in 10,000 records of a connection that its caller drives"
    );

    let client = Client::connect(&address.to_string()).unwrap();
    let mut subscriber = client.subscribe(&Subscription::new("load")).unwrap();
    let publisher = client.publisher();
    let blocking = allocations(|| {
        for _ in 0..BATCH {
            publisher.publish("load", &[7; 64]).unwrap();
        }
        for _ in 0..BATCH {
            let message = subscriber
                .next_timeout(Duration::from_secs(10))
                .unwrap()
                .unwrap();
            assert_eq!(message.payload(), [7; 64]);
        }
        publisher.flush(Duration::from_secs(10)).unwrap();
    });
    // Three buffers change places between the thread and the subscriber, two between the thread and the publishers; by
    // chance one meets a larger burst than ever before and grows, which doubles it.
    assert!(
        blocking <= 10,
        "{blocking} allocations in 10,000 records of the blocking client"
    );
    drop((subscriber, publisher, client));
    server.join().unwrap();
}
