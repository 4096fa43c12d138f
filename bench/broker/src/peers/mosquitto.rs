//! Mosquitto: MQTT 3.1.1 at quality of service 0, and 1 for acknowledgements.

use std::net::SocketAddr;
use std::path::PathBuf;

use bench_harness::Failure;
use bench_harness::installed::command;
use bench_harness::server::{Server, free_address};

use crate::line::{Event, Protocol, Tcp};
use crate::peer::{Keeps, Peer, Running, Seat};
use crate::rows::field::{Field, Program, Who};

#[derive(Clone, Debug)]
pub struct Mosquitto {
    pub binary: PathBuf,
    /// Quality of service.
    pub acknowledged: bool,
}

pub const PROGRAM: Program = Program {
    name: "Mosquitto",
    file: "mosquitto",
    variable: "TRUNKLINE_BENCH_MOSQUITTO",
    version: "-h",
};

/// One that acknowledges or not, if it is there.
pub fn peer(field: &Field, acknowledged: bool) -> Who {
    field.with(&PROGRAM, |binary| Mosquitto {
        binary,
        acknowledged,
    })
}

impl Mosquitto {
    fn configuration(address: SocketAddr) -> String {
        format!(
            "listener {} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\npersistence false\n\
             max_queued_messages 0\nmax_inflight_messages 0\nuser root\n",
            address.port()
        )
    }

    fn connect(&self, address: SocketAddr) -> Result<Tcp<Mqtt>, Failure> {
        let mut line = Tcp::connect(
            address,
            Mqtt {
                acknowledged: self.acknowledged,
                packet: 0,
                acked: 0,
            },
        )?;
        let name = format!("bench{}", line_number());
        let mut connect = vec![0x10, 12 + name.len() as u8];
        connect.extend_from_slice(b"\0\x04MQTT\x04\x02\0\0\0");
        connect.push(name.len() as u8);
        connect.extend_from_slice(name.as_bytes());
        line.say(&connect)?;
        line.answer(|text| text.len() >= 4)?;
        Ok(line)
    }
}

impl Peer for Mosquitto {
    type Line = Tcp<Mqtt>;

    fn name(&self) -> String {
        let level = u8::from(self.acknowledged);
        format!("Mosquitto QoS {level}, not stored, parks")
    }

    fn settings(&self) -> String {
        let address = SocketAddr::from(([127, 0, 0, 1], 1883));
        format!(
            "mosquitto -c with {}",
            Self::configuration(address).trim().replace('\n', "; ")
        )
    }

    fn keeps(&self) -> Keeps {
        Keeps::Nothing
    }

    fn acknowledges(&self) -> bool {
        self.acknowledged
    }

    fn start(&self, seat: &Seat) -> Result<Running, Failure> {
        let folder = Server::folder(&seat.data)?;
        let address = free_address()?;
        let config = folder.path().join("mosquitto.conf");
        std::fs::write(&config, Self::configuration(address)).map_err(|error| error.to_string())?;
        let mut program = command(&self.binary);
        program.arg("-c").arg(&config);
        Running::start(program, folder, seat, address)
    }

    fn publisher(&self, address: SocketAddr) -> Result<Tcp<Mqtt>, Failure> {
        self.connect(address)
    }

    fn subscriber(&self, address: SocketAddr) -> Result<Tcp<Mqtt>, Failure> {
        let mut line = self.connect(address)?;
        line.say(b"\x82\x0a\0\x01\0\x05bench\0")?;
        line.answer(|text| text.len() >= 5)?;
        Ok(line)
    }
}

/// The protocol, as far as it is needed.
pub struct Mqtt {
    acknowledged: bool,
    /// The last packet that was published, and the last that was acknowledged.
    packet: u16,
    acked: u16,
}

/// The identifier after this one: none is zero.
fn after(packet: u16) -> u16 {
    packet.checked_add(1).unwrap_or(1)
}

