//! A connection of hand-made bytes. Nothing here uses the crates under test: the format is written down a second time, from
//! `docs/format/wire.md`.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// A client that says exactly what a test wants said.
pub(crate) struct Raw {
    stream: TcpStream,
    /// Bytes that were sent: the offset of what comes next.
    sent: u64,
}

/// One frame of the server.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) sequence: u16,
    pub(crate) body: Vec<u8>,
}

/// An Error frame.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) frame_sequence: u16,
    pub(crate) code: u16,
    pub(crate) closing: bool,
    pub(crate) count: u32,
    pub(crate) offset: u64,
    pub(crate) producer_sequence: u64,
    pub(crate) message: String,
}

/// What a publisher is told.
#[derive(Debug)]
pub(crate) enum Said {
    Ack {
        frame: u16,
        level: u8,
        count: u32,
        producer_sequence: u64,
    },
    Error(Refused),
}

pub(crate) const PING: u8 = 0x01;
pub(crate) const PONG: u8 = 0x02;
pub(crate) const HELLO: u8 = 0x04;
pub(crate) const PUBLISH: u8 = 0x10;
pub(crate) const DELIVER: u8 = 0x11;
pub(crate) const ACK: u8 = 0x12;
pub(crate) const SUBSCRIBE: u8 = 0x13;
pub(crate) const SUBSCRIBED: u8 = 0x14;
pub(crate) const UNSUBSCRIBE: u8 = 0x15;
pub(crate) const CREDIT: u8 = 0x16;
pub(crate) const ERROR: u8 = 0x1f;
pub(crate) const RPC_CALL: u8 = 0x30;
pub(crate) const RPC_RESPONSE: u8 = 0x31;
/// Flag bit 0.
pub(crate) const EXPECTS_RESPONSE: u8 = 1;

impl Raw {
    /// Connects and says nothing.
    pub(crate) fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, sent: 0 }
    }

    /// Connects and exchanges Hello.
    pub(crate) fn greeted(address: &str) -> Self {
        Self::greet(address).0
    }

    /// The same where this worker has the connection: others are closed until it has one.
    pub(crate) fn greeted_by(address: &str, worker: u64) -> Self {
        let mut greeted = (0..500).map(|_| Self::greet(address));
        let found = greeted.find(|(_, by)| *by == worker);
        found.expect("every worker gets connections").0
    }

    fn greet(address: &str) -> (Self, u64) {
        let mut raw = Self::connect(address);
        raw.send(&hello(1));
        let answer = raw.frame().expect("a Hello");
        assert_eq!(answer.opcode, HELLO, "{answer:?}");
        // The session's number begins with that of its worker.
        (raw, u64::from(answer.body[31]))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        self.sent += bytes.len() as u64;
    }

    /// Sends as far as the server lets it: a connection that is being closed may refuse the rest.
    pub(crate) fn send_what_goes(&mut self, bytes: &[u8]) {
        let _refused = self.stream.write_all(bytes);
        self.sent += bytes.len() as u64;
    }

    /// Offset of what is sent next.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends nothing more.
    pub(crate) fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    pub(crate) fn set_patience(&self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).unwrap();
    }

    /// The next frame, none at the end of the connection.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        let mut header = [0; 8];
        match self.stream.read_exact(&mut header) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                ) =>
            {
                return None;
            }
            Err(error) => panic!("nothing from the server in {PATIENCE:?}: {error}"),
        }
        let length = u32::from_le_bytes(header[4..8].try_into().unwrap());
        let mut body = vec![0; length as usize];
        match self.stream.read_exact(&mut body) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                ) =>
            {
                return None;
            }
            Err(error) => panic!("half a frame from the server: {error}"),
        }
        Some(Frame {
            opcode: header[0],
            sequence: u16::from_le_bytes([header[2], header[3]]),
            body,
        })
    }

    /// The next frame that is not a Ping, which is answered.
    pub(crate) fn answer(&mut self) -> Option<Frame> {
        loop {
            let next = self.frame()?;
            if next.opcode != PING {
                return Some(next);
            }
            self.send(&frame(PONG, 0, next.sequence, &next.body));
        }
    }

    /// The Error frame that must come next.
    pub(crate) fn refusal(&mut self) -> Refused {
        let next = self.answer().expect("an Error frame before the end");
        assert_eq!(next.opcode, ERROR, "{next:?}");
        Refused::read(&next)
    }

    /// The Error frame that must come next, or behind Acks.
    pub(crate) fn refusal_after_acks(&mut self) -> Refused {
        loop {
            let next = self.answer().expect("an Error frame before the end");
            if next.opcode != ACK {
                assert_eq!(next.opcode, ERROR, "{next:?}");
                return Refused::read(&next);
            }
        }
    }

    /// The next Ack or Error, of whichever frame.
    pub(crate) fn said(&mut self) -> Said {
        let next = self.answer().expect("an answer before the end");
        match next.opcode {
            ACK => Said::Ack {
                frame: next.sequence,
                level: next.body[0],
                count: u32::from_le_bytes(next.body[4..8].try_into().unwrap()),
                producer_sequence: u64::from_le_bytes(next.body[16..24].try_into().unwrap()),
            },
            ERROR => Said::Error(Refused::read(&next)),
            _ => panic!("{next:?}"),
        }
    }

    /// The Ack that must come next: of which frame, how many records, the stream's sequence of the last.
    pub(crate) fn ack(&mut self) -> (u16, u32, u64) {
        let next = self.answer().expect("an Ack before the end");
        let told = if next.opcode == ERROR {
            Refused::read(&next).message
        } else {
            String::new()
        };
        assert_eq!(next.opcode, ACK, "{next:?} {told}");
        let count = u32::from_le_bytes(next.body[4..8].try_into().unwrap());
        (
            next.sequence,
            count,
            u64::from_le_bytes(next.body[8..16].try_into().unwrap()),
        )
    }

    /// Asserts that nothing comes but the end of the connection, in time.
    pub(crate) fn expect_end(&mut self) {
        let begin = Instant::now();
        if let Some(next) = self.answer() {
            panic!("{next:?} where the connection should have ended");
        }
        assert!(begin.elapsed() < PATIENCE);
    }

    /// Publishes one record and waits until it is acknowledged.
    pub(crate) fn publish(&mut self, number: u16, records: &[u8]) -> u64 {
        self.send(&frame(PUBLISH, EXPECTS_RESPONSE, number, records));
        let (frame, _, sequence) = self.ack();
        assert_eq!(frame, number);
        sequence
    }
}

