//! NATS core and JetStream, in their protocol of text lines.

use std::net::SocketAddr;
use std::path::PathBuf;

use bench_harness::Failure;
use bench_harness::installed::command;
use bench_harness::server::{Server, free_address};

use crate::line::{Event, Protocol, Tcp};
use crate::peer::{Keeps, Peer, Running, Seat};
use crate::rows::field::{Field, Program, Who};

#[derive(Clone, Debug)]
pub struct Nats {
    pub binary: PathBuf,
    pub mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is stored, nothing acknowledged.
    Core,
    /// A stream of files, which are synced every two minutes.
    JetStream,
    /// A stream of files, each message synced before it is acknowledged.
    JetStreamSync,
}

pub const PROGRAM: Program = Program {
    name: "NATS",
    file: "nats-server",
    variable: "TRUNKLINE_BENCH_NATS",
    version: "--version",
};

/// One in this mode, if it is there.
pub fn peer(field: &Field, mode: Mode) -> Who {
    field.with(&PROGRAM, |binary| Nats { binary, mode })
}

impl Nats {
    fn configuration(&self, address: SocketAddr, store: &str) -> String {
        let mut text = format!("listen: \"{address}\"\n");
        match self.mode {
            Mode::Core => {}
            Mode::JetStream => text += &format!("jetstream {{ store_dir: \"{store}\" }}\n"),
            Mode::JetStreamSync => {
                text += &format!("jetstream {{ store_dir: \"{store}\", sync_interval: always }}\n");
            }
        }
        text
    }

    fn connect(&self, address: SocketAddr) -> Result<Tcp<Text>, Failure> {
        let mut line = Tcp::connect(address, Text::new(self.mode))?;
        line.answer(|text| text.ends_with("\r\n"))?;
        line.say(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"bench\",\"version\":\"1\"}\r\nPING\r\n")?;
        line.answer(|text| text.ends_with("PONG\r\n"))?;
        Ok(line)
    }

    /// A consumer of the stream that pushes to this line.
    fn consume(&self, address: SocketAddr, from: &str) -> Result<Tcp<Text>, Failure> {
        let mut line = self.connect(address)?;
        let inbox = format!("_INBOX.{}", line_number());
        let request = format!(
            "{{\"stream_name\":\"{STREAM}\",\"config\":{{\"deliver_subject\":\"{inbox}\",\"deliver_policy\":\"{from}\",\
             \"ack_policy\":\"none\",\"max_deliver\":1,\"mem_storage\":true,\"num_replicas\":1}}}}"
        );
        // The messages may come before the answer: the caller takes both.
        line.say(format!("SUB {inbox} 1\r\nSUB {inbox}.made 2\r\n").as_bytes())?;
        let subject = format!("$JS.API.CONSUMER.CREATE.{STREAM}");
        line.protocol().awaits_consumer = true;
        line.say(
            format!(
                "PUB {subject} {inbox}.made {}\r\n{request}\r\n",
                request.len()
            )
            .as_bytes(),
        )?;
        if from == "new" {
            let answer = line.answer(|text| text.contains("\r\n{") && text.ends_with("}\r\n"))?;
            check_answer(&answer)?;
            line.protocol().awaits_consumer = false;
        }
        Ok(line)
    }
}

impl Peer for Nats {
    type Line = Tcp<Text>;

    fn name(&self) -> String {
        match self.mode {
            Mode::Core => "NATS core, not stored, parks".into(),
            Mode::JetStream => "JetStream, page cache, parks".into(),
            Mode::JetStreamSync => "JetStream, synced, parks".into(),
        }
    }

    fn settings(&self) -> String {
        let stream = match self.mode {
            Mode::Core => String::new(),
            _ => format!(
                "; stream {}; a push consumer without acknowledgements, its state in memory; at most {WINDOW} publishes unacknowledged, of all publishers together",
                stream_request()
            ),
        };
        let address = SocketAddr::from(([127, 0, 0, 1], 4222));
        format!(
            "nats-server -c with {}{stream}",
            self.configuration(address, "DIR")
                .trim()
                .replace('\n', "; ")
        )
    }

    fn keeps(&self) -> Keeps {
        match self.mode {
            Mode::Core => Keeps::Nothing,
            Mode::JetStream => Keeps::PageCache,
            Mode::JetStreamSync => Keeps::Synced,
        }
    }

    fn acknowledges(&self) -> bool {
        self.mode != Mode::Core
    }

