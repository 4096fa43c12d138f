//! What the fuzz targets under `fuzz/` run, on any bytes. Compiled for fuzzing and for this crate's own tests, which run
//! the same bodies on the golden files and on random bytes.
#![allow(missing_docs)]

use crate::record::{self, RawRecord, Records};
use crate::{
    Body, Event, FrameDecoder, FrameEncoder, FrameFlags, Handlers, Limits, Role, Server, Session,
    Violation,
};
use crate::{Client, FrameHeader, Opcode};

/// Small limits, so that short input reaches them.
const LIMITS: Limits = Limits {
    max_frame_bytes: 4096,
    max_record_bytes: 512,
};

/// A record that verifies is one that `encode` writes, and `restamp` agrees with both.
pub fn record(bytes: &[u8]) {
    let mut records = Records::new(bytes, LIMITS.max_record_bytes);
    for raw in &mut records {
        let Ok(raw) = raw else { break };
        check_record(raw);
    }
    assert!(records.rest().len() <= bytes.len());
    // Few random bytes have a right checksum: give them one.
    let mut sealed = bytes.to_vec();
    if reseal(&mut sealed)
        && let Ok(Some(raw)) = RawRecord::peek(&sealed, u32::MAX)
    {
        check_record(raw);
    }
}

fn check_record(raw: RawRecord<'_>) {
    let mut out = vec![0xee; raw.len()];
    let restamped = record::restamp(&raw, &mut out, 11, 22, 33);
    match raw.verify() {
        Ok(record) => {
            let mut again = vec![0xee; raw.len()];
            assert_eq!(
                record::encode(&mut again, &raw.stamp(), raw.body()),
                Ok(raw.len())
            );
            assert_eq!(again, raw.bytes());
            let stamp = record::Stamp {
                sequence: 11,
                timestamp_ns: 22,
                subject_id: 33,
                ..raw.stamp()
            };
            record::encode(&mut again, &stamp, raw.body()).unwrap();
            assert_eq!(restamped, Ok(raw.len()));
            assert_eq!(again, out);
            assert_eq!(record.headers().iter().count(), record.headers().count());
            assert!(record.payload().len() <= raw.body().len());
        }
        Err(error) => assert_eq!(restamped, Err(error)),
    }
}

/// Writes the right checksum into the first record, if there is one.
fn reseal(bytes: &mut [u8]) -> bool {
    let Ok(Some(raw)) = RawRecord::peek(bytes, u32::MAX) else {
        return false;
    };
    let crc = crate::crc::Crc::new()
        .update(raw.body())
        .update(&bytes[32..40])
        .update(&bytes[..28])
        .finish();
    bytes[28..32].copy_from_slice(&crc.to_le_bytes());
    true
}

/// A frame that decodes encodes to the same bytes, and so does the body of a control frame.
pub fn frame(bytes: &[u8]) {
    let handlers = Handlers::<u8>::new();
    for frame in FrameDecoder::new(bytes) {
        let Ok(frame) = frame else { break };
        assert_eq!(
            FrameHeader::decode(&frame.header.encode()),
            Ok(frame.header)
        );
        assert!(handlers.handler(frame.header.opcode as u8).is_none());
        let flags = frame.header.flags;
        assert_eq!(flags.with_ack_level(flags.ack_level()), flags);
        check_body(frame.header.opcode, frame.body);
    }
}

fn check_body(opcode: Opcode, bytes: &[u8]) {
    use crate::body::{
        Ack, ClientHello, Close, Confirm, Credit, ErrorBody, Failure, Gap, RpcCall, ServerHello,
        Subscribe, Subscribed, Unsubscribe,
    };
    match opcode {
        Opcode::Hello => {
            same(ClientHello::decode(bytes).ok(), bytes);
            same(ServerHello::decode(bytes).ok(), bytes);
        }
        Opcode::Close => same(Close::decode(bytes).ok(), bytes),
        Opcode::Ack => same(Ack::decode(bytes).ok(), bytes),
        Opcode::Subscribe => same(Subscribe::decode(bytes).ok(), bytes),
        Opcode::Subscribed => same(Subscribed::decode(bytes).ok(), bytes),
        Opcode::Unsubscribe => same(Unsubscribe::decode(bytes).ok(), bytes),
        Opcode::Credit => same(Credit::decode(bytes).ok(), bytes),
        Opcode::Confirm => same(Confirm::decode(bytes).ok(), bytes),
        Opcode::Gap => same(Gap::decode(bytes).ok(), bytes),
        Opcode::Error => same(ErrorBody::decode(bytes).ok(), bytes),
        Opcode::RpcCall => same(RpcCall::decode(bytes).ok(), bytes),
        Opcode::RpcResponse => same(Failure::decode(bytes).ok(), bytes),
        _ => {}
    }
}