impl Refused {
    pub(crate) fn read(error: &Frame) -> Self {
        let body = &error.body;
        let u16_at = |at: usize| u16::from_le_bytes([body[at], body[at + 1]]);
        let u64_at = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().unwrap());
        assert_eq!(26 + usize::from(u16_at(24)), body.len());
        Self {
            frame_sequence: error.sequence,
            code: u16_at(0),
            closing: u16_at(2) & 1 != 0,
            count: u32::from_le_bytes(body[4..8].try_into().unwrap()),
            offset: u64_at(8),
            producer_sequence: u64_at(16),
            message: String::from_utf8(body[26..].to_vec()).unwrap(),
        }
    }
}

/// Another connection, which must not notice anything: it publishes and gets what it published.
pub(crate) struct Witness {
    raw: Raw,
    seen: u16,
}

impl Witness {
    /// Subscribes to its own subject.
    pub(crate) fn new(address: &str) -> Self {
        let mut raw = Raw::greeted(address);
        raw.send(&frame(
            SUBSCRIBE,
            0,
            1,
            &subscribe(1, 0, 4, 1 << 40, "witness"),
        ));
        while raw.answer().expect("the subscription").opcode != ACK {}
        raw.send(&frame(
            PUBLISH,
            EXPECTS_RESPONSE,
            2,
            &definition(1, "witness"),
        ));
        assert_eq!(raw.ack().0, 2);
        Self { raw, seen: 2 }
    }

    /// Publishes a record; the acknowledgement and the record come, and nothing else.
    pub(crate) fn look(&mut self) {
        self.seen += 1;
        let payload = format!("record {}", self.seen);
        let records = data(1, u64::from(self.seen), payload.as_bytes());
        self.raw
            .send(&frame(PUBLISH, EXPECTS_RESPONSE, self.seen, &records));
        let (mut acked, mut delivered) = (false, false);
        while !(acked && delivered) {
            let next = self
                .raw
                .answer()
                .expect("another's bad input ended this connection");
            match next.opcode {
                ACK => acked |= next.sequence == self.seen,
                DELIVER => {
                    let payloads = payloads(&next.body);
                    if !payloads.is_empty() {
                        assert_eq!(payloads, [payload.as_bytes()]);
                        delivered = true;
                    }
                }
                _ => panic!("{next:?}"),
            }
        }
    }
}

