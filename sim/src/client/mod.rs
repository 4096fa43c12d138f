//! Clients: they publish and subscribe over the real protocol, keep account of what they were told, and check it.

mod publisher;
mod subscriber;

use trunkline_log::testing::Rng;
use trunkline_wire::{
    self as wire, Body, ClientHello, Event, FrameEncoder, FrameFlags, FrameHeader, Limits, Opcode,
    Session,
};

pub(crate) use self::publisher::Publisher;
pub(crate) use self::subscriber::Subscriber;
use crate::faults::{Fault, Faults};
use crate::invariant::{Checks, Violation};
use crate::ledger::Ledger;
use crate::model::StreamModel;
use crate::net::{Link, Received};
use crate::trace::Trace;

/// The longest record that the server takes of a session.
pub(crate) const RECORD_BYTES_MAX: u32 = 8 << 10;

/// What clients see of the world.
pub(crate) struct Desk<'a> {
    /// What was sent.
    pub ledger: &'a mut Ledger,
    /// What should be there.
    pub models: &'a mut [StreamModel],
    /// What goes wrong.
    pub faults: &'a mut Faults,
    /// Chance.
    pub rng: &'a mut Rng,
    /// What is checked.
    pub checks: &'a mut Checks,
    /// What happens.
    pub trace: &'a mut Trace,
    /// The steady clock.
    pub now_ns: u64,
    /// The server's incarnation.
    pub epoch: u32,
    /// By stream: reads of this incarnation that went wrong.
    pub misreads: &'a [u64],
}

/// A client and its connection.
#[derive(Debug)]
pub(crate) struct Client {
    /// The connection, while there is one.
    pub link: Option<u32>,
    /// What it does.
    pub role: Role,
    /// When it connects again.
    pub connects_at_ns: u64,
    wire: Session<wire::Client>,
    /// What is to be sent.
    out: Vec<u8>,
    /// It takes nothing until then.
    asleep_until_ns: u64,
    spoke_ns: u64,
    heard_ns: u64,
    greeted: bool,
}

/// What a client does.
#[derive(Debug)]
pub(crate) enum Role {
    /// It publishes.
    Publisher(Publisher),
    /// It subscribes.
    Subscriber(Subscriber),
}

/// What to do with the connection after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Go,
    /// The server said that it closes, or said something that it should not: over.
    Leave,
}

impl Client {
    /// A client that is not connected.
    pub(crate) fn new(role: Role) -> Self {
        Self {
            link: None,
            role,
            connects_at_ns: 0,
            wire: Session::new(Limits::default()),
            out: Vec::new(),
            asleep_until_ns: 0,
            spoke_ns: 0,
            heard_ns: 0,
            greeted: false,
        }
    }

    /// A connection was made.
    pub(crate) fn connected(&mut self, link: u32, desk: &mut Desk<'_>) {
        self.link = Some(link);
        self.wire = Session::new(Limits {
            max_record_bytes: u32::MAX,
            ..Limits::default()
        });
        self.out.clear();
        (self.spoke_ns, self.heard_ns) = (desk.now_ns, desk.now_ns);
        self.greeted = false;
        if desk.faults.strikes(Fault::NoHello) {
            return;
        }
        self.greeted = true;
        let hello = ClientHello {
            version: wire::PROTOCOL_VERSION,
            max_frame_bytes: 4 << 20,
            name: "sim",
        };
        control(&mut self.out, &hello, 0);
        match &mut self.role {
            Role::Publisher(publisher) => publisher.connected(),
            Role::Subscriber(subscriber) => subscriber.connected(&mut self.out, desk),
        }
    }

    /// The connection is gone.
    pub(crate) fn disconnected(&mut self, desk: &mut Desk<'_>) {
        self.link = None;
        self.connects_at_ns = desk.now_ns + desk.rng.below(200_000_000);
        match &mut self.role {
            Role::Publisher(publisher) => publisher.disconnected(),
            Role::Subscriber(subscriber) => subscriber.disconnected(),
        }
    }

    /// Wakes it up: from now on it takes what comes.
    pub(crate) fn wake(&mut self) {
        self.asleep_until_ns = 0;
    }