fn same(body: Option<impl Body>, bytes: &[u8]) {
    let Some(body) = body else { return };
    let mut out = vec![0xee; bytes.len()];
    assert_eq!(body.encode(&mut out), Ok(bytes.len()));
    assert_eq!(out, bytes);
    if let Some(shorter) = bytes.len().checked_sub(1) {
        let short = body
            .encode(&mut out[..shorter])
            .expect_err("one byte is missing");
        assert_eq!(short.needed, bytes.len());
    }
}

/// However the input is cut, a session says the same, and its carry buffer keeps to its limit. The first bytes say where
/// to cut.
pub fn session(bytes: &[u8]) {
    let (cuts, input) = bytes.split_at(bytes.len().min(8));
    both_roles(input, cuts);
    // Most random bytes are no Hello: put one in front.
    let mut greeted = [0; 128];
    let mut encoder = FrameEncoder::new(&mut greeted);
    let hello = crate::ClientHello {
        version: 1,
        max_frame_bytes: 4096,
        name: "fuzz",
    };
    encoder
        .control(&hello, FrameFlags::empty(), 0)
        .expect("it fits");
    let greeted = [encoder.bytes(), input].concat();
    both_roles(&greeted, cuts);
}

fn both_roles(input: &[u8], cuts: &[u8]) {
    let whole = trace::<Server>(input, &[]);
    assert_eq!(whole, trace::<Server>(input, cuts));
    assert_eq!(whole, trace::<Server>(input, &[1]));
    assert_eq!(trace::<Client>(input, &[]), trace::<Client>(input, cuts));
}

/// What a session said, told so that the cuts do not show.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// A frame of records began.
    Begin(FrameHeader),
    /// One of its records.
    Record(Vec<u8>),
    /// It ended.
    End,
    /// Any other event.
    Event(String),
    /// The connection is over.
    Violation(Violation),
}

/// Feeds `input` cut into pieces of `cuts` bytes, again and again from the first; in one piece when there are none.
pub fn trace<R: Role>(input: &[u8], cuts: &[u8]) -> Vec<Said> {
    let mut session = Session::<R>::new(LIMITS);
    let mut said = Vec::new();
    let mut rest = input;
    let mut cuts = cuts.iter().map(|cut| usize::from(*cut) + 1).cycle();
    while !rest.is_empty() {
        let (mut piece, behind) = rest.split_at(cuts.next().unwrap_or(rest.len()).min(rest.len()));
        rest = behind;
        loop {
            let before = session.offset();
            match session.next(piece) {
                Ok((used, event)) => {
                    let done = event.is_none();
                    if let Some(event) = event {
                        tell(event, &mut said);
                    }
                    assert_eq!(session.offset(), before + used as u64);
                    assert!(session.carry_bytes() <= LIMITS.carry_bytes_max());
                    piece = &piece[used..];
                    if done {
                        assert!(
                            piece.is_empty(),
                            "nothing said, but not everything consumed"
                        );
                        break;
                    }
                }
                Err(violation) => {
                    assert_eq!(session.next(b"more").err(), Some(violation));
                    assert!(violation.offset <= input.len() as u64);
                    let mut out = [0; 256];
                    let len = violation
                        .encode_error(&mut out)
                        .expect("an error frame has at most 256 bytes");
                    frame(&out[..len]);
                    said.push(Said::Violation(violation));
                    return said;
                }
            }
        }
    }
    said
}

fn tell(event: Event<'_>, said: &mut Vec<Said>) {
    match event {
        Event::Records {
            frame,
            first,
            last,
            run,
        } => {
            if first {
                said.push(Said::Begin(frame));
            }
            assert_eq!(run.records().count(), run.count() as usize);
            assert!(!run.is_empty() || last);
            said.extend(run.records().map(|raw| Said::Record(raw.bytes().to_vec())));
            if last {
                said.push(Said::End);
            }
        }
        event => said.push(Said::Event(format!("{event:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn golden() -> Vec<Vec<u8>> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let files = std::fs::read_dir(folder).expect("the golden files are there");
        files
            .map(|file| std::fs::read(file.unwrap().path()).unwrap())
            .collect()
    }

    #[test]
    fn the_golden_files_pass_every_fuzz_body_whole_and_with_each_byte_changed() {
        for file in golden() {
            record(&file);
            frame(&file);
            session(&file);
            for index in 0..file.len() {
                let mut changed = file.clone();
                changed[index] ^= 1 << (index % 8);
                record(&changed);
                frame(&changed);
                session(&changed);
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_pass_every_fuzz_body(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            record(&bytes);
            frame(&bytes);
            session(&bytes);
        }

        #[test]
        fn golden_files_in_any_order_and_with_random_damage_pass_the_session_body(
            picks in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            cuts in any::<[u8; 8]>(),
        ) {
            let golden = golden();
            let mut bytes = cuts.to_vec();
            for pick in picks {
                bytes.extend_from_slice(pick.get::<Vec<u8>>(&golden));
            }
            for (index, byte) in damage {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            session(&bytes);
        }
    }
}
