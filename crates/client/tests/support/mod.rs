//! A small server in the test's own process, on the server's role of the wire session: one stream in memory, calls, and switches
//! for what a test wants to go wrong.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use trunkline_client::Client;
use trunkline_wire::{
    Ack, AckLevel, Body, ErrorBody, ErrorCode, ErrorFlags, Event, FrameEncoder, FrameFlags, Kind,
    Limits, Opcode, PROTOCOL_VERSION, RawRecord, Run, Server, ServerHello, Session, Stamp, Start,
    SubscribeFlags, Subscribed, record,
};

/// What comes, comes sooner.
pub const LONG: Duration = Duration::from_secs(10);

/// A client that comes back at once.
pub fn client(server: &TestServer) -> Client {
    Client::builder(&server.address())
        .backoff_max(Duration::from_millis(40))
        .connect()
        .unwrap()
}

/// Waits for something that another thread does.
pub fn eventually(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end, "it did not happen in time");
        std::thread::yield_now();
    }
}

/// Dropped, it stops listening and breaks its connections.
pub struct TestServer {
    address: SocketAddr,
    store: Arc<Mutex<Store>>,
}

#[derive(Default)]
pub struct Store {
    /// The stream: one encoded record each, sequences from 1.
    pub records: Vec<Vec<u8>>,
    /// Names of subjects by the stream's ids.
    names: Vec<String>,
    responders: Vec<(u64, u16, String)>,
    calls: HashMap<u16, (u64, u16)>,
    next_call: u16,
    mail: HashMap<u64, VecDeque<Vec<u8>>>,
    connections: HashMap<u64, TcpStream>,
    pub accepted: u64,
    /// Records that come are stored, but not acknowledged.
    pub hold_acks: bool,
    /// Nothing that comes is looked at.
    pub deaf: bool,
    /// Connections end right after they are made.
    pub refuse_connections: bool,
    /// Bytes of Deliver bodies that each connection's channels were sent beyond their credit: must stay 0.
    pub overdrawn: u64,
    pub frames: u64,
    pub confirms: Vec<(u64, u64)>,
    pub subscribed: Vec<String>,
    /// Levels of Publish frames without records.
    pub barriers: Vec<AckLevel>,
    /// Subscriptions are refused with this.
    pub refuse_subscribes: Option<ErrorCode>,
    /// There is another stream that each pattern matches, and it is not served.
    pub unserved: bool,
    /// The server's clock, which stands still.
    pub wall_ns: u64,
    /// Where the durable cursor stands, if not at the end.
    pub cursor: Option<u64>,
    /// The number of the stream's log: another one is another stream of the same name.
    pub log: u32,
    stopped: bool,
}

impl TestServer {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let store = Arc::new(Mutex::new(Store::default()));
        let server = Self {
            address,
            store: store.clone(),
        };
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let mut locked = store.lock().unwrap();
                if locked.stopped {
                    return;
                }
                locked.accepted += 1;
                if locked.refuse_connections {
                    continue;
                }
                let id = locked.accepted;
                locked.connections.insert(id, stream.try_clone().unwrap());
                locked.mail.insert(id, VecDeque::new());
                let store = store.clone();
                thread::spawn(move || Peer::new(id, stream, store).run());
            }
        });
        server
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    /// Breaks every connection that there is.
    pub fn drop_connections(&self) {
        for (_, stream) in self.store().connections.drain() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Puts a record into the stream, as another client would.
    pub fn put(&self, subject: &str, body: &[u8]) {
        let mut store = self.store();
        let id = store.subject(subject);
        let mut out = vec![0; 4096];
        let len = record::encode(&mut out, &Stamp::DATA, body).unwrap();
        let raw = RawRecord::peek(&out[..len], u32::MAX).unwrap().unwrap();
        store.append(&raw, id);
    }

    /// Tells every connection that another one's subscription has the durable cursor of this one now.
    pub fn take_cursor(&self, subscription: u16) {
        let error = ErrorBody {
            producer_sequence: subscription.into(),
            ..ErrorBody::new(ErrorCode::EXISTS, "taken over")
        };
        let frame = control(&error, 0);
        for mail in self.store().mail.values_mut() {
            mail.push_back(frame.clone());
        }
    }

    /// Removes the stream, and makes an empty one of the same name.
    pub fn remake_stream(&self) {
        let mut store = self.store();
        store.records.clear();
        store.names.clear();
        store.log += 1;
    }

    pub fn payloads(&self) -> Vec<Vec<u8>> {
        let store = self.store();
        let raws = store
            .records
            .iter()
            .map(|bytes| RawRecord::peek(bytes, u32::MAX).unwrap().unwrap());
        raws.map(|raw| raw.body().to_vec()).collect()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.drop_connections();
        self.store().stopped = true;
        let _ = TcpStream::connect(self.address);
    }
}

