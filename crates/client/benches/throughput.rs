//! What a record costs in the client: processor time of the thread that publishes, and of the one that receives, against
//! a peer that does next to nothing. `cargo bench -p trunkline-client`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use trunkline_client::{
    Client, Connection, ConnectionOptions, Event, Idle, PublishError, Subscription,
};
use trunkline_wire::{
    Ack, AckLevel, Event as Wire, FrameEncoder, FrameFlags, Kind, Limits, Opcode, Server,
    ServerHello, Session, Stamp, Subscribed,
};

const SECONDS: f64 = 1.0;

fn main() {
    // `cargo bench -p trunkline-client -- publish-driven` for one of them.
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    let wanted = |name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
    for body in [64, 1024] {
        if wanted("publish-driven") {
            publish_driven(body);
        }
        if wanted("publish-blocking") {
            publish_blocking(body);
        }
        if wanted("receive-driven") {
            receive_driven(body);
        }
        if wanted("receive-blocking") {
            receive_blocking(body);
        }
    }
    if wanted("round-trip") {
        [Idle::Spin, Idle::Adaptive, Idle::Park]
            .into_iter()
            .for_each(round_trip);
    }
}

fn publish_driven(body: usize) {
    let mut connection =
        Connection::from_stream(peer(None), &ConnectionOptions::default()).unwrap();
    let payload = vec![7; body];
    let (mut sent, mut acked) = (0u64, 0);
    let meter = Meter::start();
    while meter.runs() {
        for _ in 0..256 {
            match connection.publish("load.test", &payload) {
                Ok(sequence) => sent = sequence,
                Err(PublishError::Full) => break,
                Err(error) => panic!("{error}"),
            }
        }
        connection.flush().unwrap();
        connection
            .poll(|event| {
                if let Event::Acked { last, .. } = event {
                    acked = last
                }
            })
            .unwrap();
    }
    meter.report("publish, connection", body, sent);
    assert!(acked > 0);
}

fn publish_blocking(body: usize) {
    let client = client(peer_address(None), Idle::default());
    let publisher = client.publisher();
    let payload = vec![7; body];
    let mut sent = 0;
    let meter = Meter::start();
    while meter.runs() {
        for _ in 0..256 {
            sent = publisher.publish("load.test", &payload).unwrap();
        }
    }
    meter.report("publish, client", body, sent);
}

fn receive_driven(body: usize) {
    let mut connection =
        Connection::from_stream(peer(Some(body)), &ConnectionOptions::default()).unwrap();
    connection
        .subscribe(&Subscription::new("load.test"))
        .unwrap();
    let (mut got, mut sum) = (0, 0u64);
    let meter = Meter::start();
    while meter.runs() {
        connection.flush().unwrap();
        connection
            .poll(|event| {
                if let Event::Record { message, .. } = event {
                    got += 1;
                    sum += u64::from(message.payload()[0]);
                }
            })
            .unwrap();
    }
    meter.report("receive, connection", body, got);
    assert!(sum >= got);
}

fn receive_blocking(body: usize) {
    let client = client(peer_address(Some(body)), Idle::default());
    let mut subscriber = client
        .subscribe(&Subscription::new("load.test").group("again"))
        .unwrap();
    let mut got = 0;
    let meter = Meter::start();
    while meter.runs() {
        for _ in 0..256 {
            subscriber.next_message(None).unwrap().unwrap();
            got += 1;
        }
    }
    meter.report("receive, client", body, got);
}

/// A record that is acknowledged before the next is published.
fn round_trip(idle: Idle) {
    let client = client(peer_address(None), idle);
    let publisher = client.publisher();
    let mut samples: Vec<Duration> = (0..5000)
        .map(|_| {
            let start = Instant::now();
            publisher
                .publish_acked("load.test", &[7; 64])
                .unwrap()
                .wait(Duration::from_secs(5))
                .unwrap();
            start.elapsed()
        })
        .collect();
    samples.sort();
    println!(
        "acknowledged one by one, {idle:?}: p50 {:?}, p99 {:?}",
        samples[2500], samples[4950]
    );
}

