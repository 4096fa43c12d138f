//! Frames: header, opcodes, flags, handlers, encoder, decoder, response buffer, teleport buffer, subjects.

use std::collections::HashSet;

use proptest::prelude::*;
use trunkline_wire::frame::FRAME_HEADER_BYTES;
use trunkline_wire::response::ResponseBuffer;
use trunkline_wire::teleport::{TeleportBuffer, TeleportError, TeleportReader};
use trunkline_wire::{
    AckLevel, Close, Credit, ErrorCode, FrameDecoder, FrameEncoder, FrameFlags, FrameHeader,
    Handlers, Opcode, Short, Stamp, SubjectError, check_pattern, check_subject,
};

#[test]
fn opcodes_are_unique_and_only_they_are_known() {
    let numbers: HashSet<u8> = Opcode::ALL.iter().map(|opcode| *opcode as u8).collect();
    assert_eq!(numbers.len(), Opcode::ALL.len());
    for number in 0..=u8::MAX {
        assert_eq!(Opcode::from_u8(number).is_some(), numbers.contains(&number));
        assert!(Opcode::from_u8(number).is_none_or(|opcode| opcode as u8 == number));
    }
}

#[test]
fn opcodes_have_the_numbers_of_the_format() {
    let numbers = [
        (Opcode::Ping, 0x01),
        (Opcode::Pong, 0x02),
        (Opcode::Close, 0x03),
        (Opcode::Hello, 0x04),
        (Opcode::Publish, 0x10),
        (Opcode::Deliver, 0x11),
        (Opcode::Ack, 0x12),
        (Opcode::Subscribe, 0x13),
        (Opcode::Subscribed, 0x14),
        (Opcode::Unsubscribe, 0x15),
        (Opcode::Credit, 0x16),
        (Opcode::Confirm, 0x17),
        (Opcode::Gap, 0x18),
        (Opcode::Error, 0x1f),
        (Opcode::StateSync, 0x20),
        (Opcode::StateDelta, 0x21),
        (Opcode::HtipClone, 0x22),
        (Opcode::HtipPatchText, 0x23),
        (Opcode::RpcCall, 0x30),
        (Opcode::RpcResponse, 0x31),
        (Opcode::ClientEvent, 0x32),
    ];
    for (opcode, number) in numbers {
        assert_eq!(opcode as u8, number, "{opcode:?}");
        assert_eq!(Opcode::from_u8(number), Some(opcode));
    }
    assert_eq!(numbers.map(|(opcode, _)| opcode), Opcode::ALL);
}

#[test]
fn a_header_has_eight_bytes_and_says_each_field_in_its_place() {
    assert_eq!(FRAME_HEADER_BYTES, 8);
    let flags = FrameFlags::EXPECTS_RESPONSE;
    let header = FrameHeader {
        opcode: Opcode::Publish,
        flags,
        sequence: 0x0203,
        length: 0x0405_0607,
    };
    assert_eq!(header.encode(), [0x10, 1, 3, 2, 7, 6, 5, 4]);
    assert_eq!(FrameHeader::decode(&header.encode()), Ok(header));
    assert!(FrameHeader::decode(&[0xff, 0, 0, 0, 0, 0, 0, 0]).is_err());
    assert!(FrameHeader::decode(&[0x10, 0x20, 0, 0, 0, 0, 0, 0]).is_err());
}

#[test]
fn flags_compose_and_do_not_disturb_each_other() {
    for bits in 0..16u8 {
        for level in [
            AckLevel::Stream,
            AckLevel::Received,
            AckLevel::Stored,
            AckLevel::Synced,
        ] {
            let flags = FrameFlags::from_bits(bits).unwrap().with_ack_level(level);
            assert_eq!(flags.ack_level(), level);
            assert_eq!(flags.contains(FrameFlags::EXPECTS_RESPONSE), bits & 1 != 0);
            assert_eq!(flags.contains(FrameFlags::COMPRESSED), bits & 2 != 0);
            assert_eq!(flags.contains(FrameFlags::ENCRYPTED), bits & 4 != 0);
            assert_eq!(flags.contains(FrameFlags::FAILED), bits & 8 != 0);
            assert_eq!(flags.with_ack_level(AckLevel::Stream).bits(), bits);
        }
    }
}

