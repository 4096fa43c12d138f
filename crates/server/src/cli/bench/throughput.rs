//! One publisher and one subscriber, as fast as both keep up.
//!
//! Each has a connection of its own, and a thread of its own where the client has a CPU for each; otherwise one thread
//! does a step of one after a step of the other. The publisher runs ahead of the subscriber by no more than [`LEAD_BYTES`], so that what is
//! measured is a stream that is delivered, and not one that piles up.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use serde::Serialize;
use trunkline_client::{Event, Publication, PublishError, Subscription};

use super::payload::{Checker, Maker};
use super::{Failure, Setting};
use crate::cli::connect::{Line, refused};
use crate::cli::output::Progress;

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) records: u64,
    /// Threads of the client.
    pub(super) client_threads: usize,
    /// From the first publish to the last acknowledgement.
    pub(super) acked_seconds: f64,
    /// From the first publish to the last delivery.
    pub(super) delivered_seconds: f64,
    /// CPU time of the started server.
    pub(super) server_cpu_ns_per_record: Option<f64>,
}

pub(super) fn measure(setting: &Setting<'_>, records: u64) -> Result<Figures, Failure> {
    let subject = format!("bench.throughput.{}", std::process::id());
    let mut subscriber = setting.connect("subscriber")?;
    subscribe(&mut subscriber, &subject)?;
    let publisher = setting.connect("publisher")?;
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let shared = setting.started.is_some_and(|started| !started.is_pinned());
    let client_threads = if cpus > 1 + usize::from(shared) { 2 } else { 1 };

    let failed = AtomicBool::new(false);
    let delivered = AtomicU64::new(0);
    let begin = Instant::now();
    let shared = Shared {
        setting,
        records,
        begin,
        failed: &failed,
        delivered: &delivered,
    };
    let mut publishing = Publishing::new(publisher, &subject, shared);
    let mut receiving = Receiving::new(subscriber, shared);
    let cpu = setting.started.and_then(super::Started::cpu);
    if client_threads == 1 {
        together(&mut publishing, &mut receiving)?;
    } else {
        apart(&mut publishing, &mut receiving)?;
    }
    let used = cpu
        .zip(setting.started.and_then(super::Started::cpu))
        .map(|(before, after)| after - before);
    publishing.line.close();
    receiving.line.close();
    Ok(Figures {
        records,
        client_threads,
        acked_seconds: publishing.seconds,
        delivered_seconds: receiving.seconds,
        server_cpu_ns_per_record: used.map(|used| used.as_nanos() as f64 / records as f64),
    })
}

/// What both sides know.
#[derive(Clone, Copy)]
struct Shared<'a> {
    setting: &'a Setting<'a>,
    records: u64,
    begin: Instant,
    /// One side has failed: the other gives up.
    failed: &'a AtomicBool,
    /// Records that the subscriber has checked.
    delivered: &'a AtomicU64,
}

/// What a step of one side came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Busy,
    /// Nothing could be done: something has to come first.
    Waits,
    Done,
}

/// Both sides in this thread.
fn together(publishing: &mut Publishing<'_>, receiving: &mut Receiving<'_>) -> Result<(), Failure> {
    loop {
        match (publishing.step()?, receiving.step()?) {
            (Step::Done, Step::Done) => return Ok(()),
            (Step::Busy, _) | (_, Step::Busy) => {}
            _ if receiving.shared.setting.polls => {}
            _ => {
                let receiving = receiving.line.connection.stream().as_fd();
                publishing.line.wait(Some(receiving), None)?;
            }
        }
    }
}

/// Each side in a thread of its own.
fn apart(publishing: &mut Publishing<'_>, receiving: &mut Receiving<'_>) -> Result<(), Failure> {
    let failed = receiving.shared.failed;
    let (published, received) = std::thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            let result = loop {
                match receiving.step() {
                    Ok(Step::Done) => break Ok(()),
                    Ok(Step::Busy) => {}
                    Ok(Step::Waits) => match receiving.wait() {
                        Ok(()) => {}
                        Err(failure) => break Err(failure),
                    },
                    Err(failure) => break Err(failure),
                }
            };
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
            result
        });
        let published = loop {
            match publishing.step() {
                Ok(Step::Done) => break Ok(()),
                Ok(Step::Busy) => {}
                Ok(Step::Waits) => match publishing.wait() {
                    Ok(()) => {}
                    Err(failure) => break Err(failure),
                },
                Err(failure) => break Err(failure),
            }
        };
        failed.fetch_or(published.is_err(), Ordering::Relaxed);
        let received = receiving.join().unwrap_or(Err(Failure::Machine(
            "the subscriber's thread ended".to_owned(),
        )));
        (published, received)
    });
    match (published, received) {
        // The other side's complaint is only that this one failed.
        (Err(Failure::Interrupted), Err(failure)) | (Err(failure), _) => Err(failure),
        (Ok(()), received) => received,
    }
}

/// The side that publishes.
struct Publishing<'a> {
    line: Line,
    subject: &'a str,
    shared: Shared<'a>,
    maker: Maker,
    progress: Progress,
    /// Records published.
    number: u64,
    /// Records that make up one write to the socket.
    batch: u64,
    /// Records that the subscriber may be behind.
    lead: u64,
    seconds: f64,
}