    /// Does something of its own accord.
    pub(crate) fn act(&mut self, desk: &mut Desk<'_>) {
        let Some(link) = self.link.filter(|_| self.greeted) else {
            return;
        };
        if desk.faults.strikes(Fault::SlowReader) {
            let ns = desk.faults.below(Fault::SlowReader, 15_000_000_000);
            self.asleep_until_ns = desk.now_ns + ns;
        }
        if desk.faults.strikes(Fault::Garbage) {
            let bits = desk.faults.below(Fault::Garbage, u64::MAX);
            self.out.extend_from_slice(&bits.to_le_bytes());
            self.out
                .extend_from_slice(&bits.rotate_left(17).to_le_bytes());
        }
        match &mut self.role {
            Role::Publisher(publisher) => publisher.publish(link, &mut self.out, desk),
            Role::Subscriber(subscriber) => subscriber.act(&mut self.out, desk),
        }
        if desk.now_ns.saturating_sub(self.spoke_ns) > PING_NS {
            self.spoke_ns = desk.now_ns;
            self.out
                .extend_from_slice(&[Opcode::Ping as u8, 0, 0, 0, 0, 0, 0, 0]);
        }
    }

    /// Sends what the connection takes. Whether anything went.
    pub(crate) fn say(&mut self, link: &mut Link) -> bool {
        let count = self.out.len().min(link.up.room());
        link.up.send(&self.out[..count]);
        self.out.drain(..count);
        count > 0
    }

    /// Takes what the connection brought. Whether anything came; and whether the connection is over.
    ///
    /// # Errors
    /// What should not have come.
    pub(crate) fn hear(
        &mut self,
        link: &mut Link,
        most: usize,
        desk: &mut Desk<'_>,
    ) -> Result<(bool, bool), Violation> {
        if desk.now_ns < self.asleep_until_ns {
            return Ok((false, false));
        }
        let bytes = match link.down.receive(most, desk.now_ns) {
            Received::Nothing => {
                let silent = desk.now_ns.saturating_sub(self.heard_ns) > SILENCE_NS;
                return Ok((silent, silent));
            }
            Received::End | Received::Reset => return Ok((true, true)),
            Received::Bytes(bytes) => bytes,
        };
        self.heard_ns = desk.now_ns;
        let mut input = &bytes[..];
        loop {
            let (consumed, event) = match self.wire.next(input) {
                Ok(next) => next,
                Err(violation) => {
                    desk.checks.check(
                        crate::invariant::Invariant::Delivery,
                        link.tampered,
                        || format!("the server broke the protocol: {violation:?}"),
                    )?;
                    return Ok((true, true));
                }
            };
            input = &input[consumed..];
            let Some(event) = event else {
                return Ok((true, false));
            };
            let next = match event {
                Event::Ping(frame, body) => {
                    let pong = FrameHeader {
                        opcode: Opcode::Pong,
                        length: body.len() as u32,
                        ..frame
                    };
                    self.out.extend_from_slice(&pong.encode());
                    self.out.extend_from_slice(body);
                    Next::Go
                }
                Event::Close(..) => Next::Leave,
                Event::Error(_, error) if error.flags.contains(wire::ErrorFlags::CLOSING) => {
                    desk.trace
                        .event(desk.now_ns, "told to go", &[u64::from(error.code.0)]);
                    Next::Leave
                }
                event => match &mut self.role {
                    Role::Publisher(publisher) => publisher.on_event(&event, link, desk)?,
                    Role::Subscriber(subscriber) => {
                        subscriber.on_event(&event, link, &mut self.out, desk)?
                    }
                },
            };
            if next == Next::Leave {
                return Ok((true, true));
            }
        }
    }
}

/// Adds a control frame to what is to be sent.
fn control<B: Body>(out: &mut Vec<u8>, body: &B, sequence: u16) {
    let start = out.len();
    out.resize(start + 1024, 0);
    let mut encoder = FrameEncoder::new(&mut out[start..]);
    let done = encoder.control(body, FrameFlags::empty(), sequence);
    let len = encoder.len();
    done.expect("control frames are short");
    out.truncate(start + len);
}

const PING_NS: u64 = 8_000_000_000;
/// A server that says nothing for so long is gone.
const SILENCE_NS: u64 = 60_000_000_000;