#[test]
fn each_opcode_finds_its_own_handler_and_no_other() {
    let mut handlers = Handlers::new();
    for (index, opcode) in Opcode::ALL.into_iter().enumerate() {
        handlers.register(opcode, index).unwrap();
    }
    assert_eq!(handlers.register(Opcode::Ping, 99), Err(99));
    for (index, opcode) in Opcode::ALL.into_iter().enumerate() {
        assert_eq!(handlers.handler(opcode as u8), Some(&index));
    }
    assert_eq!(handlers.handler(0), None);
    *handlers.handler_mut(1).unwrap() = 5;
    assert_eq!(handlers.handler(Opcode::Ping as u8), Some(&5));
}

#[test]
fn a_frame_that_does_not_fit_leaves_the_earlier_ones() {
    let mut out = [0; 60];
    let mut encoder = FrameEncoder::new(&mut out);
    encoder
        .control(&Credit { bytes: 1 }, FrameFlags::empty(), 1)
        .unwrap();
    let refused = encoder.frame(Opcode::Ping, FrameFlags::empty(), 0, &[0; 64]);
    assert_eq!(refused, Err(Short { needed: 64 }));
    assert_eq!(encoder.len(), 16);

    let mut frame = encoder
        .begin(Opcode::Publish, FrameFlags::empty(), 2)
        .unwrap();
    assert!(frame.push_record(&Stamp::DATA, b"too long").is_err());
    assert_eq!(frame.finish().length, 0);
    assert_eq!(encoder.len(), 24);
    let unfinished = encoder.begin(Opcode::Publish, FrameFlags::empty(), 3);
    assert_eq!(unfinished.map(|frame| frame.body_len()), Ok(0));
    assert_eq!(
        FrameDecoder::new(encoder.bytes())
            .filter_map(Result::ok)
            .count(),
        2
    );
    let long = "x".repeat(1 << 16);
    let close = Close {
        code: ErrorCode::NONE,
        reason: &long,
    };
    assert_eq!(
        encoder.control(&close, FrameFlags::empty(), 0),
        Err(Short::NEVER)
    );
}

#[test]
fn a_response_buffer_is_used_again_without_growing() {
    let mut response = ResponseBuffer::with_limit(1000);
    let mut capacity = 0;
    for round in 0..10 {
        let mut frames = 0;
        while response
            .frame(Opcode::Pong, FrameFlags::empty(), frames, &[7; 50])
            .is_ok()
        {
            frames += 1;
        }
        assert_eq!(frames, 17, "of 58 bytes each");
        assert!(
            response
                .control(&Credit { bytes: 3 }, FrameFlags::empty(), 9)
                .is_err()
                == (986 + 16 > 1000)
        );
        if round == 0 {
            capacity = response.capacity();
        }
        assert_eq!(response.capacity(), capacity);
        response.consume(58 * 3 + 1);
        assert!(FrameDecoder::new(&response.bytes()[57..]).all(|frame| frame.is_ok()));
        response
            .frame(Opcode::Pong, FrameFlags::empty(), 17, &[7; 50])
            .unwrap();
        response.reset();
        assert!(response.is_empty() && response.capacity() == capacity && capacity <= 1000);
    }
}