    fn window(&self) -> Option<u64> {
        // That of NATS' own clients for publishes whose acknowledgements come later; for all of them here. Where each message is
        // synced, the server works off all that has come before it acknowledges any of it: 64 times 1,000 take it most of a
        // minute, in which nothing comes, at about the same rate as 4,000.
        (self.mode != Mode::Core).then_some(WINDOW)
    }

    fn start(&self, seat: &Seat) -> Result<Running, Failure> {
        let folder = Server::folder(&seat.data)?;
        let address = free_address()?;
        let config = folder.path().join("nats.conf");
        let store = folder.path().join("store");
        let text = self.configuration(address, &store.display().to_string());
        std::fs::write(&config, text).map_err(|error| error.to_string())?;
        let mut program = command(&self.binary);
        program.arg("-c").arg(&config);
        let running = Running::start(program, folder, seat, address)?;
        if self.mode != Mode::Core {
            let mut line = self.connect(address)?;
            let request = stream_request();
            line.say(
                format!(
                    "SUB _INBOX.made 1\r\nPUB $JS.API.STREAM.CREATE.{STREAM} _INBOX.made {}\r\n{request}\r\n",
                    request.len()
                )
                .as_bytes(),
            )?;
            let answer = line.answer(|text| text.contains("\r\n{") && text.ends_with("}\r\n"))?;
            check_answer(&answer)?;
        }
        Ok(running)
    }

    fn publisher(&self, address: SocketAddr) -> Result<Tcp<Text>, Failure> {
        let mut line = self.connect(address)?;
        if self.mode != Mode::Core {
            let inbox = format!("_INBOX.{}", line_number());
            line.say(format!("SUB {inbox} 1\r\nPING\r\n").as_bytes())?;
            line.answer(|text| text.ends_with("PONG\r\n"))?;
            line.protocol().head = format!("PUB {SUBJECT} {inbox} ").into();
            line.protocol().takes_acks = true;
        }
        Ok(line)
    }

    fn subscriber(&self, address: SocketAddr) -> Result<Tcp<Text>, Failure> {
        if self.mode != Mode::Core {
            return self.consume(address, "new");
        }
        let mut line = self.connect(address)?;
        line.say(format!("SUB {SUBJECT} 1\r\nPING\r\n").as_bytes())?;
        line.answer(|text| text.ends_with("PONG\r\n"))?;
        Ok(line)
    }

    fn replayer(&self, address: SocketAddr) -> Option<Result<Tcp<Text>, Failure>> {
        (self.mode != Mode::Core).then(|| self.consume(address, "all"))
    }
}

/// The protocol, as far as it is needed.
pub struct Text {
    /// What a publish begins with.
    head: Vec<u8>,
    /// Messages are acknowledgements of the stream.
    takes_acks: bool,
    /// The answer to the request for a consumer is still to come, on subscription 2.
    awaits_consumer: bool,
    acked: u64,
}

impl Text {
    fn new(_mode: Mode) -> Self {
        Self {
            head: format!("PUB {SUBJECT} ").into(),
            takes_acks: false,
            awaits_consumer: false,
            acked: 0,
        }
    }

    fn on_ack(&mut self, ack: &[u8]) -> Result<(), Failure> {
        let sequence = memchr::memmem::find(ack, b"\"seq\":").map(|at| {
            let digits = ack[at + 6..].iter().skip_while(|byte| **byte == b' ');
            digits
                .take_while(|byte| byte.is_ascii_digit())
                .fold(0u64, |number, byte| number * 10 + u64::from(byte - b'0'))
        });
        match sequence {
            // Other publishers' messages come between.
            Some(sequence) if sequence > self.acked => {
                self.acked = sequence;
                Ok(())
            }
            _ => Err(format!(
                "not an acknowledgement of the next: {}",
                String::from_utf8_lossy(ack)
            )),
        }
    }
}

impl Protocol for Text {
    #[inline]
    fn encode(&mut self, out: &mut Vec<u8>, payload: &[u8]) {
        out.extend_from_slice(&self.head);
        put_number(out, payload.len());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(payload);
        out.extend_from_slice(b"\r\n");
    }

