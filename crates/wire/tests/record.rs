//! Records: round trips, and every way in which one can be wrong.

use proptest::prelude::*;
use trunkline_wire::headers::encode_headers;
use trunkline_wire::record::{self, HEADER_BYTES, PREFIX_BYTES, Run, body_record_bytes};
use trunkline_wire::{Kind, RawRecord, RecordError, RecordFlags, Short, Stamp, record_bytes};

const MAX: u32 = 1 << 20;

fn encoded(stamp: &Stamp, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0xee; body_record_bytes(body.len())];
    assert_eq!(record::encode(&mut out, stamp, body), Ok(out.len()));
    out
}

fn peek(bytes: &[u8]) -> Result<Option<RawRecord<'_>>, RecordError> {
    RawRecord::peek(bytes, MAX)
}

#[test]
fn sizes_are_those_of_the_format() {
    assert_eq!((HEADER_BYTES, PREFIX_BYTES), (32, 40));
    assert_eq!(record_bytes(8), 40);
    assert_eq!(record_bytes(9), 48);
    assert_eq!(body_record_bytes(64), 104);
}

#[test]
fn a_buffer_that_is_too_short_says_what_is_needed_and_stays() {
    let mut out = [0xee; 47];
    assert_eq!(
        record::encode(&mut out, &Stamp::DATA, b"x"),
        Err(Short { needed: 48 })
    );
    assert_eq!(out, [0xee; 47]);
}

#[test]
fn every_prefix_of_a_record_asks_for_more_bytes() {
    let bytes = encoded(&Stamp::DATA, b"hello");
    for len in 0..bytes.len() {
        assert!(peek(&bytes[..len]).unwrap().is_none(), "{len} bytes");
    }
    assert_eq!(peek(&bytes).unwrap().unwrap().len(), bytes.len());
}

#[test]
fn every_changed_byte_is_noticed() {
    let bytes = encoded(
        &Stamp {
            sequence: 5,
            ..Stamp::DATA
        },
        b"hello, world",
    );
    for index in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[index] ^= 1 << bit;
            let verified = peek(&changed).map(|raw| raw.map(RawRecord::verify));
            assert!(
                !matches!(verified, Ok(Some(Ok(_)))),
                "byte {index}, bit {bit}"
            );
        }
    }
}

#[test]
fn each_fault_of_the_framing_has_its_error() {
    let good = encoded(&Stamp::DATA, b"hello");
    let with = |index: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[index] = byte;
        peek(&bytes).err()
    };
    assert_eq!(with(0, b'X'), Some(RecordError::Magic));
    assert_eq!(with(4, 2), Some(RecordError::Version { version: 2 }));
    assert_eq!(with(5, 0), Some(RecordError::Kind { kind: 0 }));
    assert_eq!(with(5, 7), Some(RecordError::Kind { kind: 7 }));
    assert_eq!(with(6, 2), Some(RecordError::Flags { flags: 2 }));
    assert_eq!(with(7, 1), Some(RecordError::Flags { flags: 256 }));
    assert_eq!(with(24, 7), Some(RecordError::Length { payload_len: 7 }));
    assert_eq!(with(47, 1), Some(RecordError::Padding));
    assert_eq!(
        with(27, 0xff),
        Some(RecordError::Length {
            payload_len: 0xff00_000d
        })
    );
    assert_eq!(
        with(27, 0x10),
        Some(RecordError::TooLong {
            payload_len: 0x1000_000d,
            payload_max: MAX
        })
    );
    assert_eq!(peek(b"TLX").err(), Some(RecordError::Magic));
    assert_eq!(
        peek(b"TLN1\x02").err(),
        Some(RecordError::Version { version: 2 })
    );
    assert_eq!(
        peek(b"TLN1\x01\x09").err(),
        Some(RecordError::Kind { kind: 9 })
    );
}

#[test]
fn a_run_must_end_where_a_record_ends() {
    let mut bytes = encoded(&Stamp::DATA, b"one");
    bytes.extend(encoded(&Stamp::DATA, b"two"));
    let run = Run::check(&bytes, MAX).unwrap();
    assert_eq!((run.count(), run.len(), run.records().count()), (2, 96, 2));
    assert!(matches!(
        Run::check(&bytes[..95], MAX),
        Err(RecordError::Length { .. })
    ));
    assert!(Run::check(&[], MAX).unwrap().is_empty());
}

