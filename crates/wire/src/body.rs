//! The bodies of control frames: one struct each, borrowed from the bytes that they were read from.

use crate::field::{Fields, Malformed, Out};
use crate::frame::{AckLevel, ErrorCode, Opcode};
use crate::record::Short;

/// What all control bodies can do.
pub trait Body {
    /// The opcode of the frame that carries it.
    const OPCODE: Opcode;

    /// Writes the body at the start of `out` and returns its bytes.
    ///
    /// # Errors
    /// [`Short`] when `out` cannot take it, [`Short::NEVER`] when a text is longer than 65,535 bytes.
    fn encode(&self, out: &mut [u8]) -> Result<usize, Short>;
}

macro_rules! impl_body {
    ($($body:ident$(<$lifetime:lifetime>)? => $opcode:ident),* $(,)?) => {$(
        impl$(<$lifetime>)? Body for $body$(<$lifetime>)? {
            const OPCODE: Opcode = Opcode::$opcode;

            fn encode(&self, out: &mut [u8]) -> Result<usize, Short> {
                self.fields(Out::new(out)).finish()
            }
        }
    )*};
}

impl_body! {
    ClientHello<'a> => Hello,
    ServerHello<'a> => Hello,
    Close<'a> => Close,
    Ack => Ack,
    Subscribe<'a> => Subscribe,
    Subscribed<'a> => Subscribed,
    Unsubscribe => Unsubscribe,
    Credit => Credit,
    Confirm => Confirm,
    Gap => Gap,
    ErrorBody<'a> => Error,
    RpcCall<'a> => RpcCall,
}

/// The Hello of either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hello<'a> {
    /// What a client says.
    Client(ClientHello<'a>),
    /// What a server says.
    Server(ServerHello<'a>),
}

/// The first frame on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// Version of the protocol.
    pub version: u16,
    /// Longest body that the client takes.
    pub max_frame_bytes: u32,
    /// What the client calls itself, for people.
    pub name: &'a str,
}

impl<'a> ClientHello<'a> {
    /// Reads the body of a Hello frame.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(body);
        let version = fields.u16("version")?;
        fields.reserved(2)?;
        let hello = Self {
            version,
            max_frame_bytes: fields.u32("max_frame_bytes")?,
            name: fields.text("name")?,
        };
        fields.finish(hello)
    }

    fn fields<'o>(&self, out: Out<'o>) -> Out<'o> {
        out.u16(self.version)
            .u16(0)
            .u32(self.max_frame_bytes)
            .text(self.name)
    }
}

/// The server's answer to the client's Hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerHello<'a> {
    /// Version of the protocol.
    pub version: u16,
    /// Longest body that the server takes.
    pub max_frame_bytes: u32,
    /// Largest `payload_len` that the server takes.
    pub max_record_bytes: u32,
    /// Subscriptions that one session may have.
    pub max_subscriptions: u32,
    /// Random for each start of the server.
    pub epoch: u64,
    /// Names this session in the server's logs.
    pub session: u64,
    /// The server's clock, nanoseconds since 1970.
    pub wall_ns: u64,
    /// What the server calls itself, for people.
    pub server: &'a str,
}

impl<'a> ServerHello<'a> {
    /// Reads the body of a Hello frame.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(body);
        let version = fields.u16("version")?;
        fields.reserved(2)?;
        let hello = Self {
            version,
            max_frame_bytes: fields.u32("max_frame_bytes")?,
            max_record_bytes: fields.u32("max_record_bytes")?,
            max_subscriptions: fields.u32("max_subscriptions")?,
            epoch: fields.u64("epoch")?,
            session: fields.u64("session")?,
            wall_ns: fields.u64("wall_ns")?,
            server: fields.text("server")?,
        };
        fields.finish(hello)
    }

    fn fields<'o>(&self, out: Out<'o>) -> Out<'o> {
        out.u16(self.version)
            .u16(0)
            .u32(self.max_frame_bytes)
            .u32(self.max_record_bytes)
            .u32(self.max_subscriptions)
            .u64(self.epoch)
            .u64(self.session)
            .u64(self.wall_ns)
            .text(self.server)
    }
}