impl Mqtt {
    fn on_ack(&mut self, body: &[u8]) -> Result<(), Failure> {
        let expected = after(self.acked);
        if *body != expected.to_be_bytes() {
            return Err(format!(
                "the acknowledgement of {body:?} came where {expected} was next"
            ));
        }
        self.acked = expected;
        Ok(())
    }
}

impl Protocol for Mqtt {
    fn encode(&mut self, out: &mut Vec<u8>, payload: &[u8]) {
        out.push(if self.acknowledged { 0x32 } else { 0x30 });
        let identifier = if self.acknowledged { 2 } else { 0 };
        let mut len = 7 + identifier + payload.len();
        while len >= 128 {
            out.push((len % 128) as u8 | 128);
            len /= 128;
        }
        out.push(len as u8);
        out.extend_from_slice(b"\0\x05bench");
        if self.acknowledged {
            self.packet = after(self.packet);
            out.extend_from_slice(&self.packet.to_be_bytes());
        }
        out.extend_from_slice(payload);
    }

    fn decode(
        &mut self,
        input: &[u8],
        _out: &mut Vec<u8>,
        on: &mut impl FnMut(Event<'_>) -> Result<(), Failure>,
    ) -> Result<usize, Failure> {
        let (mut used, mut acks) = (0, 0);
        while let Some((head, body)) = packet(&input[used..]) {
            used += head + body.len();
            match input[used - head - body.len()] >> 4 {
                3 => {
                    let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
                    on(Event::Message(&body[2 + topic..]))?;
                }
                4 => {
                    self.on_ack(body)?;
                    acks += 1;
                }
                _ => {}
            }
        }
        if acks > 0 {
            on(Event::Acked(acks))?;
        }
        Ok(used)
    }
}

/// The bytes of the fixed header, and the rest of the first packet.
fn packet(input: &[u8]) -> Option<(usize, &[u8])> {
    let (mut len, mut head) = (0, 1);
    loop {
        let byte = *input.get(head)?;
        len |= usize::from(byte & 127) << (7 * (head - 1));
        head += 1;
        if byte < 128 {
            break;
        }
    }
    Some((head, input.get(head..head + len)?))
}

fn line_number() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_understood_wherever_it_is_cut() {
        let mut protocol = Mqtt {
            acknowledged: false,
            packet: 0,
            acked: 0,
        };
        let payloads = [vec![1; 3], vec![2; 200], vec![3; 20_000]];
        let mut input = Vec::new();
        for payload in &payloads {
            protocol.encode(&mut input, payload);
        }
        for cut in [0, 1, 2, 5, 12, 13, 14, 100, 213, 300, input.len() - 1] {
            let mut seen = Vec::new();
            let mut on = |event: Event<'_>| {
                if let Event::Message(payload) = event {
                    seen.push(payload.to_vec());
                }
                Ok(())
            };
            let used = protocol
                .decode(&input[..cut], &mut Vec::new(), &mut on)
                .unwrap();
            protocol
                .decode(&input[used..], &mut Vec::new(), &mut on)
                .unwrap();
            assert_eq!(seen, payloads, "cut at {cut}");
        }
    }

    #[test]
    fn acknowledgements_come_in_the_order_of_the_packets() {
        let mut protocol = Mqtt {
            acknowledged: true,
            packet: 0,
            acked: u16::MAX - 1,
        };
        let mut acked = |input: &[u8]| {
            let mut count = 0;
            let decoded = protocol.decode(input, &mut Vec::new(), &mut |event| {
                if let Event::Acked(more) = event {
                    count += more;
                }
                Ok(())
            });
            decoded.map(|_| count)
        };
        assert_eq!(acked(b"\x40\x02\xff\xff\x40\x02\0\x01"), Ok(2));
        assert!(acked(b"\x40\x02\0\x01").is_err());
        assert!(acked(b"\x40\x02\0\x03").is_err());
    }
}