impl Store {
    fn subject(&mut self, name: &str) -> u32 {
        if let Some(id) = self.names.iter().position(|known| known == name) {
            return id as u32;
        }
        self.names.push(name.into());
        self.names.len() as u32 - 1
    }

    fn append(&mut self, raw: &RawRecord<'_>, subject: u32) -> u64 {
        let sequence = self.records.len() as u64 + 1;
        let mut out = vec![0; raw.len()];
        record::restamp(raw, &mut out, sequence, 1000 * sequence, subject).unwrap();
        self.records.push(out);
        sequence
    }

    fn post(&mut self, to: u64, frame: Vec<u8>) {
        if let Some(mail) = self.mail.get_mut(&to) {
            mail.push_back(frame);
        }
    }
}

struct Peer {
    id: u64,
    stream: TcpStream,
    store: Arc<Mutex<Store>>,
    names: HashMap<u32, String>,
    out: Vec<u8>,
    channels: Vec<Channel>,
    /// Which log the channels read.
    log: u32,
    frame: FrameState,
    /// The client has said goodbye.
    closing: bool,
}

#[derive(Default)]
struct FrameState {
    count: u32,
    stream_sequence: u64,
    producer_sequence: u64,
    refused: Option<(u64, u32)>,
}

struct Channel {
    number: u16,
    subscription: u16,
    pattern: String,
    next: u64,
    credit: i64,
    defined: Vec<u32>,
}

