//! Sessions: both roles hear each other, and every violation has its code and its place.

use proptest::prelude::*;
use trunkline_wire::frame::{CONTROL_BYTES_MAX, FRAME_BYTES_MAX_BEFORE_HELLO};
use trunkline_wire::violation::Fault;
use trunkline_wire::{
    Ack, AckLevel, Body, Client, ClientHello, Close, Confirm, Credit, ErrorBody, ErrorCode, Event,
    FrameEncoder, FrameFlags, Gap, GapReason, Hello, Kind, Limits, Opcode, Policy, Positions,
    RecordError, Role, RpcCall, Server, ServerHello, Session, Stamp, Start, Subscribe,
    SubscribeFlags, Subscribed, Unsubscribe, Violation,
};

/// Flag bit 3.
const FAILED: u8 = 1 << 3;
const LIMITS: Limits = Limits {
    max_frame_bytes: 1 << 16,
    max_record_bytes: 1000,
};

fn control<B: Body>(body: &B, sequence: u16) -> Vec<u8> {
    let mut out = vec![0; 1 << 17];
    let mut encoder = FrameEncoder::new(&mut out);
    encoder
        .control(body, FrameFlags::empty(), sequence)
        .unwrap();
    encoder.bytes().to_vec()
}

fn frame(opcode: Opcode, flags: u8, sequence: u16, body: &[u8]) -> Vec<u8> {
    raw_frame(opcode as u8, flags, sequence, body.len() as u32, body)
}

fn raw_frame(opcode: u8, flags: u8, sequence: u16, length: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![opcode, flags];
    bytes.extend(sequence.to_le_bytes());
    bytes.extend(length.to_le_bytes());
    bytes.extend(body);
    bytes
}

fn record(sequence: u64, body: &[u8]) -> Vec<u8> {
    record_of(Kind::Data, sequence, body)
}

fn record_of(kind: Kind, sequence: u64, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0; body.len() + 48];
    let stamp = Stamp {
        kind,
        sequence,
        ..Stamp::DATA
    };
    let len = trunkline_wire::record::encode(&mut out, &stamp, body).unwrap();
    out.truncate(len);
    out
}

fn client_hello() -> Vec<u8> {
    control(
        &ClientHello {
            version: 1,
            max_frame_bytes: 1 << 20,
            name: "test",
        },
        0,
    )
}

fn server_hello() -> Vec<u8> {
    let hello = ServerHello {
        version: 1,
        max_frame_bytes: 1 << 20,
        max_record_bytes: 1000,
        max_subscriptions: 5,
        epoch: 1,
        session: 2,
        wall_ns: 3,
        server: "test",
    };
    control(&hello, 0)
}

