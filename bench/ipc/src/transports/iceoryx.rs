//! iceoryx2: publish and subscribe over shared memory. Messages are copied into a loaned sample and out of the received one,
//! as with the others; what it can do beyond that, working in the loan, is not measured here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bench_harness::Failure;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;

use crate::transport::{End, Link, Transport};
use crate::trips::PATIENCE;

pub struct Iceoryx {
    pub bytes: usize,
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
        })
    }
}

/// Both sides find each other by name.
pub struct Names {
    unique: String,
    bytes: usize,
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
        Ok(Ports {
            publisher,
            subscriber,
            _node: node,
        })
    }
}

pub struct Ports {
    publisher: Publisher<ipc::Service, [u8], ()>,
    subscriber: Subscriber<ipc::Service, [u8], ()>,
    _node: Node<ipc::Service>,
}

impl End for Ports {
    fn send(&mut self, message: &[u8]) -> Result<(), Failure> {
        let sample = self
            .publisher
            .loan_slice_uninit(message.len())
            .map_err(text)?;
        sample
            .write_from_slice(message)
            .send()
            .map(drop)
            .map_err(text)
    }

    fn receive(&mut self, message: &mut [u8]) -> Result<(), Failure> {
        let mut begin = None;
        for tries in 0u64.. {
            if let Some(sample) = self.subscriber.receive().map_err(text)? {
                message.copy_from_slice(sample.payload());
                return Ok(());
            }
            // The clock is looked at seldom, so that it does not slow down who spins.
            if tries % (1 << 16) == (1 << 16) - 1
                && begin.get_or_insert_with(Instant::now).elapsed() > PATIENCE
            {
                break;
            }
            std::hint::spin_loop();
        }
        Err("nothing comes".into())
    }
}

fn text(error: impl std::fmt::Debug) -> Failure {
    format!("{error:?}")
}