impl Peer {
    fn new(id: u64, stream: TcpStream, store: Arc<Mutex<Store>>) -> Self {
        stream.set_nodelay(true).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(2)))
            .unwrap();
        let (names, out, channels) = (HashMap::new(), Vec::new(), Vec::new());
        let log = store.lock().unwrap().log;
        Self {
            id,
            stream,
            store,
            names,
            out,
            channels,
            log,
            frame: FrameState::default(),
            closing: false,
        }
    }

    fn run(mut self) {
        let limits = Limits {
            max_frame_bytes: 1 << 20,
            max_record_bytes: 100_000,
        };
        let mut session = Session::<Server>::new(limits);
        let mut input = vec![0; 65_536];
        loop {
            if self.store.lock().unwrap().deaf {
                thread::park_timeout(Duration::from_millis(5));
                if !self
                    .store
                    .lock()
                    .unwrap()
                    .connections
                    .contains_key(&self.id)
                {
                    return;
                }
                continue;
            }
            let len = match (&self.stream).read(&mut input) {
                Ok(0) => break,
                Ok(len) => len,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    0
                }
                Err(_) => break,
            };
            let mut rest = &input[..len];
            loop {
                match session.next(rest) {
                    Ok((used, event)) => {
                        rest = &rest[used..];
                        let Some(event) = event else { break };
                        self.on_event(event, limits);
                    }
                    Err(violation) => {
                        let mut out = [0; 256];
                        let len = violation.encode_error(&mut out).unwrap();
                        let _ = (&self.stream).write_all(&out[..len]);
                        panic!("the client broke the protocol: {violation}");
                    }
                }
            }
            self.deliver();
            let mail = self
                .store
                .lock()
                .unwrap()
                .mail
                .get_mut(&self.id)
                .map(std::mem::take);
            self.out.extend(mail.into_iter().flatten().flatten());
            if (&self.stream).write_all(&self.out).is_err() {
                break;
            }
            self.out.clear();
            if self.closing {
                break;
            }
        }
        // The other handle of it would keep it open, and a client that closes reads until its server has closed, too.
        let _ = self.stream.shutdown(Shutdown::Both);
        let mut store = self.store.lock().unwrap();
        store.connections.remove(&self.id);
        store.mail.remove(&self.id);
        store.responders.retain(|(id, ..)| *id != self.id);
    }

    fn on_event(&mut self, event: Event<'_>, limits: Limits) {
        match event {
            Event::Hello(..) => {
                let hello = ServerHello {
                    version: PROTOCOL_VERSION,
                    max_frame_bytes: limits.max_frame_bytes,
                    max_record_bytes: limits.max_record_bytes,
                    max_subscriptions: 100,
                    epoch: 1,
                    session: self.id,
                    wall_ns: self.store.lock().unwrap().wall_ns,
                    server: "test",
                };
                self.out.extend(control(&hello, 0));
            }
            Event::Records {
                frame, last, run, ..
            } => {
                self.on_records(run);
                self.store.lock().unwrap().frames += u64::from(last);
                if last {
                    self.end_frame(frame.sequence, frame.flags);
                }
            }
            Event::Subscribe(frame, subscribe) => {
                let mut store = self.store.lock().unwrap();
                store.subscribed.push(format!("{subscribe:?}"));
                let last = store.records.len() as u64;
                if subscribe.pattern.contains("forbidden") {
                    drop(store);
                    let error = ErrorBody::new(ErrorCode::SUBJECT, "forbidden");
                    return self.out.extend(control(&error, frame.sequence));
                }
                if let Some(code) = store.refuse_subscribes {
                    let error = ErrorBody::new(code, "not now");
                    return self.out.extend(control(&error, frame.sequence));
                }
                let mut count = 0;
                if subscribe.flags.contains(SubscribeFlags::RESPONDER) {
                    store.responders.push((
                        self.id,
                        subscribe.subscription,
                        subscribe.pattern.into(),
                    ));
                } else {
                    let mut positions = subscribe.positions.iter();
                    let known = positions.find(|(stream, _)| *stream == "main");
                    let start = known.map_or(subscribe.start, |(_, next)| Start::Sequence(next));
                    let next = match start {
                        Start::First => 1,
                        Start::Last => last,
                        Start::Sequence(sequence) => sequence,
                        Start::Time(ns) => ns.div_ceil(1000),
                        Start::Cursor => store.cursor.unwrap_or(last + 1),
                        Start::New => last + 1,
                    };
                    let number = 100 + self.channels.len() as u16;
                    self.channels.push(Channel {
                        number,
                        subscription: subscribe.subscription,
                        pattern: subscribe.pattern.into(),
                        next,
                        credit: subscribe.credit_bytes as i64,
                        defined: Vec::new(),
                    });
                    let subscription = subscribe.subscription;
                    let opened = Subscribed {
                        subscription,
                        stream: store.log,
                        next,
                        first: 1,
                        last,
                        name: "main",
                    };
                    self.out.extend(control(&opened, number));
                    count = 1;
                }
                self.out.extend(control(&ack(count, 0, 0), frame.sequence));
                if store.unserved {
                    let error = ErrorBody::new(ErrorCode::READ_ONLY, "old is not served");
                    self.out.extend(control(&error, 0));
                }
            }
            Event::Unsubscribe(frame, unsubscribe) => {
                self.channels
                    .retain(|channel| channel.subscription != unsubscribe.subscription);
                let mut store = self.store.lock().unwrap();
                store.responders.retain(|(id, number, _)| {
                    (*id, *number) != (self.id, unsubscribe.subscription)
                });
                self.out.extend(control(&ack(0, 0, 0), frame.sequence));
            }
            Event::Credit(frame, credit) => {
                if let Some(channel) = self
                    .channels
                    .iter_mut()
                    .find(|channel| channel.number == frame.sequence)
                {
                    channel.credit += credit.bytes as i64;
                }
            }
            Event::Confirm(_, confirm) => {
                self.store
                    .lock()
                    .unwrap()
                    .confirms
                    .push((confirm.first, confirm.last));
            }
            Event::RpcCall(frame, call) => {
                let mut store = self.store.lock().unwrap();
                if call.subject.starts_with("$sys.") {
                    let answer = format!("{{\"asked\":\"{}\"}}", call.subject);
                    return self.out.extend(plain(
                        Opcode::RpcResponse,
                        frame.sequence,
                        answer.as_bytes(),
                    ));
                }
                let found = store
                    .responders
                    .iter()
                    .find(|(_, _, pattern)| pattern == call.subject);
                let Some(to) = found.map(|(id, ..)| *id) else {
                    let error = ErrorBody::new(ErrorCode::NOBODY_LISTENS, "nobody listens");
                    return self.out.extend(control(&error, frame.sequence));
                };
                store.next_call += 1;
                let correlation = store.next_call;
                store.calls.insert(correlation, (self.id, frame.sequence));
                let relayed = control(&call, correlation);
                store.post(to, relayed);
            }
            Event::RpcResponse(frame, payload) => {
                let mut store = self.store.lock().unwrap();
                if let Some((caller, correlation)) = store.calls.remove(&frame.sequence) {
                    store.post(caller, plain(Opcode::RpcResponse, correlation, payload));
                }
            }
            Event::RpcFailed(frame, failure) => {
                let mut store = self.store.lock().unwrap();
                if let Some((caller, correlation)) = store.calls.remove(&frame.sequence) {
                    let mut out = vec![0; 1 << 17];
                    let mut encoder = FrameEncoder::new(&mut out);
                    encoder
                        .control(&failure, FrameFlags::FAILED, correlation)
                        .unwrap();
                    store.post(caller, encoder.bytes().to_vec());
                }
            }
            Event::Ping(frame, body) => self.out.extend(plain(Opcode::Pong, frame.sequence, body)),
            Event::Close(..) => self.closing = true,
            _ => {}
        }
    }

    fn on_records(&mut self, run: Run<'_>) {
        let mut store = self.store.lock().unwrap();
        for raw in run.records() {
            let record = raw.verify().unwrap();
            if raw.kind() == Kind::Definition {
                let name = std::str::from_utf8(raw.body()).unwrap();
                self.names.insert(raw.subject_id(), name.into());
                continue;
            }
            let name = self
                .names
                .get(&raw.subject_id())
                .expect("the subject was defined")
                .clone();
            if name == "refused" || self.frame.refused.is_some() {
                let refused = self.frame.refused.get_or_insert((raw.sequence(), 0));
                refused.1 += 1;
                continue;
            }
            let id = store.subject(&name);
            self.frame.stream_sequence = store.append(&record, id);
            self.frame.producer_sequence = raw.sequence();
            self.frame.count += 1;
        }
    }

    fn end_frame(&mut self, sequence: u16, flags: FrameFlags) {
        let frame = std::mem::take(&mut self.frame);
        if !flags.contains(FrameFlags::EXPECTS_RESPONSE) {
            return;
        }
        let level = flags.ack_level();
        let barrier = frame.count == 0 && frame.refused.is_none() && level != AckLevel::Stream;
        let hold_acks = {
            let mut store = self.store.lock().unwrap();
            store.barriers.extend(barrier.then_some(level));
            store.hold_acks
        };
        if hold_acks {
            return;
        }
        if barrier {
            let ack = Ack {
                level,
                ..ack(0, 0, 0)
            };
            return self.out.extend(control(&ack, sequence));
        }
        if frame.count > 0 {
            let mut ack = ack(frame.count, frame.stream_sequence, frame.producer_sequence);
            if flags.ack_level() != AckLevel::Stream {
                ack.level = flags.ack_level();
            }
            self.out.extend(control(&ack, sequence));
        }
        if let Some((producer_sequence, count)) = frame.refused {
            let error = ErrorBody {
                producer_sequence,
                count,
                ..ErrorBody::new(ErrorCode::NO_STREAM, "no stream captures refused")
            };
            self.out.extend(control(&error, sequence));
        }
    }

    fn deliver(&mut self) {
        let store = self.store.lock().unwrap();
        if std::mem::replace(&mut self.log, store.log) != store.log {
            for channel in &mut self.channels {
                channel.next = 1;
                channel.defined.clear();
                let opened = Subscribed {
                    subscription: channel.subscription,
                    stream: store.log,
                    next: 1,
                    first: 1,
                    last: store.records.len() as u64,
                    name: "main",
                };
                self.out.extend(control(&opened, channel.number));
            }
        }
        for channel in &mut self.channels {
            while channel.credit > 0 && channel.next <= store.records.len() as u64 {
                let raw = RawRecord::peek(&store.records[channel.next as usize - 1], u32::MAX)
                    .unwrap()
                    .unwrap();
                channel.next += 1;
                let id = raw.subject_id();
                let name = &store.names[id as usize];
                let prefix = channel.pattern.trim_end_matches('>');
                if !name.starts_with(prefix) {
                    continue;
                }
                let mut body = Vec::new();
                if !channel.defined.contains(&id) {
                    channel.defined.push(id);
                    let stamp = Stamp {
                        kind: Kind::Definition,
                        subject_id: id,
                        ..Stamp::DATA
                    };
                    body.resize(300, 0);
                    let len = record::encode(&mut body, &stamp, name.as_bytes()).unwrap();
                    body.truncate(len);
                }
                body.extend_from_slice(raw.bytes());
                channel.credit -= body.len() as i64;
                self.out
                    .extend(plain(Opcode::Deliver, channel.number, &body));
            }
        }
    }
}

fn ack(count: u32, stream_sequence: u64, producer_sequence: u64) -> Ack {
    Ack {
        level: AckLevel::Stored,
        count,
        stream_sequence,
        producer_sequence,
    }
}

fn control<B: Body>(body: &B, sequence: u16) -> Vec<u8> {
    let mut out = vec![0; 1 << 17];
    let mut encoder = FrameEncoder::new(&mut out);
    encoder
        .control(body, FrameFlags::empty(), sequence)
        .unwrap();
    encoder.bytes().to_vec()
}

fn plain(opcode: Opcode, sequence: u16, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0; body.len() + 8];
    FrameEncoder::new(&mut out)
        .frame(opcode, FrameFlags::empty(), sequence, body)
        .unwrap();
    out
}

/// A frame that says that the connection is closing.
pub fn closing_error() -> Vec<u8> {
    let error = ErrorBody {
        flags: ErrorFlags::CLOSING,
        ..ErrorBody::new(ErrorCode::TOO_MANY, "too many connections")
    };
    control(&error, 0)
}
