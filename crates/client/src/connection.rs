//! One connection, driven by its caller: for those who count microseconds.

use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use trunkline_wire::frame::FRAME_BYTES_MAX;
use trunkline_wire::{
    Ack, AckLevel, ClientHello, Close, Confirm, Credit, ErrorBody, ErrorCode, ErrorFlags,
    Event as Wire, Failure, FrameFlags, Gap, Hello, Kind, Limits, Opcode, PROTOCOL_VERSION,
    RpcCall, Run, ServerHello, Subscribed, Unsubscribe,
};

use crate::error::{Error, PublishError};
use crate::link::Link;
use crate::message::Message;
use crate::names::Names;
use crate::outlet::{Answered, Outlet, OutletLimits};
use crate::publication::Publication;
use crate::subscription::Subscription;

/// How a [`Connection`] introduces itself, and what it keeps at most.
#[derive(Clone, Debug)]
pub struct ConnectionOptions {
    /// What it calls itself, for people.
    pub name: String,
    /// How long the network may take, over all of the server's addresses. Default 5 s.
    pub connect_timeout: Duration,
    /// Bytes that may wait to be sent. Default 1 MiB.
    pub buffer_bytes: usize,
    /// Records that may be unacknowledged. Default 65,536.
    pub in_flight_records: u64,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            name: "trunkline-client".into(),
            connect_timeout: Duration::from_secs(5),
            buffer_bytes: 1 << 20,
            in_flight_records: 65_536,
        }
    }
}