/// The sender is going to close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close<'a> {
    /// Why, as a number; [`ErrorCode::NONE`] when nothing is wrong.
    pub code: ErrorCode,
    /// Why, for people.
    pub reason: &'a str,
}

impl<'a> Close<'a> {
    /// Reads the body of a Close frame.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(body);
        let close = Self {
            code: ErrorCode(fields.u16("code")?),
            reason: fields.text("reason")?,
        };
        fields.finish(close)
    }

    fn fields<'o>(&self, out: Out<'o>) -> Out<'o> {
        out.u16(self.code.0).text(self.reason)
    }
}

/// Records of Publish frames, or the request that the frame names, are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// What the records have survived.
    pub level: AckLevel,
    /// How many records this Ack adds; for a Subscribe, how many channels were opened.
    pub count: u32,
    /// Of the last of them, in its stream.
    pub stream_sequence: u64,
    /// Of the last of them, as its producer numbered it.
    pub producer_sequence: u64,
}

impl Ack {
    /// Reads the body of an Ack frame.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(body);
        let level = fields.one_of("level", Fields::u8, AckLevel::from_u8)?;
        fields.reserved(3)?;
        let ack = Self {
            level,
            count: fields.u32("count")?,
            stream_sequence: fields.u64("stream_sequence")?,
            producer_sequence: fields.u64("producer_sequence")?,
        };
        fields.finish(ack)
    }

    fn fields<'o>(&self, out: Out<'o>) -> Out<'o> {
        out.u8(self.level as u8)
            .bytes(&[0; 3])
            .u32(self.count)
            .u64(self.stream_sequence)
            .u64(self.producer_sequence)
    }
}

/// Where a subscription starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With what is published from now on.
    #[default]
    New,
    /// With the first record that the stream still holds.
    First,
    /// With the last record that the stream holds.
    Last,
    /// With this sequence.
    Sequence(u64),
    /// With the first record at or after this time, in nanoseconds since 1970.
    Time(u64),
    /// Where the durable cursor stands.
    Cursor,
}

impl Start {
    fn parts(self) -> (u8, u64) {
        match self {
            Self::New => (0, 0),
            Self::First => (1, 0),
            Self::Last => (2, 0),
            Self::Sequence(sequence) => (3, sequence),
            Self::Time(ns) => (4, ns),
            Self::Cursor => (5, 0),
        }
    }

    /// `None` when there is no such start, or a value where none belongs.
    fn from_parts(start: u8, value: u64) -> Option<Self> {
        Some(match (start, value) {
            (0, 0) => Self::New,
            (1, 0) => Self::First,
            (2, 0) => Self::Last,
            (3, sequence) => Self::Sequence(sequence),
            (4, ns) => Self::Time(ns),
            (5, 0) => Self::Cursor,
            _ => return None,
        })
    }
}

/// The last of the numbers that [`Start`] has in a body.
const START_MAX: u8 = 5;

/// What happens when a subscriber does not keep up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Policy {
    /// Its records wait in the stream; retention may overtake it.
    #[default]
    Block = 0,
    /// What arrives while it is behind is left out.
    DropNewest = 1,
    /// What is oldest is left out.
    DropOldest = 2,
    /// Its connection ends.
    Disconnect = 3,
    /// It continues from the log.
    Spill = 4,
}

impl Policy {
    /// The policy with this number.
    pub const fn from_u8(policy: u8) -> Option<Self> {
        Some(match policy {
            0 => Self::Block,
            1 => Self::DropNewest,
            2 => Self::DropOldest,
            3 => Self::Disconnect,
            4 => Self::Spill,
            _ => return None,
        })
    }
}

bitflags::bitflags! {
    /// Flags of a subscription. All other bits must be zero.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct SubscribeFlags: u32 {
        /// The client confirms what it has processed.
        const EXPLICIT_CONFIRMS = 1;
        /// The client answers calls to the pattern, and gets no records.
        const RESPONDER = 1 << 1;
    }
}