#[test]
fn headers_come_back_and_malformed_ones_are_refused_by_verify_and_restamp() {
    let mut body = vec![0; 256];
    let entries: [(&str, &[u8]); 2] = [("content-type", b"text/plain"), ("trace", &[0, 255])];
    let len = encode_headers(&mut body, &entries).unwrap();
    body.truncate(len);
    body.extend_from_slice(b"payload");
    let stamp = Stamp {
        flags: RecordFlags::HEADERS,
        ..Stamp::DATA
    };
    let bytes = encoded(&stamp, &body);
    let record = peek(&bytes).unwrap().unwrap().verify().unwrap();
    assert_eq!(record.headers().iter().collect::<Vec<_>>(), entries);
    assert_eq!(record.headers().value("trace"), Some(&[0, 255][..]));
    assert_eq!(record.headers().value("absent"), None);
    assert_eq!(record.payload(), b"payload");

    for malformed in [
        &b""[..],
        b"\x01\x00\x00\x00",
        b"\x00\x00\x01\x00",
        b"\x01\x00\x04\x00\x01\x00\x00\xff",
    ] {
        let bytes = encoded(&stamp, malformed);
        let raw = peek(&bytes).unwrap().unwrap();
        assert_eq!(
            raw.verify().err(),
            Some(RecordError::Headers),
            "{malformed:?}"
        );
        assert_eq!(
            record::restamp(&raw, &mut [0; 64], 1, 1, 1),
            Err(RecordError::Headers)
        );
    }
    let long = "k".repeat(256);
    assert_eq!(
        encode_headers(&mut body, &[(&long, b"")]),
        Err(Short::NEVER)
    );
    assert_eq!(
        encode_headers(&mut body, &[("k", &[0; 1 << 16])]),
        Err(Short::NEVER)
    );
}

#[test]
fn restamping_needs_room_for_the_whole_record() {
    let bytes = encoded(&Stamp::DATA, b"hello");
    let raw = peek(&bytes).unwrap().unwrap();
    assert_eq!(
        record::restamp(&raw, &mut [0; 47], 1, 1, 1),
        Err(RecordError::Length { payload_len: 13 })
    );
}

fn stamps() -> impl Strategy<Value = Stamp> {
    let kinds = [
        Kind::Data,
        Kind::Definition,
        Kind::Batch,
        Kind::Seal,
        Kind::Pad,
        Kind::Segment,
    ];
    (
        prop::sample::select(kinds.to_vec()),
        any::<u64>(),
        any::<u64>(),
        any::<u32>(),
        any::<u32>(),
    )
        .prop_map(
            |(kind, sequence, timestamp_ns, subject_id, route_flags)| Stamp {
                kind,
                flags: RecordFlags::empty(),
                sequence,
                timestamp_ns,
                subject_id,
                route_flags,
            },
        )
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(stamp in stamps(), body in prop::collection::vec(any::<u8>(), 0..2000)) {
        let bytes = encoded(&stamp, &body);
        prop_assert_eq!(bytes.len() % 8, 0);
        let raw = peek(&bytes).unwrap().unwrap();
        prop_assert_eq!(raw.bytes(), &bytes[..]);
        let record = raw.verify().unwrap();
        prop_assert_eq!(record.stamp(), stamp);
        prop_assert_eq!(record.body(), &body[..]);
        prop_assert_eq!(record.payload(), &body[..]);
        prop_assert!(record.headers().is_empty());
        prop_assert_eq!(record.payload_len() as usize, body.len() + 8);
    }

    #[test]
    fn restamping_is_encoding_under_another_stamp(
        stamp in stamps(),
        sequence in any::<u64>(),
        time in any::<u64>(),
        subject in any::<u32>(),
        body in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let bytes = encoded(&stamp, &body);
        let raw = peek(&bytes).unwrap().unwrap();
        let mut out = vec![0xee; bytes.len()];
        prop_assert_eq!(record::restamp(&raw, &mut out, sequence, time, subject), Ok(bytes.len()));
        let expected = Stamp { sequence, timestamp_ns: time, subject_id: subject, ..stamp };
        prop_assert_eq!(out, encoded(&expected, &body));
    }

    #[test]
    fn restamping_a_damaged_body_is_refused(
        body in prop::collection::vec(any::<u8>(), 1..600),
        index in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let mut bytes = encoded(&Stamp::DATA, &body);
        bytes[PREFIX_BYTES + index.index(body.len())] ^= 1 << bit;
        let raw = peek(&bytes).unwrap().unwrap();
        let mut out = vec![0; bytes.len()];
        prop_assert_eq!(record::restamp(&raw, &mut out, 1, 2, 3), Err(RecordError::Checksum));
        prop_assert_eq!(raw.verify().err(), Some(RecordError::Checksum));
    }
}