/// A frame.
pub(crate) fn frame(opcode: u8, flags: u8, sequence: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = header(opcode, flags, sequence, body.len() as u32);
    bytes.extend_from_slice(body);
    bytes
}

/// A frame's header alone, which may claim anything.
pub(crate) fn header(opcode: u8, flags: u8, sequence: u16, length: u32) -> Vec<u8> {
    let mut bytes = vec![opcode, flags];
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes
}

/// A client's Hello of this version.
pub(crate) fn hello(version: u16) -> Vec<u8> {
    hello_of(version, 4 << 20)
}

/// The Hello of a client that takes frames of so many bytes.
pub(crate) fn hello_taking(bytes: u32) -> Vec<u8> {
    hello_of(1, bytes)
}

fn hello_of(version: u16, frame_bytes_max: u32) -> Vec<u8> {
    let mut body = version.to_le_bytes().to_vec();
    body.extend_from_slice(&[0, 0]);
    body.extend_from_slice(&frame_bytes_max.to_le_bytes());
    body.extend_from_slice(&text("raw"));
    frame(HELLO, 0, 0, &body)
}

/// The body of a Subscribe.
pub(crate) fn subscribe(
    subscription: u16,
    start: u8,
    policy: u8,
    credit_bytes: u64,
    pattern: &str,
) -> Vec<u8> {
    let mut body = subscription.to_le_bytes().to_vec();
    body.extend_from_slice(&[start, policy]);
    body.extend_from_slice(&0_u32.to_le_bytes());
    body.extend_from_slice(&0_u64.to_le_bytes());
    body.extend_from_slice(&credit_bytes.to_le_bytes());
    for part in [pattern, "", "", ""] {
        body.extend_from_slice(&text(part));
    }
    body
}

/// The body of a Subscribe that asks for calls.
pub(crate) fn to_respond(subscription: u16, pattern: &str) -> Vec<u8> {
    let mut body = subscribe(subscription, 0, 0, 0, pattern);
    // The second flag.
    body[4] = 2;
    body
}

/// The body of an RpcCall.
pub(crate) fn call(timeout_ms: u32, subject: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = timeout_ms.to_le_bytes().to_vec();
    body.extend_from_slice(&text(subject));
    body.extend_from_slice(payload);
    body
}

/// `str` of the format.
pub(crate) fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u16).to_le_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// A data record.
pub(crate) fn data(subject_id: u32, sequence: u64, body: &[u8]) -> Vec<u8> {
    record(1, 0, subject_id, sequence, body)
}

/// A definition record.
pub(crate) fn definition(subject_id: u32, name: &str) -> Vec<u8> {
    record(2, 0, subject_id, 0, name.as_bytes())
}

/// A record with a checksum that is right.
pub(crate) fn record(kind: u8, flags: u16, subject_id: u32, sequence: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"TLN1".to_vec();
    bytes.extend_from_slice(&[1, kind]);
    bytes.extend_from_slice(&flags.to_le_bytes());
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&0_u64.to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u32 + 8).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&subject_id.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(body);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    seal(&mut bytes, body.len());
    bytes
}

/// Puts the right checksum into a record that was changed.
pub(crate) fn seal(record: &mut [u8], body_len: usize) {
    let mut crc = crc32c(!0, &record[40..40 + body_len]);
    crc = crc32c(crc, &record[32..40]);
    crc = crc32c(crc, &record[..28]);
    record[28..32].copy_from_slice(&(!crc).to_le_bytes());
}

/// The bodies of the data records of a run.
pub(crate) fn payloads(mut run: &[u8]) -> Vec<&[u8]> {
    let mut payloads = Vec::new();
    while !run.is_empty() {
        let payload_len = u32::from_le_bytes(run[24..28].try_into().unwrap()) as usize;
        if run[5] == 1 {
            payloads.push(&run[40..32 + payload_len]);
        }
        run = &run[(32 + payload_len).next_multiple_of(8)..];
    }
    payloads
}

/// One bit at a time: slow, and hard to get wrong.
fn crc32c(mut crc: u32, bytes: &[u8]) -> u32 {
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    crc
}

const PATIENCE: Duration = Duration::from_secs(20);

/// Subscribes with all the credit there is, policy `spill`, and reads nothing more.
pub(crate) fn sleeper(server: &super::Server) -> Raw {
    let mut asleep = Raw::greeted(&server.address);
    asleep.send(&frame(SUBSCRIBE, 0, 1, &subscribe(1, 0, 4, 1 << 40, "a")));
    while asleep.answer().expect("the subscription").opcode != ACK {}
    asleep
}
