//! After warm-up, nothing of the way from a publisher's record to a subscriber's eyes allocates: encoding, framing, both roles of the
//! session on input in pieces of any size, checking, stamping anew, answers on their way out, teleport buffers.

use trunkline_wire::headers::encode_headers;
use trunkline_wire::record::{self, Stamp};
use trunkline_wire::response::ResponseBuffer;
use trunkline_wire::teleport::{TeleportBuffer, TeleportReader};
use trunkline_wire::{
    Ack, AckLevel, Client, ClientHello, Credit, Event, FrameDecoder, FrameEncoder, FrameFlags,
    Kind, Limits, Opcode, Policy, Positions, RecordFlags, Role, RpcCall, Server, ServerHello,
    Session, Start, Subscribe, SubscribeFlags, Subscribed,
};

const LIMITS: Limits = Limits {
    max_frame_bytes: 1 << 20,
    max_record_bytes: 4096,
};
/// Records of each frame, besides the definition.
const RECORDS: u64 = 20;
/// What sockets hand over at once: one byte, less than a header, less than a record, some records, everything.
const PIECES: [usize; 5] = [1, 7, 100, 1000, 1 << 20];

/// A connection, both of its ends, and the memory that they use again and again.
struct World {
    client: ResponseBuffer,
    server: ResponseBuffer,
    from_client: Session<Server>,
    from_server: Session<Client>,
    frame: Vec<u8>,
    stored: Vec<u8>,
    teleport: TeleportBuffer,
    copy: Vec<u128>,
}

/// What was seen at the two ends.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    published: u64,
    delivered: u64,
    controls: u64,
    oversized: u64,
}

impl World {
    fn new() -> Self {
        Self {
            client: ResponseBuffer::with_limit(1 << 20),
            server: ResponseBuffer::with_limit(1 << 20),
            from_client: Session::new(LIMITS),
            from_server: Session::new(LIMITS),
            frame: vec![0; 1 << 16],
            stored: vec![0; 1 << 16],
            teleport: TeleportBuffer::with_limit(4096),
            copy: vec![0; 256],
        }
    }

    /// The first frames of both sides.
    fn greet(&mut self) {
        let hello = ClientHello {
            version: 1,
            max_frame_bytes: LIMITS.max_frame_bytes,
            name: "counted",
        };
        self.client.control(&hello, FrameFlags::empty(), 0).unwrap();
        let hello = ServerHello {
            version: 1,
            max_frame_bytes: LIMITS.max_frame_bytes,
            max_record_bytes: LIMITS.max_record_bytes,
            max_subscriptions: 8,
            epoch: 1,
            session: 2,
            wall_ns: 3,
            server: "counted",
        };
        self.server.control(&hello, FrameFlags::empty(), 0).unwrap();
    }

    /// One frame of records all the way, with the control frames around it.
    fn round(&mut self, piece: usize, seen: &mut Seen) {
        self.ask();
        self.publish();
        let mut stored = 0;
        feed(
            &mut self.from_client,
            &mut self.client,
            piece,
            |event| match event {
                Event::Records { run, .. } => {
                    for record in run.records().filter(|record| record.kind() == Kind::Data) {
                        let checked = record.verify().unwrap();
                        assert_eq!(checked.headers().value("n"), Some(&b"1"[..]));
                        let at = record.sequence();
                        stored +=
                            record::restamp(&record, &mut self.stored[stored..], at, 1, 9).unwrap();
                        seen.published += 1;
                    }
                }
                Event::Oversized(_) => seen.oversized += 1,
                _ => seen.controls += 1,
            },
        );
        self.answer(stored);
        feed(
            &mut self.from_server,
            &mut self.server,
            piece,
            |event| match event {
                Event::Records { run, .. } => {
                    let intact = run.records().filter(|record| record.verify().is_ok());
                    seen.delivered += intact.count() as u64;
                }
                _ => seen.controls += 1,
            },
        );
        self.carry_over();
    }

    /// What a client asks for.
    fn ask(&mut self) {
        let subscribe = Subscribe {
            subscription: 9,
            start: Start::First,
            policy: Policy::Spill,
            flags: SubscribeFlags::EXPLICIT_CONFIRMS,
            credit_bytes: 1 << 20,
            pattern: "orders.>",
            group: "",
            cursor: "",
            stream: "",
            positions: Positions::NONE,
        };
        let call = RpcCall {
            timeout_ms: 500,
            subject: "svc.echo",
            payload: b"hi",
        };
        let (none, client) = (FrameFlags::empty(), &mut self.client);
        client.control(&subscribe, none, 3).unwrap();
        client.control(&Credit { bytes: 99 }, none, 4).unwrap();
        client.control(&call, none, 5).unwrap();
        client.frame(Opcode::Ping, none, 1, b"12345678").unwrap();
    }

