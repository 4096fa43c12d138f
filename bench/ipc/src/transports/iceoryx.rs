//! iceoryx2: publish and subscribe over shared memory. Messages are copied into a loaned sample and out of the received one,
//! as with the others; what it can do beyond that, working in the loan, is not measured here. Who parks is woken through an
//! event service, which is how iceoryx2 does it: the receiver's listener waits, and the sender's notifier tells it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bench_harness::Failure;
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;

use super::spin_until;
use crate::transport::{End, Idle, Link, Transport};
use crate::trips::PATIENCE;

pub struct Iceoryx {
    pub bytes: usize,
    pub idle: Idle,
}

impl Transport for Iceoryx {
    type Link = Names;

    fn link(&self) -> Result<Names, Failure> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let unique = format!(
            "trunkline-bench/{}/{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        Ok(Names {
            unique,
            bytes: self.bytes,
            idle: self.idle,
        })
    }
}

/// Both sides find each other by name.
pub struct Names {
    unique: String,
    bytes: usize,
    idle: Idle,
}

impl Link for Names {
    type End = Ports;

    fn end(&self, side: usize) -> Result<Ports, Failure> {
        let node = NodeBuilder::new().create::<ipc::Service>().map_err(text)?;
        let service = |way: usize| {
            let name = format!("{}/{way}", self.unique);
            let name = ServiceName::new(&name).map_err(text)?;
            node.service_builder(&name)
                .publish_subscribe::<[u8]>()
                .open_or_create()
                .map_err(text)
        };
        let (out, back) = (service(side)?, service(1 - side)?);
        let publisher = out
            .publisher_builder()
            .initial_max_slice_len(self.bytes)
            .create()
            .map_err(text)?;
        let subscriber = back.subscriber_builder().create().map_err(text)?;
        let event = |way: usize| {
            let name = ServiceName::new(&format!("{}/{way}", self.unique)).map_err(text)?;
            node.service_builder(&name)
                .event()
                .open_or_create()
                .map_err(text)
        };
        let wake = match self.idle {
            Idle::Spin => None,
            Idle::Park => Some(Wake {
                other: event(side)?.notifier_builder().create().map_err(text)?,
                own: event(1 - side)?.listener_builder().create().map_err(text)?,
            }),
        };
        Ok(Ports {
            publisher,
            subscriber,
            wake,
            _node: node,
        })
    }
}

pub struct Ports {
    publisher: Publisher<ipc::Service, [u8], ()>,
    subscriber: Subscriber<ipc::Service, [u8], ()>,
    /// Where the receiver sleeps.
    wake: Option<Wake>,
    _node: Node<ipc::Service>,
}

/// Events both ways.
struct Wake {
    other: Notifier<ipc::Service>,
    own: Listener<ipc::Service>,
}

impl Ports {
    fn take(&self, message: &mut [u8]) -> Result<bool, Failure> {
        let Some(sample) = self.subscriber.receive().map_err(text)? else {
            return Ok(false);
        };
        if sample.payload().len() != message.len() {
            return Err("a message of another length came".into());
        }
        message.copy_from_slice(sample.payload());
        Ok(true)
    }
}

impl End for Ports {
    fn send(&mut self, message: &[u8]) -> Result<(), Failure> {
        let sample = self
            .publisher
            .loan_slice_uninit(message.len())
            .map_err(text)?;
        sample.write_from_slice(message).send().map_err(text)?;
        match &self.wake {
            Some(wake) => wake.other.notify().map(drop).map_err(text),
            None => Ok(()),
        }
    }

    fn receive(&mut self, message: &mut [u8]) -> Result<(), Failure> {
        let Some(wake) = &self.wake else {
            return spin_until(|| self.take(message));
        };
        let begin = Instant::now();
        // A message is sent before its event, so whoever finds none and sleeps is woken by the event that follows.
        while !self.take(message)? {
            if begin.elapsed() > PATIENCE {
                return Err("nothing comes".into());
            }
            wake.own.timed_wait(|_| {}, PATIENCE).map_err(text)?;
        }
        Ok(())
    }
}

fn text(error: impl std::fmt::Debug) -> Failure {
    format!("{error:?}")
}