    fn decode(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        on: &mut impl FnMut(Event<'_>) -> Result<(), Failure>,
    ) -> Result<usize, Failure> {
        let mut used = 0;
        let mut acks = 0;
        loop {
            let rest = &input[used..];
            let Some(end) = memchr::memchr(b'\n', rest) else {
                break;
            };
            let line = &rest[..end.saturating_sub(1)];
            if !line.starts_with(b"MSG ") {
                match line {
                    b"PING" => out.extend_from_slice(b"PONG\r\n"),
                    b"PONG" => {}
                    _ if line.starts_with(b"INFO ") => {}
                    _ => {
                        return Err(format!(
                            "the server said: {}",
                            String::from_utf8_lossy(line)
                        ));
                    }
                }
                used += end + 1;
                continue;
            }
            let len = trailing_number(line);
            let Some(payload) = rest.get(end + 1..end + 1 + len) else {
                break;
            };
            if rest.len() < end + 3 + len {
                break;
            }
            used += end + 3 + len;
            if self.takes_acks {
                self.on_ack(payload)?;
                acks += 1;
            } else if self.awaits_consumer && line.split(|byte| *byte == b' ').nth(2) == Some(b"2")
            {
                check_answer(&String::from_utf8_lossy(payload))?;
                self.awaits_consumer = false;
            } else {
                on(Event::Message(payload))?;
            }
        }
        if acks > 0 {
            on(Event::Acked(acks))?;
        }
        Ok(used)
    }
}

fn trailing_number(line: &[u8]) -> usize {
    let (mut number, mut unit) = (0, 1);
    for byte in line.iter().rev().take_while(|byte| byte.is_ascii_digit()) {
        number += usize::from(byte - b'0') * unit;
        unit *= 10;
    }
    number
}

pub(super) fn put_number(out: &mut Vec<u8>, mut number: usize) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn check_answer(answer: &str) -> Result<(), Failure> {
    if answer.contains("\"error\"") {
        Err(format!("JetStream refuses: {answer}"))
    } else {
        Ok(())
    }
}

fn stream_request() -> String {
    format!(
        "{{\"name\":\"{STREAM}\",\"subjects\":[\"{SUBJECT}\"],\"retention\":\"limits\",\"storage\":\"file\",\
         \"discard\":\"old\",\"max_bytes\":1073741824,\"max_msgs\":-1,\"max_consumers\":-1,\"max_age\":0,\
         \"num_replicas\":1}}"
    )
}

/// A number that no other line of this process has.
fn line_number() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

const SUBJECT: &str = "bench";
const STREAM: &str = "BENCH";
const WINDOW: u64 = 4000;

#[cfg(test)]
mod tests {
    use super::*;

    fn events(protocol: &mut Text, input: &[u8]) -> (usize, Vec<String>, Vec<u8>) {
        let (mut seen, mut out) = (Vec::new(), Vec::new());
        let used = protocol.decode(input, &mut out, &mut |event| {
            seen.push(match event {
                Event::Message(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                Event::Acked(count) => format!("acked {count}"),
            });
            Ok(())
        });
        (used.unwrap(), seen, out)
    }

    #[test]
    fn messages_come_whole_wherever_the_input_is_cut() {
        let input =
            b"PING\r\nMSG bench 1 5\r\nhello\r\nMSG bench 1 2\r\n\r\n\r\nMSG bench 1 3\r\nabc\r\n";
        for cut in 0..input.len() {
            let mut protocol = Text::new(Mode::Core);
            let (used, mut seen, mut out) = events(&mut protocol, &input[..cut]);
            let (rest, more, pong) = events(&mut protocol, &input[used..]);
            seen.extend(more);
            out.extend(pong);
            assert_eq!(used + rest, input.len());
            assert_eq!(seen, ["hello", "\r\n", "abc"], "cut at {cut}");
            assert_eq!(out, b"PONG\r\n");
        }
    }

    #[test]
    fn acknowledgements_must_go_up() {
        let mut protocol = Text {
            takes_acks: true,
            ..Text::new(Mode::JetStream)
        };
        let ack = |sequence: u64| {
            let body = format!("{{\"stream\":\"BENCH\", \"seq\":{sequence}}}");
            format!("MSG _INBOX.1 1 {}\r\n{body}\r\n", body.len())
        };
        let (_, seen, _) = events(&mut protocol, (ack(1) + &ack(2)).as_bytes());
        assert_eq!(seen, ["acked 2"]);
        assert!(
            protocol
                .decode(ack(2).as_bytes(), &mut Vec::new(), &mut |_| Ok(()))
                .is_err()
        );
    }
}
