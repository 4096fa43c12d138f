//! One file for each structure of `docs/format/wire.md`, and one for `docs/format/teleport.md`. `BLESS=1 cargo test -p trunkline-wire --test golden` writes
//! them anew, which is right only together with a new version of the format.

use std::path::Path;

use trunkline_wire::headers::encode_headers;
use trunkline_wire::record::{self, Stamp};
use trunkline_wire::teleport::{TeleportBuffer, TeleportError, TeleportReader, Text};
use trunkline_wire::{
    Ack, AckLevel, Body, ClientHello, Close, Confirm, Credit, ErrorBody, ErrorCode, ErrorFlags,
    Failure, FrameEncoder, FrameFlags, Gap, GapReason, Kind, Opcode, Policy, Positions,
    RecordFlags, RpcCall, ServerHello, Start, Subscribe, SubscribeFlags, Subscribed, Unsubscribe,
};
use zerocopy::IntoBytes;

const STAMP: Stamp = Stamp {
    kind: Kind::Data,
    flags: RecordFlags::empty(),
    sequence: 0x0102_0304_0506_0708,
    timestamp_ns: 1_763_712_000_123_456_789,
    subject_id: 7,
    route_flags: 0x8000_0001,
};

#[test]
fn golden_files_hold_what_is_encoded_today() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let bless = std::env::var_os("BLESS").is_some();
    let files = files();
    for (name, bytes) in &files {
        let path = folder.join(name);
        if bless {
            std::fs::write(&path, bytes).unwrap();
        }
        let golden =
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(&golden, bytes, "{name} differs");
    }
    assert_eq!(
        std::fs::read_dir(&folder).unwrap().count(),
        files.len(),
        "a golden file belongs to nothing"
    );
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let mut headers = [0; 64];
    let headers_len =
        encode_headers(&mut headers, &[("content-type", b"text/plain"), ("k", b"")]).unwrap();
    let with_headers = [&headers[..headers_len], b"payload"].concat();
    let flagged = Stamp {
        flags: RecordFlags::HEADERS,
        ..STAMP
    };
    let definition = Stamp {
        kind: Kind::Definition,
        ..STAMP
    };
    vec![
        ("record-data.bin", record(&STAMP, b"hello, world")),
        ("record-empty.bin", record(&STAMP, b"")),
        ("record-aligned.bin", record(&STAMP, &[0xab; 64])),
        ("record-headers.bin", record(&flagged, &with_headers)),
        (
            "record-definition.bin",
            record(&definition, b"orders.eu.new"),
        ),
        (
            "frame-ping.bin",
            frame(Opcode::Ping, FrameFlags::empty(), 1, b"12345678"),
        ),
        (
            "frame-pong.bin",
            frame(Opcode::Pong, FrameFlags::empty(), 1, b"12345678"),
        ),
        (
            "frame-close.bin",
            control(
                0,
                &Close {
                    code: ErrorCode::SHUTTING_DOWN,
                    reason: "bye",
                },
            ),
        ),
        ("frame-hello-client.bin", control(0, &client_hello())),
        ("frame-hello-server.bin", control(0, &server_hello())),
        ("frame-publish.bin", publish()),
        (
            "frame-publish-barrier.bin",
            frame(
                Opcode::Publish,
                FrameFlags::EXPECTS_RESPONSE.with_ack_level(AckLevel::Synced),
                3,
                b"",
            ),
        ),
        ("frame-deliver.bin", deliver()),
        ("frame-ack.bin", control(2, &ack())),
        ("frame-subscribe.bin", control(3, &subscribe())),
        ("frame-subscribe-positions.bin", subscribe_again()),
        ("frame-subscribed.bin", control(4, &subscribed())),
        (
            "frame-unsubscribe.bin",
            control(5, &Unsubscribe { subscription: 9 }),
        ),
        ("frame-credit.bin", control(4, &Credit { bytes: 1 << 20 })),
        (
            "frame-confirm.bin",
            control(4, &Confirm { first: 0, last: 99 }),
        ),
        (
            "frame-gap.bin",
            control(
                4,
                &Gap {
                    first: 10,
                    last: 19,
                    reason: GapReason::Retention,
                },
            ),
        ),
        ("frame-error.bin", control(2, &error())),
        (
            "frame-rpc-call.bin",
            control(
                6,
                &RpcCall {
                    timeout_ms: 500,
                    subject: "svc.echo",
                    payload: b"hi",
                },
            ),
        ),
        (
            "frame-rpc-response.bin",
            frame(Opcode::RpcResponse, FrameFlags::empty(), 6, b"hi"),
        ),
        ("frame-rpc-failed.bin", rpc_failed()),
        ("session-client.bin", session_client()),
        ("session-server.bin", session_server()),
        ("teleport.bin", teleport()),
    ]
}