#[test]
fn teleported_values_lie_where_their_alignment_wants_them() {
    let mut buffer = TeleportBuffer::with_limit(4096);
    for _ in 0..3 {
        buffer.reset();
        let name = buffer.write_text("größe").unwrap();
        let empty = buffer.write_text("").unwrap();
        buffer.write(&1u8).unwrap();
        let at = buffer.write(&u128::MAX).unwrap();
        buffer.write(&3u16).unwrap();
        buffer.write_slice(&[1u64, 2, 3]).unwrap();
        buffer.write(&[name, empty]).unwrap();
        assert_eq!(at % 16, 0);
        let bytes = buffer.finish();
        let mut reader = TeleportReader::new(bytes).unwrap();
        assert_eq!(reader.read::<u8>(), Ok(&1));
        assert_eq!(reader.read::<u128>(), Ok(&u128::MAX));
        assert_eq!(reader.read::<u16>(), Ok(&3));
        assert_eq!(reader.read_slice::<u64>(3), Ok(&[1, 2, 3][..]));
        let [name, empty] = *reader
            .read::<[trunkline_wire::teleport::Text; 2]>()
            .unwrap();
        assert_eq!(
            (reader.text(name), reader.text(empty)),
            (Ok("größe"), Ok(""))
        );
        assert_eq!(reader.read_at::<u128>(at), Ok(&u128::MAX));
        assert_eq!(
            reader.read_at::<u128>(at + 1),
            Err(TeleportError::Misaligned)
        );
        assert_eq!(
            reader.read_at::<u128>(1 << 20),
            Err(TeleportError::Truncated)
        );
        assert_eq!(reader.read::<u64>(), Err(TeleportError::Truncated));
        assert_eq!(
            reader.clone().read_slice::<u64>(usize::MAX).err(),
            Some(TeleportError::Truncated)
        );
        for len in 0..bytes.len() {
            assert!(TeleportReader::new(&bytes[..len]).is_err());
        }
        assert_eq!(
            TeleportReader::new(&bytes[1..]).err(),
            Some(TeleportError::Misaligned)
        );
    }
    assert_eq!(buffer.write(&[0u8; 4096]), Err(TeleportError::Full));
}

#[test]
fn subjects_and_patterns_are_told_apart_from_other_texts() {
    for good in [
        "a",
        "orders.eu.new",
        "größe.ß",
        "a*b.c>d",
        "$sys.streams",
        &"x".repeat(255),
    ] {
        assert_eq!(check_subject(good), Ok(()), "{good}");
        assert_eq!(check_pattern(good), Ok(()), "{good}");
    }
    for good in ["*", ">", "orders.*.new", "orders.>", "*.*.>"] {
        assert_eq!(check_pattern(good), Ok(()), "{good}");
        assert!(
            matches!(check_subject(good), Err(SubjectError::Wildcard { .. })),
            "{good}"
        );
    }
    assert_eq!(
        check_pattern("a.>.b"),
        Err(SubjectError::RestNotLast { offset: 2 })
    );
    assert_eq!(check_subject(""), Err(SubjectError::Empty));
    assert_eq!(
        check_subject(".a"),
        Err(SubjectError::EmptyToken { offset: 0 })
    );
    assert_eq!(
        check_subject("a..b"),
        Err(SubjectError::EmptyToken { offset: 2 })
    );
    assert_eq!(
        check_subject("a."),
        Err(SubjectError::EmptyToken { offset: 2 })
    );
    assert_eq!(
        check_subject("a b"),
        Err(SubjectError::Character {
            offset: 1,
            character: ' '
        })
    );
    assert_eq!(
        check_subject("a\u{7f}"),
        Err(SubjectError::Character {
            offset: 1,
            character: '\u{7f}'
        })
    );
    assert!(check_subject("a\u{a0}b").is_err());
    assert_eq!(
        check_subject(&"x".repeat(256)),
        Err(SubjectError::TooLong { bytes: 256 })
    );
}

proptest! {
    #[test]
    fn teleport_readers_survive_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..100), at in any::<u32>()) {
        let mut buffer = TeleportBuffer::with_limit(4096);
        buffer.write_slice(&bytes).unwrap();
        let text = buffer.write_text("text").unwrap();
        let good = buffer.finish().to_vec();
        let mut aligned = TeleportBuffer::with_limit(1 << 12);
        aligned.write_slice(&good).unwrap();
        if let Ok(mut reader) = TeleportReader::new(&aligned.finish()[16..]) {
            let _ = (reader.read::<u64>(), reader.read_at::<u64>(at), reader.text(text));
            let _ = reader.read_slice::<u32>(at as usize);
        }
    }
}