fn client(address: String, idle: Idle) -> Client {
    Client::builder(&address).idle(idle).connect().unwrap()
}

/// Time, and processor time of this thread.
struct Meter {
    start: Instant,
    cpu_s: f64,
}

impl Meter {
    fn start() -> Self {
        Self {
            start: Instant::now(),
            cpu_s: thread_cpu_s(),
        }
    }

    fn runs(&self) -> bool {
        self.start.elapsed().as_secs_f64() < SECONDS
    }

    fn report(&self, what: &str, body: usize, records: u64) {
        let (wall, cpu) = (
            self.start.elapsed().as_secs_f64(),
            thread_cpu_s() - self.cpu_s,
        );
        let (rate, cost) = (records as f64 / wall / 1e6, cpu / records as f64 * 1e9);
        println!("{what}, {body} bytes: {rate:.2} M/s, {cost:.0} ns of this thread each");
    }
}

fn thread_cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn peer(deliver: Option<usize>) -> TcpStream {
    TcpStream::connect(peer_address(deliver)).unwrap()
}

/// A peer that acknowledges, and with `deliver` sends records of so many bytes as credit allows.
fn peer_address(deliver: Option<usize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        // The client goes when it has measured.
        let _ = serve(&stream, deliver);
    });
    address
}

fn serve(stream: &TcpStream, deliver: Option<usize>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut session = Session::<Server>::new(Limits::default());
    let (mut input, mut out) = (vec![0; 256 << 10], vec![0; 1 << 20]);
    let (mut credit, none) = (0u64, FrameFlags::empty());
    let run = deliver.map(run_of);
    loop {
        let len = { stream }.read(&mut input)?;
        if len == 0 {
            return Ok(());
        }
        let mut encoder = FrameEncoder::new(&mut out);
        let mut rest = &input[..len];
        while let (used, Some(event)) = session.next(rest).unwrap() {
            rest = &rest[used..];
            match event {
                Wire::Hello(..) => {
                    let hello = ServerHello {
                        version: 1,
                        max_frame_bytes: 4 << 20,
                        max_record_bytes: 1 << 20,
                        max_subscriptions: 1,
                        epoch: 0,
                        session: 0,
                        wall_ns: 0,
                        server: "bench",
                    };
                    encoder.control(&hello, none, 0).unwrap();
                }
                Wire::Records {
                    frame,
                    last: true,
                    run,
                    ..
                } if frame.sequence != 0 => {
                    let producer_sequence = run.records().last().map_or(0, |raw| raw.sequence());
                    let ack = Ack {
                        level: AckLevel::Stored,
                        count: 1,
                        stream_sequence: 0,
                        producer_sequence,
                    };
                    encoder.control(&ack, none, frame.sequence).unwrap();
                }
                Wire::Subscribe(frame, subscribe) => {
                    let subscription = subscribe.subscription;
                    let opened = Subscribed {
                        subscription,
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
                            b"load.test",
                        )
                        .unwrap();
                    frame.finish();
                    credit += subscribe.credit_bytes;
                }
                Wire::Credit(_, more) => credit += more.bytes,
                _ => {}
            }
        }
        let len = encoder.len();
        { stream }.write_all(&out[..len])?;
        while let Some(run) = run.as_ref().filter(|run| credit >= run.len() as u64) {
            credit -= run.len() as u64;
            { stream }.write_all(run)?;
        }
    }
}

/// A Deliver frame of some 60 KiB.
fn run_of(body: usize) -> Vec<u8> {
    let mut out = vec![0; 64 << 10];
    let mut encoder = FrameEncoder::new(&mut out);
    let mut frame = encoder
        .begin(Opcode::Deliver, FrameFlags::empty(), 1)
        .unwrap();
    // The same frame again and again; a client takes that from a group only.
    while frame
        .push_record(
            &Stamp {
                sequence: 1,
                ..Stamp::DATA
            },
            &vec![7; body],
        )
        .is_ok()
    {}
    frame.finish();
    encoder.bytes().to_vec()
}