/// Asks for the records whose subjects match a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Chosen by the client, unique in its session.
    pub subscription: u16,
    /// Where it starts.
    pub start: Start,
    /// What happens when it does not keep up.
    pub policy: Policy,
    /// What else it is.
    pub flags: SubscribeFlags,
    /// Bytes of Deliver bodies that each of its channels may be sent at first.
    pub credit_bytes: u64,
    /// What subjects must match.
    pub pattern: &'a str,
    /// The queue group, or empty.
    pub group: &'a str,
    /// The durable cursor, or empty.
    pub cursor: &'a str,
    /// The only stream to look in, or empty.
    pub stream: &'a str,
}

impl<'a> Subscribe<'a> {
    /// Reads the body of a Subscribe frame.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(body);
        let subscription = fields.u16("subscription")?;
        let start = fields.one_of("start", Fields::u8, |start| {
            (start <= START_MAX).then_some(start)
        })?;
        let policy = fields.one_of("policy", Fields::u8, Policy::from_u8)?;
        let flags = fields.one_of("flags", Fields::u32, SubscribeFlags::from_bits)?;
        let start = fields.one_of("value", Fields::u64, |value| {
            Start::from_parts(start, value)
        })?;
        let subscribe = Self {
            subscription,
            start,
            policy,
            flags,
            credit_bytes: fields.u64("credit_bytes")?,
            pattern: fields.text("pattern")?,
            group: fields.text("group")?,
            cursor: fields.text("cursor")?,
            stream: fields.text("stream")?,
        };
        fields.finish(subscribe)
    }

    fn fields<'o>(&self, out: Out<'o>) -> Out<'o> {
        let (start, value) = self.start.parts();
        out.u16(self.subscription)
            .u8(start)
            .u8(self.policy as u8)
            .u32(self.flags.bits())
            .u64(value)
            .u64(self.credit_bytes)
            .text(self.pattern)
            .text(self.group)
            .text(self.cursor)
            .text(self.stream)
    }
}

/// A channel was opened; the frame's sequence is its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed<'a> {
    /// The subscription that it belongs to.
    pub subscription: u16,
    /// The server's number of the stream.
    pub stream: u32,
    /// The first sequence that may be delivered.
    pub next: u64,
    /// The first sequence that the stream holds.
    pub first: u64,
    /// The last sequence that the stream holds.
    pub last: u64,
    /// The stream's name.
    pub name: &'a str,
}

impl<'a> Subscribed<'a> {
    /// Reads the body of a Subscribed frame.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(body);
        let subscription = fields.u16("subscription")?;
        fields.reserved(2)?;
        let subscribed = Self {
            subscription,
            stream: fields.u32("stream")?,
            next: fields.u64("next")?,
            first: fields.u64("first")?,
            last: fields.u64("last")?,
            name: fields.text("name")?,
        };
        fields.finish(subscribed)
    }

    fn fields<'o>(&self, out: Out<'o>) -> Out<'o> {
        out.u16(self.subscription)
            .u16(0)
            .u32(self.stream)
            .u64(self.next)
            .u64(self.first)
            .u64(self.last)
            .text(self.name)
    }
}

/// Ends a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// The client's number of it.
    pub subscription: u16,
}

impl Unsubscribe {
    /// Reads the body of an Unsubscribe frame.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(body);
        let unsubscribe = Self {
            subscription: fields.u16("subscription")?,
        };
        fields.finish(unsubscribe)
    }

    fn fields<'o>(&self, out: Out<'o>) -> Out<'o> {
        out.u16(self.subscription)
    }
}

/// Lets the server send more on the channel that the frame names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Bytes of Deliver bodies, on top of what is left.
    pub bytes: u64,
}

impl Credit {
    /// Reads the body of a Credit frame.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(body);
        let credit = Self {
            bytes: fields.u64("bytes")?,
        };
        fields.finish(credit)
    }

    fn fields<'o>(&self, out: Out<'o>) -> Out<'o> {
        out.u64(self.bytes)
    }
}

/// Records of the channel that the frame names are processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirm {
    /// The first of them; 0 for everything up to `last`.
    pub first: u64,
    /// The last of them.
    pub last: u64,
}