    /// A frame of records, the last of which is over the limit.
    fn publish(&mut self) {
        let mut body = [7; 300];
        let headers = encode_headers(&mut body, &[("n", b"1")]).unwrap();
        let mut encoder = FrameEncoder::new(&mut self.frame);
        let flags = FrameFlags::EXPECTS_RESPONSE.with_ack_level(AckLevel::Stored);
        let mut frame = encoder.begin(Opcode::Publish, flags, 2).unwrap();
        let definition = Stamp {
            kind: Kind::Definition,
            ..Stamp::DATA
        };
        frame.push_record(&definition, b"orders.eu").unwrap();
        for sequence in 1..=RECORDS {
            let stamp = Stamp {
                flags: RecordFlags::HEADERS,
                sequence,
                ..Stamp::DATA
            };
            let len = headers + sequence as usize * 10;
            frame.push_record(&stamp, &body[..len]).unwrap();
        }
        frame.push_record(&Stamp::DATA, &[7; 5000]).unwrap();
        frame.finish();
        for frame in FrameDecoder::new(encoder.bytes()) {
            let frame = frame.unwrap();
            let header = frame.header;
            self.client
                .frame(header.opcode, header.flags, header.sequence, frame.body)
                .unwrap();
        }
    }

    /// What a server answers, and the records that it stored.
    fn answer(&mut self, stored: usize) {
        let subscribed = Subscribed {
            subscription: 9,
            stream: 2,
            next: 1,
            first: 1,
            last: RECORDS,
            name: "main",
        };
        let ack = Ack {
            level: AckLevel::Stored,
            count: RECORDS as u32,
            stream_sequence: RECORDS,
            producer_sequence: RECORDS,
        };
        let (none, server) = (FrameFlags::empty(), &mut self.server);
        server.control(&subscribed, none, 4).unwrap();
        server.control(&ack, none, 2).unwrap();
        server
            .frame(Opcode::Deliver, none, 4, &self.stored[..stored])
            .unwrap();
    }

    /// Values to another program, which reads them in memory of its own.
    fn carry_over(&mut self) {
        use zerocopy::IntoBytes;
        self.teleport.reset();
        let text = self.teleport.write_text("orders.eu").unwrap();
        self.teleport.write(&text).unwrap();
        self.teleport.write_slice(&[1_u64, 2, 3]).unwrap();
        let bytes = self.teleport.finish();
        let copy = &mut self.copy.as_mut_bytes()[..bytes.len()];
        copy.copy_from_slice(bytes);
        let mut reader = TeleportReader::new(copy).unwrap();
        let text = *reader.read().unwrap();
        assert_eq!(reader.text(text), Ok("orders.eu"));
        assert_eq!(reader.read_slice::<u64>(3), Ok(&[1, 2, 3][..]));
    }
}

/// Hands over what is on its way out, in pieces, until nothing is left.
fn feed<R: Role>(
    session: &mut Session<R>,
    out: &mut ResponseBuffer,
    piece: usize,
    mut on_event: impl FnMut(Event<'_>),
) {
    while !out.is_empty() {
        let mut input = &out.bytes()[..piece.min(out.bytes().len())];
        let taken = input.len();
        loop {
            let (consumed, event) = session.next(input).unwrap();
            input = &input[consumed..];
            match event {
                Some(event) => on_event(event),
                None if input.is_empty() => break,
                None => {}
            }
        }
        out.consume(taken);
    }
}

#[test]
fn the_data_path_allocates_nothing_after_warm_up() {
    let mut world = World::new();
    let warm = allocation_counter::measure(|| {
        world.greet();
        for piece in PIECES {
            world.round(piece, &mut Seen::default());
        }
    });
    assert!(warm.count_total > 0, "warming up was not counted");
    assert!(world.from_client.carry_bytes() > 0, "nothing was split");

    let mut seen = Seen::default();
    let rounds = 100 * PIECES.len() as u64;
    let counted = allocation_counter::measure(|| {
        for piece in PIECES.into_iter().cycle().take(rounds as usize) {
            world.round(piece, &mut seen);
        }
    });
    let all = Seen {
        published: rounds * RECORDS,
        delivered: rounds * RECORDS,
        controls: rounds * 6,
        oversized: rounds,
    };
    assert_eq!((seen, counted.count_total), (all, 0));
}