/// Read from the file, not from what is written today: older bytes stay readable.
#[test]
fn the_teleport_file_is_read_where_it_lies() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/teleport.bin");
    let file = std::fs::read(path).unwrap();
    let mut blocks = vec![0_u128; file.len().div_ceil(16)];
    let bytes = &mut blocks.as_mut_bytes()[..file.len()];
    bytes.copy_from_slice(&file);

    let mut reader = TeleportReader::new(bytes).unwrap();
    assert_eq!(u16::from_le(*reader.read().unwrap()), 7);
    assert_eq!(u64::from_le(*reader.read().unwrap()), 42);
    let texts: [Text; 2] = *reader.read().unwrap();
    let texts = texts.map(|text| reader.text(text).unwrap());
    assert_eq!(texts, ["Hello, World!", "\u{e9}t\u{e9}"]);
    assert_eq!(reader.read::<u8>(), Err(TeleportError::Truncated));
    let at_its_offset: &u64 = reader.read_at(24).unwrap();
    assert_eq!(u64::from_le(*at_its_offset), 42);
}

fn teleport() -> Vec<u8> {
    let mut buffer = TeleportBuffer::with_limit(4096);
    let greeting = buffer.write_text("Hello, World!").unwrap();
    let summer = buffer.write_text("\u{e9}t\u{e9}").unwrap();
    // In one byte order wherever the test runs.
    buffer.write(&7_u16.to_le()).unwrap();
    buffer.write(&42_u64.to_le()).unwrap();
    buffer.write_slice(&[greeting, summer]).unwrap();
    buffer.finish().to_vec()
}

fn client_hello() -> ClientHello<'static> {
    ClientHello {
        version: 1,
        max_frame_bytes: 4 << 20,
        name: "golden",
    }
}

fn server_hello() -> ServerHello<'static> {
    ServerHello {
        version: 1,
        max_frame_bytes: 4 << 20,
        max_record_bytes: 1 << 20,
        max_subscriptions: 1024,
        epoch: 0x1122_3344_5566_7788,
        session: 3,
        wall_ns: STAMP.timestamp_ns,
        server: "trunkline 0.1.0",
    }
}

fn ack() -> Ack {
    Ack {
        level: AckLevel::Stored,
        count: 3,
        stream_sequence: 1000,
        producer_sequence: 12,
    }
}

fn subscribe() -> Subscribe<'static> {
    Subscribe {
        subscription: 9,
        start: Start::Sequence(5),
        policy: Policy::Spill,
        flags: SubscribeFlags::EXPLICIT_CONFIRMS,
        credit_bytes: 1 << 20,
        pattern: "orders.>",
        group: "workers",
        cursor: "main-cursor",
        stream: "main",
        positions: Positions::NONE,
    }
}

