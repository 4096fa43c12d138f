//! The bodies of control frames: one struct each, borrowed from the bytes that they were read from.

mod call;
mod channel;
mod positions;
mod subscription;

pub use self::call::{Failure, RpcCall};
pub use self::channel::{Confirm, Credit, Gap, GapReason};
pub use self::positions::Positions;
pub use self::subscription::{Policy, Start, Subscribe, SubscribeFlags, Subscribed, Unsubscribe};
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
    Failure<'a> => RpcResponse,
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