impl Confirm {
    /// Reads the body of a Confirm frame.
    ///
    /// # Errors
    /// The field that is wrong: `last` is also wrong when it is before `first`.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(body);
        let first = fields.u64("first")?;
        let last = fields.one_of("last", Fields::u64, |last| (last >= first).then_some(last))?;
        fields.finish(Self { first, last })
    }

    fn fields<'o>(&self, out: Out<'o>) -> Out<'o> {
        out.u64(self.first).u64(self.last)
    }
}

/// Why records will not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum GapReason {
    /// They were too old or too many for the stream's retention.
    Retention = 1,
    /// The subscription's slow-consumer policy left them out.
    SlowConsumer = 2,
    /// They are damaged on the disk.
    Damaged = 3,
}

impl GapReason {
    /// The reason with this number.
    pub const fn from_u8(reason: u8) -> Option<Self> {
        Some(match reason {
            1 => Self::Retention,
            2 => Self::SlowConsumer,
            3 => Self::Damaged,
            _ => return None,
        })
    }
}

/// Records will not come on the channel that the frame names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first of them.
    pub first: u64,
    /// The last of them.
    pub last: u64,
    /// Why.
    pub reason: GapReason,
}

impl Gap {
    /// Reads the body of a Gap frame.
    ///
    /// # Errors
    /// The field that is wrong: `last` is also wrong when it is before `first`.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(body);
        let first = fields.u64("first")?;
        let last = fields.one_of("last", Fields::u64, |last| (last >= first).then_some(last))?;
        let reason = fields.one_of("reason", Fields::u8, GapReason::from_u8)?;
        fields.finish(Self {
            first,
            last,
            reason,
        })
    }

    fn fields<'o>(&self, out: Out<'o>) -> Out<'o> {
        out.u64(self.first).u64(self.last).u8(self.reason as u8)
    }
}

bitflags::bitflags! {
    /// Flags of an Error. All other bits must be zero.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct ErrorFlags: u16 {
        /// The connection is closing.
        const CLOSING = 1;
    }
}

/// Something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorBody<'a> {
    /// Why, as a number.
    pub code: ErrorCode,
    /// What else it means.
    pub flags: ErrorFlags,
    /// How many records were refused.
    pub count: u32,
    /// Byte of the connection's input where it went wrong.
    pub offset: u64,
    /// The first record that was refused, as its producer numbered it.
    pub producer_sequence: u64,
    /// Why, for people.
    pub message: &'a str,
}

impl<'a> ErrorBody<'a> {
    /// An error about no record and no place.
    pub const fn new(code: ErrorCode, message: &'a str) -> Self {
        Self {
            code,
            flags: ErrorFlags::empty(),
            count: 0,
            offset: 0,
            producer_sequence: 0,
            message,
        }
    }

    /// Reads the body of an Error frame.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(body);
        let error = Self {
            code: ErrorCode(fields.u16("code")?),
            flags: fields.one_of("flags", Fields::u16, ErrorFlags::from_bits)?,
            count: fields.u32("count")?,
            offset: fields.u64("offset")?,
            producer_sequence: fields.u64("producer_sequence")?,
            message: fields.text("message")?,
        };
        fields.finish(error)
    }

    fn fields<'o>(&self, out: Out<'o>) -> Out<'o> {
        out.u16(self.code.0)
            .u16(self.flags.bits())
            .u32(self.count)
            .u64(self.offset)
            .u64(self.producer_sequence)
            .text(self.message)
    }
}

/// A call to whoever answers the subject; the frame's sequence is the correlation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RpcCall<'a> {
    /// How long the caller waits.
    pub timeout_ms: u32,
    /// Who is to answer.
    pub subject: &'a str,
    /// What is asked.
    pub payload: &'a [u8],
}

impl<'a> RpcCall<'a> {
    /// Reads the body of an RpcCall frame.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(body);
        let timeout_ms = fields.u32("timeout_ms")?;
        let subject = fields.text("subject")?;
        Ok(Self {
            timeout_ms,
            subject,
            payload: fields.rest(),
        })
    }

    fn fields<'o>(&self, out: Out<'o>) -> Out<'o> {
        out.u32(self.timeout_ms)
            .text(self.subject)
            .bytes(self.payload)
    }
}