/// What happened on a [`Connection`].
#[derive(Debug)]
pub enum Event<'a> {
    /// The server has introduced itself.
    Hello(ServerHello<'a>),
    /// A record came on a subscription.
    Record {
        /// The number that `subscribe` returned.
        subscription: u16,
        /// The record.
        message: Message<'a>,
    },
    /// Published records are acknowledged: all with producer sequences up to `last` that were not refused.
    Acked {
        /// The producer's sequence of the first of them.
        first: u64,
        /// And of the last.
        last: u64,
        /// What the server said.
        ack: Ack,
    },
    /// Published records are refused. Where `error.count` is less than these are, it is the first and some of the others: the rest is stored.
    Refused {
        /// The producer's sequence of the first of them.
        first: u64,
        /// And of the last.
        last: u64,
        /// What the server said.
        error: ErrorBody<'a>,
    },
    /// A channel was opened for a subscription.
    Subscribed(Subscribed<'a>),
    /// Records will not come on a subscription.
    Gap {
        /// The subscription.
        subscription: u16,
        /// Which, and why.
        gap: Gap,
    },
    /// A `subscribe` or `unsubscribe` is done.
    Done {
        /// The request's number.
        request: u16,
        /// What the server said.
        ack: Ack,
    },
    /// A `subscribe`, `unsubscribe` or `call` failed.
    Failed {
        /// The request's number.
        request: u16,
        /// What the server said.
        error: ErrorBody<'a>,
    },
    /// A `call` was answered.
    Answer {
        /// The request's number.
        request: u16,
        /// The answer.
        payload: &'a [u8],
    },
    /// The responder of a `call` failed.
    ResponderFailed {
        /// The request's number.
        request: u16,
        /// What the responder said.
        failure: Failure<'a>,
    },
    /// Somebody calls a subject that this connection responds to: [`Connection::respond`] under this number.
    Call {
        /// The call's number.
        correlation: u16,
        /// What is asked.
        call: RpcCall<'a>,
    },
    /// Another subscription took the durable cursor of this one over: nothing comes any more of the streams that they share. Subscribing
    /// again would take it back.
    TakenOver {
        /// The number that `subscribe` returned.
        subscription: u16,
        /// What the server said.
        error: ErrorBody<'a>,
    },
    /// The answer to [`Connection::ping`].
    Pong,
    /// The server said something about no request, or that it is closing: the next `poll` may fail.
    Notice(ErrorBody<'a>),
    /// The server is closing the connection in good order.
    Closing(Close<'a>),
}

/// A non-blocking connection without a thread. The caller publishes, [`flush`](Self::flush)es and
/// [`poll`](Self::poll)s in the order that suits it; nothing is sent and nothing received otherwise. After warm-up it
/// allocates nothing for a record.
///
/// Getters: [`in_flight`](Self::in_flight), [`stream`](Self::stream). Commands: [`publish`](Self::publish),
/// [`subscribe`](Self::subscribe), [`call`](Self::call), … World to us and us to the caller: [`poll`](Self::poll). Us to the world:
/// [`flush`](Self::flush).
///
/// There is no reconnecting here: when `poll` or `flush` fails, the connection is over.
#[derive(Debug)]
pub struct Connection {
    link: Link,
    outlet: Outlet,
    inlet: Inlet,
    subscriptions: u16,
}

/// What is known of the channels.
#[derive(Debug, Default)]
struct Inlet {
    channels: Vec<Option<Channel>>,
    /// Credit that each subscription starts with, by its number.
    credits: Vec<(u16, u64)>,
}

#[derive(Debug)]
struct Channel {
    subscription: u16,
    stream: Box<str>,
    names: Names,
    /// Bytes that came since credit was given.
    used: u64,
    /// Credit is given when so much came: half of what the channel started with.
    grant_bytes: u64,
}

impl Connection {
    /// Connects, waiting for the network but not for the server's Hello, which comes as an event. Subscriptions and records
    /// may be sent before it. A server that hangs is connected to and says nothing: who cannot wait for ever counts the time until
    /// [`Event::Hello`].
    ///
    /// # Errors
    /// The last address's that was tried.
    pub fn connect(address: &str, options: &ConnectionOptions) -> Result<Self, Error> {
        let stream = Link::connect(address, Instant::now() + options.connect_timeout)?;
        Self::from_stream(stream, options)
    }

    /// Takes a stream that is connected.
    ///
    /// # Errors
    /// When it cannot be made non-blocking.
    pub fn from_stream(stream: TcpStream, options: &ConnectionOptions) -> Result<Self, Error> {
        let link = Link::new(stream)?;
        let mut outlet = Outlet::new(OutletLimits {
            buffer_bytes: options.buffer_bytes,
            in_flight_records: options.in_flight_records,
            resend: false,
        });
        let hello = ClientHello {
            version: PROTOCOL_VERSION,
            max_frame_bytes: FRAME_BYTES_MAX,
            name: &options.name,
        };
        outlet
            .control(&hello, FrameFlags::empty(), 0)
            .ok_or(Error::TooMany)?;
        Ok(Self {
            link,
            outlet,
            inlet: Inlet::default(),
            subscriptions: 0,
        })
    }

    /// Records that were published and not yet acknowledged or refused.
    pub fn in_flight(&self) -> u64 {
        self.outlet.in_flight()
    }

    /// The socket: to wait on.
    pub fn stream(&self) -> &TcpStream {
        self.link.stream()
    }

    /// Whether there is something for [`flush`](Self::flush) to send.
    pub fn wants_to_send(&self) -> bool {
        !self.link.is_sent() || !self.outlet.is_empty()
    }

    /// Encodes a record into the buffer of what is to be sent, and returns its producer's sequence.
    ///
    /// # Errors
    /// [`PublishError::Full`] until more was sent and acknowledged: `flush` and `poll`, then try again. Others say what is wrong with the
    /// record.
    #[inline]
    pub fn publish(&mut self, subject: &str, payload: &[u8]) -> Result<u64, PublishError> {
        self.outlet.publish(&Publication::new(subject, payload))
    }

    /// The same with headers, ack level and more.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    #[inline]
    pub fn publish_with(&mut self, publication: &Publication<'_>) -> Result<u64, PublishError> {
        self.outlet.publish(publication)
    }

    /// Asks for records. Returns the subscription's number and that of the request, which a [`Event::Done`] or
    /// [`Event::Failed`] will name. Credit is given as records come through [`poll`](Self::poll).
    ///
    /// # Errors
    /// [`Error::TooMany`].
    pub fn subscribe(&mut self, subscription: &Subscription) -> Result<(u16, u16), Error> {
        let number = self.subscriptions.checked_add(1).ok_or(Error::TooMany)?;
        let request = self
            .outlet
            .request(&subscription.body(number))
            .ok_or(Error::TooMany)?;
        self.subscriptions = number;
        self.inlet.credits.push((number, subscription.credit_bytes));
        Ok((number, request))
    }

    /// Asks for calls to subjects that match `pattern`; several who do so share them.
    ///
    /// # Errors
    /// [`Error::TooMany`].
    pub fn respond_to(&mut self, pattern: &str) -> Result<(u16, u16), Error> {
        self.subscribe(&Subscription::new(pattern).responder())
    }

    /// Ends a subscription. Records that are under way still come.
    ///
    /// # Errors
    /// [`Error::TooMany`].
    pub fn unsubscribe(&mut self, subscription: u16) -> Result<u16, Error> {
        self.outlet
            .request(&Unsubscribe { subscription })
            .ok_or(Error::TooMany)
    }

    /// Says that records of a stream are processed: `first` to `last`, or everything up to `last` when `first` is 0.
    ///
    /// # Errors
    /// [`Error::TooMany`] when too much waits to be sent.
    pub fn confirm(
        &mut self,
        subscription: u16,
        stream: &str,
        first: u64,
        last: u64,
    ) -> Result<(), Error> {
        let mut channels = self.inlet.channels.iter().enumerate();
        let found = channels.find(|(_, channel)| {
            channel.as_ref().is_some_and(|channel| {
                channel.subscription == subscription && *channel.stream == *stream
            })
        });
        let Some((channel, _)) = found else {
            return Ok(());
        };
        let confirm = Confirm { first, last };
        self.outlet
            .control(&confirm, FrameFlags::empty(), channel as u16)
            .ok_or(Error::TooMany)
    }

    /// Calls whoever responds to `subject`, and returns the request's number. The server keeps the time, in milliseconds and for up to a minute.
    ///
    /// # Errors
    /// [`Error::Publish`] when the subject is none or the payload too long, [`Error::TooMany`].
    pub fn call(&mut self, subject: &str, payload: &[u8], timeout: Duration) -> Result<u16, Error> {
        let call = self.outlet.call(subject, payload, timeout)?;
        self.outlet.request(&call).ok_or(Error::TooMany)
    }

    /// Answers a call.
    ///
    /// # Errors
    /// [`Error::Publish`] with [`PublishError::TooLong`] when the server does not take an answer of this length: nothing is sent, and
    /// [`respond_failed`](Self::respond_failed) is how the caller learns of it. [`Error::TooMany`] when too much waits to be sent.
    pub fn respond(&mut self, correlation: u16, payload: &[u8]) -> Result<(), Error> {
        self.outlet.answer(correlation, payload)
    }

    /// Answers a call by saying that there is no answer: a code of the responder's choice, and why, for people.
    ///
    /// # Errors
    /// As [`respond`](Self::respond). The message is too long from 65,536 bytes on, where the server's limit is not below that.
    pub fn respond_failed(
        &mut self,
        correlation: u16,
        code: u32,
        message: &str,
    ) -> Result<(), Error> {
        self.outlet.failure(correlation, code, message)
    }

    /// Asks that everything that was published before gets to `level`, whatever it was published with. Returns the request's number, which
    /// [`Event::Done`] names when it has, [`Event::Failed`] when it never will.
    ///
    /// # Errors
    /// [`Error::TooMany`].
    pub fn barrier(&mut self, level: AckLevel) -> Result<u16, Error> {
        self.outlet.barrier(level).ok_or(Error::TooMany)
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// [`Error::TooMany`] when too much waits to be sent.
    pub fn ping(&mut self) -> Result<(), Error> {
        self.outlet
            .frame(Opcode::Ping, 0, &[])
            .ok_or(Error::TooMany)
    }

    /// Says goodbye; to be flushed.
    ///
    /// # Errors
    /// [`Error::TooMany`] when too much waits to be sent.
    pub fn close(&mut self) -> Result<(), Error> {
        let close = Close {
            code: ErrorCode::NONE,
            reason: "",
        };
        self.outlet
            .control(&close, FrameFlags::empty(), 0)
            .ok_or(Error::TooMany)
    }

    /// Sends what the socket takes. `true` when everything is sent.
    ///
    /// # Errors
    /// The connection is over.
    pub fn flush(&mut self) -> Result<bool, Error> {
        loop {
            if self.link.is_sent() {
                self.outlet.close();
                if self.outlet.is_empty() {
                    return Ok(true);
                }
                let (sending, unsent) = self.link.sending();
                *unsent = self.outlet.take(sending);
            }
            self.link.send()?;
            if !self.link.is_sent() {
                return Ok(false);
            }
        }
    }

    /// Receives once and tells what came; returns how many bytes that were, 0 when there was nothing. Each record's checksum is
    /// checked. Credit and pongs go out with the next [`flush`](Self::flush).
    ///
    /// # Errors
    /// The connection is over.
    pub fn poll(&mut self, mut on: impl FnMut(Event<'_>)) -> Result<usize, Error> {
        if !self.link.receive()? {
            return Ok(0);
        }
        let before = self.link.session().offset();
        while let Some(event) = self.link.next()? {
            let limits = self.inlet.on_event(event, &mut self.outlet, &mut on)?;
            if let Some(limits) = limits {
                self.outlet.set_limits(limits);
            }
        }
        Ok((self.link.session().offset() - before) as usize)
    }
}

impl Inlet {
    /// Handles one event; returns the server's limits if that was its Hello.
    #[inline]
    fn on_event(
        &mut self,
        event: Wire<'_>,
        outlet: &mut Outlet,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<Option<Limits>, Error> {
        match event {
            Wire::Records { frame, run, .. } => self.on_records(frame.sequence, run, outlet, on)?,
            Wire::Hello(_, Hello::Server(hello)) => {
                on(Event::Hello(hello));
                let ServerHello {
                    max_frame_bytes,
                    max_record_bytes,
                    ..
                } = hello;
                return Ok(Some(Limits {
                    max_frame_bytes,
                    max_record_bytes,
                }));
            }
            Wire::Ack(frame, ack) => match outlet.on_ack(frame.sequence, &ack) {
                Answered::Request(request) => on(Event::Done { request, ack }),
                Answered::Records(range) => on(Event::Acked {
                    first: range.first,
                    last: range.last,
                    ack,
                }),
                Answered::Some(_) | Answered::Nothing => {}
            },
            Wire::Error(frame, error) => match outlet.on_error(frame.sequence, &error) {
                Answered::Request(request) => on(Event::Failed { request, error }),
                Answered::Records(range) | Answered::Some(range)
                    if !error.flags.contains(ErrorFlags::CLOSING) =>
                {
                    on(Event::Refused {
                        first: range.first,
                        last: range.last,
                        error,
                    });
                }
                _ => match taken_over(frame.sequence, &error) {
                    Some(subscription) => on(Event::TakenOver {
                        subscription,
                        error,
                    }),
                    None => on(Event::Notice(error)),
                },
            },
            Wire::Subscribed(frame, subscribed) => {
                self.open(frame.sequence, &subscribed);
                on(Event::Subscribed(subscribed));
            }
            Wire::Gap(frame, gap) => {
                if let Some(Some(channel)) = self.channels.get(usize::from(frame.sequence)) {
                    on(Event::Gap {
                        subscription: channel.subscription,
                        gap,
                    });
                }
            }
            Wire::RpcCall(frame, call) => on(Event::Call {
                correlation: frame.sequence,
                call,
            }),
            Wire::RpcResponse(frame, payload) => {
                if outlet.finish_request(frame.sequence) {
                    on(Event::Answer {
                        request: frame.sequence,
                        payload,
                    });
                }
            }
            Wire::RpcFailed(frame, failure) => {
                if outlet.finish_request(frame.sequence) {
                    on(Event::ResponderFailed {
                        request: frame.sequence,
                        failure,
                    });
                }
            }
            Wire::Ping(frame, body) => {
                outlet
                    .frame(Opcode::Pong, frame.sequence, body)
                    .ok_or(Error::TooMany)?;
            }
            Wire::Pong(..) => on(Event::Pong),
            Wire::Close(_, close) => on(Event::Closing(close)),
            // The session lets none of these through to a client.
            Wire::Hello(..)
            | Wire::Oversized(_)
            | Wire::Subscribe(..)
            | Wire::Unsubscribe(..)
            | Wire::Credit(..)
            | Wire::Confirm(..) => {}
        }
        Ok(None)
    }

    fn open(&mut self, number: u16, subscribed: &Subscribed<'_>) {
        let index = usize::from(number);
        if index >= self.channels.len() {
            self.channels.resize_with(index + 1, || None);
        }
        let credit = self
            .credits
            .iter()
            .find(|(subscription, _)| *subscription == subscribed.subscription);
        self.channels[index] = Some(Channel {
            subscription: subscribed.subscription,
            stream: subscribed.name.into(),
            names: Names::default(),
            used: 0,
            grant_bytes: credit.map_or(0, |(_, bytes)| bytes / 2).max(1),
        });
    }

    #[inline]
    fn on_records(
        &mut self,
        number: u16,
        run: Run<'_>,
        outlet: &mut Outlet,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Error> {
        let Some(Some(channel)) = self.channels.get_mut(usize::from(number)) else {
            return Ok(());
        };
        for raw in run.records() {
            let record = raw.verify().map_err(damaged)?;
            match raw.kind() {
                Kind::Data => {
                    let subject = channel.names.name(raw.subject_id()).ok_or_else(undefined)?;
                    let message = Message {
                        stream: &channel.stream,
                        subject,
                        record,
                    };
                    on(Event::Record {
                        subscription: channel.subscription,
                        message,
                    });
                }
                Kind::Definition if !channel.names.define(&raw) => return Err(undefined()),
                _ => {}
            }
        }
        channel.used += run.len() as u64;
        if channel.used >= channel.grant_bytes {
            let credit = Credit {
                bytes: channel.used,
            };
            outlet
                .control(&credit, FrameFlags::empty(), number)
                .ok_or(Error::TooMany)?;
            channel.used = 0;
        }
        Ok(())
    }
}

/// The subscription whose durable cursor another one took over, if that is what an Error says.
pub(crate) fn taken_over(frame: u16, error: &ErrorBody<'_>) -> Option<u16> {
    let says_so = frame == 0 && error.code == ErrorCode::EXISTS;
    let number = u16::try_from(error.producer_sequence).ok();
    number.filter(|_| says_so)
}

/// A record that came is damaged.
pub(crate) fn damaged(error: trunkline_wire::RecordError) -> Error {
    Error::Io(io::Error::new(io::ErrorKind::InvalidData, error))
}

/// A record that came is earlier than one that came before it.
#[cold]
pub(crate) fn out_of_order(stream: &str, sequence: u64, before: u64) -> Error {
    Error::Io(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("record {sequence} of stream {stream:?} came after record {before}"),
    ))
}

/// A record that came uses a subject id that was not defined.
pub(crate) fn undefined() -> Error {
    Error::Io(io::Error::new(
        io::ErrorKind::InvalidData,
        "a record came before the name of its subject",
    ))
}