fn subscribe_again() -> Vec<u8> {
    let mut bytes = Vec::new();
    Positions::push(&mut bytes, "main", 0x0102_0304_0506_0708).unwrap();
    Positions::push(&mut bytes, "orders", 17).unwrap();
    let subscribe = Subscribe {
        start: Start::First,
        cursor: "",
        stream: "",
        positions: Positions::new(&bytes).unwrap(),
        ..subscribe()
    };
    control(3, &subscribe)
}

fn rpc_failed() -> Vec<u8> {
    let failure = Failure {
        code: 3,
        message: "no such picture",
    };
    let mut out = [0xee; 256];
    let mut encoder = FrameEncoder::new(&mut out);
    encoder.control(&failure, FrameFlags::FAILED, 6).unwrap();
    encoder.bytes().to_vec()
}

fn subscribed() -> Subscribed<'static> {
    Subscribed {
        subscription: 9,
        stream: 2,
        next: 5,
        first: 1,
        last: 77,
        name: "main",
    }
}

fn error() -> ErrorBody<'static> {
    ErrorBody {
        flags: ErrorFlags::CLOSING,
        count: 2,
        offset: 4096,
        producer_sequence: 12,
        ..ErrorBody::new(ErrorCode::CHECKSUM, "checksum of the record does not match")
    }
}

fn publish() -> Vec<u8> {
    let flags = FrameFlags::EXPECTS_RESPONSE.with_ack_level(AckLevel::Synced);
    let definition = Stamp {
        kind: Kind::Definition,
        ..STAMP
    };
    run(
        Opcode::Publish,
        flags,
        2,
        &[
            (definition, b"orders.eu.new"),
            (STAMP, b"one"),
            (STAMP, b"two"),
        ],
    )
}

fn deliver() -> Vec<u8> {
    let (definition, pad) = (
        Stamp {
            kind: Kind::Definition,
            ..STAMP
        },
        Stamp {
            kind: Kind::Pad,
            ..STAMP
        },
    );
    let records: [(Stamp, &[u8]); 3] = [
        (definition, b"orders.eu.new"),
        (pad, &[0; 16]),
        (STAMP, b"one"),
    ];
    run(Opcode::Deliver, FrameFlags::empty(), 4, &records)
}

/// What a client says that publishes and subscribes.
fn session_client() -> Vec<u8> {
    [
        control(0, &client_hello()),
        publish(),
        control(3, &subscribe()),
        control(4, &Credit { bytes: 99 }),
    ]
    .concat()
}

/// What its server answers.
fn session_server() -> Vec<u8> {
    [
        control(0, &server_hello()),
        control(2, &ack()),
        control(4, &subscribed()),
        deliver(),
        control(2, &error()),
    ]
    .concat()
}

fn record(stamp: &Stamp, body: &[u8]) -> Vec<u8> {
    let mut out = [0xee; 256];
    let len = record::encode(&mut out, stamp, body).unwrap();
    out[..len].to_vec()
}

fn frame(opcode: Opcode, flags: FrameFlags, sequence: u16, body: &[u8]) -> Vec<u8> {
    let mut out = [0xee; 256];
    let mut encoder = FrameEncoder::new(&mut out);
    encoder.frame(opcode, flags, sequence, body).unwrap();
    encoder.bytes().to_vec()
}

fn control<B: Body>(sequence: u16, body: &B) -> Vec<u8> {
    let mut out = [0xee; 256];
    let mut encoder = FrameEncoder::new(&mut out);
    encoder
        .control(body, FrameFlags::empty(), sequence)
        .unwrap();
    encoder.bytes().to_vec()
}

fn run(opcode: Opcode, flags: FrameFlags, sequence: u16, records: &[(Stamp, &[u8])]) -> Vec<u8> {
    let mut out = [0xee; 512];
    let mut encoder = FrameEncoder::new(&mut out);
    let mut frame = encoder.begin(opcode, flags, sequence).unwrap();
    for (stamp, body) in records {
        frame.push_record(stamp, body).unwrap();
    }
    frame.finish();
    encoder.bytes().to_vec()
}