/// Feeds everything and gives each event to `on`.
fn feed<R: Role>(
    session: &mut Session<R>,
    mut input: &[u8],
    mut on: impl FnMut(Event<'_>),
) -> Result<(), Violation> {
    loop {
        let (used, event) = session.next(input)?;
        input = &input[used..];
        match event {
            Some(event) => on(event),
            None => return Ok(()),
        }
    }
}

/// What a server says of this input, after a Hello.
fn violation(input: &[u8]) -> Violation {
    let mut session = Session::<Server>::new(LIMITS);
    let hello = client_hello();
    feed(&mut session, &hello, |_| ()).unwrap();
    let mut violation = feed(&mut session, input, |_| ()).expect_err("it is wrong");
    violation.offset -= hello.len() as u64;
    violation
}

#[test]
fn a_server_hears_everything_that_a_client_may_say() {
    let mut positions = Vec::new();
    Positions::push(&mut positions, "main", 7).unwrap();
    let subscribe = Subscribe {
        subscription: 1,
        start: Start::Time(5),
        policy: Policy::DropOldest,
        flags: SubscribeFlags::RESPONDER,
        credit_bytes: 3,
        pattern: "a.>",
        group: "g",
        cursor: "c",
        stream: "s",
        positions: Positions::new(&positions).unwrap(),
    };
    let call = RpcCall {
        timeout_ms: 1,
        subject: "svc",
        payload: b"question",
    };
    let input = [
        client_hello(),
        frame(Opcode::Ping, 0, 9, b"ping"),
        frame(Opcode::Pong, 0, 9, b""),
        frame(
            Opcode::Publish,
            0x81,
            1,
            &[record_of(Kind::Definition, 0, b"a.b"), record(1, b"x")].concat(),
        ),
        frame(Opcode::Publish, 0, 2, b""),
        control(&subscribe, 3),
        control(&Credit { bytes: 4 }, 5),
        control(&Confirm { first: 1, last: 2 }, 5),
        control(&Unsubscribe { subscription: 1 }, 6),
        control(&call, 7),
        frame(Opcode::RpcResponse, 0, 8, b"answer"),
        frame(Opcode::RpcResponse, FAILED, 9, b"\x03\0\0\0\x02\0no"),
        control(
            &Close {
                code: ErrorCode::NONE,
                reason: "done",
            },
            0,
        ),
    ]
    .concat();
    let mut session = Session::<Server>::new(LIMITS);
    let mut heard = Vec::new();
    feed(&mut session, &input, |event| {
        heard.push(format!("{event:?}"))
    })
    .unwrap();
    assert_eq!(heard.len(), 13);
    assert!(heard[11].ends_with("Failure { code: 3, message: \"no\" })"));
    assert!(heard[0].starts_with("Hello") && heard[3].contains("Run(2 records, 96 bytes)"));
    assert!(heard[4].contains("first: true, last: true, run: Run(0 records"));
    let mut at_once = Session::<Server>::new(LIMITS);
    let (_, event) = at_once.next(&input).unwrap();
    assert!(matches!(
        event,
        Some(Event::Hello(
            _,
            Hello::Client(ClientHello { name: "test", .. })
        ))
    ));
    let subscribed = heard
        .iter()
        .filter(|event| event.contains(&format!("{subscribe:?}")))
        .count();
    assert_eq!(subscribed, 1);
    assert_eq!(
        session.carry_bytes(),
        0,
        "nothing was split, so nothing was buffered"
    );
}

#[test]
fn a_client_hears_everything_that_a_server_may_say() {
    let ack = Ack {
        level: AckLevel::Stored,
        count: 1,
        stream_sequence: 2,
        producer_sequence: 3,
    };
    let subscribed = Subscribed {
        subscription: 1,
        stream: 2,
        next: 3,
        first: 1,
        last: 2,
        name: "main",
    };
    let pieces = [
        server_hello(),
        control(&ack, 1),
        control(&subscribed, 4),
        frame(
            Opcode::Deliver,
            0,
            4,
            &[record(3, b"x"), record_of(Kind::Batch, 0, b"y")].concat(),
        ),
        control(
            &Gap {
                first: 4,
                last: 5,
                reason: GapReason::Damaged,
            },
            4,
        ),
        control(&ErrorBody::new(ErrorCode::NO_STREAM, "no"), 2),
        control(
            &RpcCall {
                timeout_ms: 1,
                subject: "svc",
                payload: b"",
            },
            7,
        ),
        frame(Opcode::RpcResponse, 0, 8, b"answer"),
        frame(Opcode::RpcResponse, FAILED, 9, b"\0\0\0\0\0\0"),
        control(
            &Close {
                code: ErrorCode::SHUTTING_DOWN,
                reason: "",
            },
            0,
        ),
    ];
    let mut session = Session::<Client>::new(LIMITS);
    let mut heard = 0;
    feed(&mut session, &pieces.concat(), |_| heard += 1).unwrap();
    assert_eq!(heard, pieces.len());
    assert!(!session.is_within_frame());
    let mut refused = Session::<Client>::new(LIMITS);
    feed(
        &mut refused,
        &control(&ErrorBody::new(ErrorCode::TOO_MANY, "full"), 0),
        |_| (),
    )
    .unwrap();
}

#[test]
fn a_frame_larger_than_any_input_is_handed_out_as_it_comes() {
    let records: Vec<u8> = (0..500)
        .flat_map(|sequence| record(sequence, &[7; 60]))
        .collect();
    let input = [client_hello(), frame(Opcode::Publish, 1, 5, &records)].concat();
    let mut session = Session::<Server>::new(LIMITS);
    let (mut got, mut firsts, mut lasts, mut runs) = (Vec::new(), 0, 0, 0);
    for piece in input.chunks(1000) {
        feed(&mut session, piece, |event| {
            if let Event::Records {
                frame,
                first,
                last,
                run,
            } = event
            {
                assert_eq!(frame.sequence, 5);
                firsts += usize::from(first);
                lasts += usize::from(last);
                runs += 1;
                got.extend(run.records().map(|raw| raw.verify().unwrap().sequence()));
            }
        })
        .unwrap();
        assert!(
            session.carry_bytes() <= 104,
            "only one record is ever split"
        );
    }
    assert_eq!(got, (0..500).collect::<Vec<_>>());
    assert_eq!((firsts, lasts), (1, 1));
    assert!(runs > 50);
}

#[test]
fn the_first_frame_must_be_hello_of_this_version_and_only_the_first() {
    let mut session = Session::<Server>::new(LIMITS);
    let violation_before = feed(&mut session, &frame(Opcode::Ping, 0, 1, b""), |_| ()).unwrap_err();
    assert_eq!(violation_before.fault, Fault::HelloMissing { opcode: 1 });
    assert_eq!(
        (violation_before.code, violation_before.offset),
        (ErrorCode::HELLO, 0)
    );

    let mut session = Session::<Server>::new(LIMITS);
    let other = control(
        &ClientHello {
            version: 2,
            max_frame_bytes: 1,
            name: "",
        },
        0,
    );
    let violation_version = feed(&mut session, &other, |_| ()).unwrap_err();
    assert_eq!(violation_version.fault, Fault::HelloVersion { version: 2 });

    assert_eq!(violation(&client_hello()).fault, Fault::HelloRepeated);
    let mut session = Session::<Server>::new(LIMITS);
    let long = raw_frame(
        Opcode::Hello as u8,
        0,
        0,
        FRAME_BYTES_MAX_BEFORE_HELLO + 1,
        b"",
    );
    assert_eq!(
        feed(&mut session, &long, |_| ()).unwrap_err().code,
        ErrorCode::FRAME_TOO_LONG
    );
}

#[test]
fn each_violation_has_its_code_and_the_byte_where_it_is() {
    let ping = frame(Opcode::Ping, 0, 1, b"");
    let mut bad_magic = record(1, b"x");
    bad_magic[0] = b'X';
    let mut bad_padding = record(1, b"x");
    bad_padding[47] = 1;
    let publish = |records: &[u8]| frame(Opcode::Publish, 0, 7, records);
    let cases: [(Vec<u8>, ErrorCode, u64); 18] = [
        (raw_frame(0x99, 0, 7, 0, b""), ErrorCode::UNSUPPORTED, 8),
        (raw_frame(0x20, 0, 7, 0, b""), ErrorCode::UNSUPPORTED, 8),
        (raw_frame(0x32, 0, 7, 0, b""), ErrorCode::UNSUPPORTED, 8),
        (raw_frame(0x11, 0, 7, 0, b""), ErrorCode::UNSUPPORTED, 8),
        (raw_frame(0x10, 0x02, 7, 0, b""), ErrorCode::UNSUPPORTED, 8),
        (raw_frame(0x10, 0x10, 7, 0, b""), ErrorCode::UNSUPPORTED, 8),
        // Only an answer can say that its responder failed.
        (
            raw_frame(0x10, FAILED, 7, 0, b""),
            ErrorCode::UNSUPPORTED,
            8,
        ),
        (
            frame(Opcode::RpcResponse, FAILED, 7, b"\0\0\0\0\x05\0no"),
            ErrorCode::MALFORMED,
            8 + 8 + 4,
        ),
        (raw_frame(0x01, 0x40, 7, 0, b""), ErrorCode::UNSUPPORTED, 8),
        (
            raw_frame(0x10, 0, 7, u32::MAX, b""),
            ErrorCode::FRAME_TOO_LONG,
            8,
        ),
        (raw_frame(0x01, 0, 7, 65, b""), ErrorCode::FRAME_TOO_LONG, 8),
        (
            frame(Opcode::Credit, 0, 7, &[0; 9]),
            ErrorCode::MALFORMED,
            8 + 8 + 8,
        ),
        (
            frame(Opcode::Credit, 0, 7, &[0; 7]),
            ErrorCode::MALFORMED,
            8 + 8,
        ),
        (
            // 32 bytes up to the texts, four of those of length 0, and half a position.
            frame(
                Opcode::Subscribe,
                0,
                7,
                &[&[0; 32][..], b"\x01\0a\x07\0"].concat(),
            ),
            ErrorCode::MALFORMED,
            8 + 8 + 32 + 3,
        ),
        (
            publish(&[record(1, b"x"), bad_magic].concat()),
            ErrorCode::RECORD,
            8 + 8 + 48,
        ),
        (publish(&bad_padding), ErrorCode::MALFORMED, 8 + 8),
        (
            publish(&record_of(Kind::Seal, 1, b"x")),
            ErrorCode::RECORD,
            8 + 8,
        ),
        (publish(&record(1, b"x")[..47]), ErrorCode::MALFORMED, 8 + 8),
    ];
    for (input, code, offset) in cases {
        let whole = violation(&[ping.clone(), input.clone()].concat());
        assert_eq!(
            (whole.code, whole.offset, whole.frame_sequence),
            (code, offset, 7),
            "{whole}"
        );
        let mut out = [0; 256];
        let len = whole.encode_error(&mut out).unwrap();
        let told = ErrorBody::decode(&out[8..len]).unwrap();
        assert_eq!((told.code, told.message), (code, &*whole.fault.to_string()));
    }
    assert_eq!(
        violation(&frame(Opcode::Publish, 0, 0, &[0; 39])).fault,
        Fault::Record(RecordError::Length { payload_len: 0 })
    );
}

#[test]
fn nothing_is_allocated_from_a_claimed_length() {
    let mut session = Session::<Server>::new(Limits::default());
    feed(&mut session, &client_hello(), |_| ()).unwrap();
    feed(
        &mut session,
        &raw_frame(Opcode::Subscribe as u8, 0, 0, CONTROL_BYTES_MAX, b"x"),
        |_| (),
    )
    .unwrap();
    assert!(session.carry_bytes() <= 64);

    let mut session = Session::<Server>::new(Limits::default());
    feed(&mut session, &client_hello(), |_| ()).unwrap();
    let record = record(1, &[7; 900_000]);
    feed(
        &mut session,
        &raw_frame(Opcode::Publish as u8, 0, 0, 4 << 20, &record[..100]),
        |_| (),
    )
    .unwrap();
    assert!(session.carry_bytes() <= 200);
    assert!(session.is_within_frame());
}

#[test]
fn a_record_over_the_limit_is_skipped_with_the_rest_of_its_frame_and_the_session_goes_on() {
    let body = [
        record(1, b"good"),
        record(2, &[7; 2000]),
        record(3, b"after"),
        record_of(Kind::Definition, 0, b"a"),
    ];
    let input = [
        frame(Opcode::Publish, 1, 5, &body.concat()),
        frame(Opcode::Publish, 1, 6, &record(4, &[7; 993])),
        frame(Opcode::Publish, 1, 7, &record(5, b"next")),
    ]
    .concat();
    for piece in [1, 7, 40, 100, 5000] {
        let mut session = Session::<Server>::new(LIMITS);
        feed(&mut session, &client_hello(), |_| ()).unwrap();
        let (mut oversized, mut got) = (Vec::new(), Vec::new());
        for input in input.chunks(piece) {
            feed(&mut session, input, |event| match event {
                Event::Oversized(found) => oversized.push(found),
                Event::Records {
                    run, last, frame, ..
                } => {
                    assert!(!last || frame.sequence == 7);
                    got.extend(run.records().map(|raw| raw.sequence()));
                }
                _ => panic!("nothing else was said"),
            })
            .unwrap();
        }
        assert_eq!(got, [1, 5]);
        let [inside, whole] = oversized[..] else {
            panic!("two are over the limit")
        };
        assert_eq!(
            (
                inside.sequence,
                inside.records,
                inside.first,
                inside.payload_len
            ),
            (2, 2, false, 2008)
        );
        assert_eq!(
            (
                whole.sequence,
                whole.records,
                whole.first,
                whole.payload_len
            ),
            (4, 1, true, 1001)
        );
        assert_eq!(whole.payload_max, 1000);
        assert_eq!(session.carry_bytes(), session.carry_bytes().min(200));
    }
}

#[test]
fn a_client_refuses_a_record_over_its_limit() {
    let input = [
        server_hello(),
        frame(Opcode::Deliver, 0, 5, &record(1, &[7; 2000])),
    ]
    .concat();
    let mut session = Session::<Client>::new(LIMITS);
    let violation = feed(&mut session, &input, |_| ()).unwrap_err();
    assert_eq!(violation.code, ErrorCode::RECORD_TOO_LONG);
}

#[test]
fn an_idle_session_gives_its_buffer_back() {
    let mut session = Session::<Server>::new(LIMITS);
    let hello = client_hello();
    feed(&mut session, &hello[..5], |_| ()).unwrap();
    session.release();
    assert!(session.is_within_frame(), "what has come is not lost");
    feed(&mut session, &hello[5..], |event| {
        assert!(matches!(event, Event::Hello(..)))
    })
    .unwrap();
    session.release();
    assert_eq!(session.carry_bytes(), 0);
    assert!(session.greeted());
}

proptest! {
    #[test]
    fn records_come_out_as_they_went_in_however_the_stream_is_cut(
        frames in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..5), 1..6),
        cuts in prop::collection::vec(1..300usize, 1..8),
    ) {
        let mut input = client_hello();
        let mut sequence = 0;
        for bodies in &frames {
            let records: Vec<u8> = bodies.iter().flat_map(|body| {
                sequence += 1;
                record(sequence, body)
            }).collect();
            input.extend(frame(Opcode::Publish, 0, sequence as u16, &records));
        }
        let mut session = Session::<Server>::new(LIMITS);
        let (mut got, mut ended, mut rest) = (Vec::new(), 0, &input[..]);
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at((*cut).min(rest.len()));
            rest = behind;
            feed(&mut session, piece, |event| if let Event::Records { run, last, .. } = event {
                got.extend(run.records().map(|raw| raw.verify().unwrap().body().to_vec()));
                ended += usize::from(last);
            }).unwrap();
        }
        prop_assert_eq!(got, frames.concat());
        prop_assert_eq!(ended, frames.len());
        prop_assert!(session.carry_bytes() <= LIMITS.carry_bytes_max());
    }
}