impl<'a> Publishing<'a> {
    fn new(line: Line, subject: &'a str, shared: Shared<'a>) -> Self {
        let record_bytes = shared.setting.payload_bytes + RECORD_BYTES;
        Self {
            line,
            subject,
            shared,
            maker: Maker::new(shared.setting.payload_bytes),
            progress: Progress::new("records published", Some(shared.records)),
            number: 0,
            batch: (SEND_BYTES / record_bytes).max(1) as u64,
            lead: (LEAD_BYTES / record_bytes).max(2) as u64,
            seconds: 0.0,
        }
    }

    fn step(&mut self) -> Result<Step, Failure> {
        let records = self.shared.records;
        if self.number == records && self.line.connection.in_flight() == 0 {
            if self.seconds == 0.0 {
                self.seconds = self.shared.begin.elapsed().as_secs_f64();
            }
            return Ok(Step::Done);
        }
        let allowed = self.shared.delivered.load(Ordering::Acquire) + self.lead;
        let end = (self.number + self.batch).min(records).min(allowed);
        let level = self.shared.setting.ack.level();
        let began = self.number;
        while self.number < end {
            let payload = self.maker.make(self.number, 0);
            match self.line.connection.publish_with(&Publication {
                level,
                ..Publication::new(self.subject, payload)
            }) {
                Ok(_) => self.number += 1,
                Err(PublishError::Full) => break,
                Err(error) => return Err(Failure::Refused(error.to_string())),
            }
        }
        self.progress.add(self.number - began);
        let mut refusal = None;
        let came = self.line.turn(|event| {
            if let Event::Refused { error, .. } = event {
                refusal.get_or_insert_with(|| refused(&error));
            }
        })?;
        match refusal {
            Some(refusal) => Err(refusal),
            None if came || self.number > began => Ok(Step::Busy),
            None => {
                self.shared.check(&self.line)?;
                Ok(Step::Waits)
            }
        }
    }

    fn wait(&mut self) -> Result<(), Failure> {
        // The subscriber's progress is not on this connection; it is looked for again soon.
        let behind = self.number - self.shared.delivered.load(Ordering::Acquire) >= self.lead;
        let until = behind.then(|| Instant::now() + std::time::Duration::from_micros(50));
        self.line.wait(None, until)
    }
}

/// The side that receives.
struct Receiving<'a> {
    line: Line,
    shared: Shared<'a>,
    checker: Checker,
    seconds: f64,
}

impl<'a> Receiving<'a> {
    fn new(line: Line, shared: Shared<'a>) -> Self {
        Self {
            line,
            shared,
            checker: Checker::new(shared.setting.payload_bytes),
            seconds: 0.0,
        }
    }

    fn step(&mut self) -> Result<Step, Failure> {
        if self.checker.count() == self.shared.records {
            if self.seconds == 0.0 {
                self.seconds = self.shared.begin.elapsed().as_secs_f64();
            }
            return Ok(Step::Done);
        }
        let mut wrong = None;
        let checker = &mut self.checker;
        let came = self.line.turn(|event| match event {
            Event::Record { message, .. } if wrong.is_none() => {
                wrong = checker.take(message.payload()).err()
            }
            Event::Gap { gap, .. } => {
                wrong.get_or_insert(Failure::Absent(format!(
                    "records {} to {} are lost",
                    gap.first, gap.last
                )));
            }
            _ => {}
        })?;
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        self.shared
            .delivered
            .store(self.checker.count(), Ordering::Release);
        if came {
            return Ok(Step::Busy);
        }
        self.shared.check(&self.line)?;
        Ok(Step::Waits)
    }

    fn wait(&mut self) -> Result<(), Failure> {
        if self.shared.setting.polls {
            return Ok(());
        }
        self.line.wait(None, None)
    }
}

impl Shared<'_> {
    /// Whether the user or the other side wants to stop.
    fn check(&self, line: &Line) -> Result<(), Failure> {
        if line.stopped() || self.failed.load(Ordering::Relaxed) {
            Err(Failure::Interrupted)
        } else {
            Ok(())
        }
    }
}

/// Subscribes, and waits until the server has said so.
pub(super) fn subscribe(line: &mut Line, subject: &str) -> Result<(), Failure> {
    let (_, request) = line
        .connection
        .subscribe(&Subscription::new(subject).credit_bytes(CREDIT_BYTES))
        .map_err(|error| Failure::Refused(error.to_string()))?;
    let mut answer = None;
    loop {
        let came = line.turn(|event| match event {
            Event::Done { request: done, .. } if done == request => answer = Some(Ok(())),
            Event::Failed {
                request: failed,
                error,
            } if failed == request => answer = Some(Err(refused(&error))),
            _ => {}
        })?;
        match answer {
            Some(answer) => return answer,
            None if came => {}
            None => line.wait(None, None)?,
        }
    }
}

const CREDIT_BYTES: u64 = 4 << 20;
/// How far the publisher may run ahead of the subscriber, records' headers counted.
pub(super) const LEAD_BYTES: usize = 3 << 20;
/// Header and address of a record.
const RECORD_BYTES: usize = 40;
/// Larger writes to a socket are slower, not faster.
const SEND_BYTES: usize = 48 << 10;
