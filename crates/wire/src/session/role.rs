//! The two sides of a connection.

use crate::body::{ClientHello, Hello, ServerHello};
use crate::field::Malformed;
use crate::frame::Opcode;
use crate::record::Kind;

/// Which side of the connection this is.
pub trait Role: sealed::Sealed {
    /// The opcode of the frames with records that this side gets.
    const RUNS: Opcode;
    /// Whether frames with this opcode come to this side.
    fn hears(opcode: Opcode) -> bool;
    /// Whether they may come before the other side's Hello.
    fn hears_before_hello(opcode: Opcode) -> bool;
    /// Whether a record of this kind may come.
    fn takes(kind: Kind) -> bool;
    /// Whether a record over the limit is skipped and told of, instead of ending the connection.
    const SKIPS_OVERSIZED: bool;
    /// Reads the other side's Hello.
    fn hello(body: &[u8]) -> Result<Hello<'_>, Malformed>;
}

/// The role of a server: hears clients.
#[derive(Clone, Copy, Debug)]
pub enum Server {}

/// The role of a client: hears a server.
#[derive(Clone, Copy, Debug)]
pub enum Client {}

impl Role for Server {
    const RUNS: Opcode = Opcode::Publish;
    const SKIPS_OVERSIZED: bool = true;

    fn hears(opcode: Opcode) -> bool {
        use Opcode::{
            Close, Confirm, Credit, Hello, Ping, Pong, Publish, RpcCall, RpcResponse, Subscribe,
            Unsubscribe,
        };
        matches!(
            opcode,
            Ping | Pong
                | Close
                | Hello
                | Publish
                | Subscribe
                | Unsubscribe
                | Credit
                | Confirm
                | RpcCall
                | RpcResponse
        )
    }

    fn hears_before_hello(opcode: Opcode) -> bool {
        opcode == Opcode::Hello
    }

    fn takes(kind: Kind) -> bool {
        matches!(kind, Kind::Data | Kind::Definition)
    }

    fn hello(body: &[u8]) -> Result<Hello<'_>, Malformed> {
        ClientHello::decode(body).map(Hello::Client)
    }
}

impl Role for Client {
    const RUNS: Opcode = Opcode::Deliver;
    const SKIPS_OVERSIZED: bool = false;

    fn hears(opcode: Opcode) -> bool {
        use Opcode::{
            Ack, Close, Deliver, Error, Gap, Hello, Ping, Pong, RpcCall, RpcResponse, Subscribed,
        };
        matches!(
            opcode,
            Ping | Pong
                | Close
                | Hello
                | Deliver
                | Ack
                | Subscribed
                | Gap
                | Error
                | RpcCall
                | RpcResponse
        )
    }

    /// A server may refuse before it greets.
    fn hears_before_hello(opcode: Opcode) -> bool {
        matches!(opcode, Opcode::Hello | Opcode::Error | Opcode::Close)
    }

    fn takes(_: Kind) -> bool {
        true
    }

    fn hello(body: &[u8]) -> Result<Hello<'_>, Malformed> {
        ServerHello::decode(body).map(Hello::Server)
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Server {}
    impl Sealed for super::Client {}
}
