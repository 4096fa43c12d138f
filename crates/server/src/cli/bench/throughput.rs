//! One publisher, one subscriber, each a thread, as fast as it goes.

use std::sync::atomic::{AtomicBool, Ordering};
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
    let mut publisher = setting.connect("publisher")?;
    let failed = AtomicBool::new(false);
    let cpu = setting.started.and_then(super::Started::cpu);
    let begin = Instant::now();
    let (acked, delivered) = std::thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            let delivered = receive(&mut subscriber, setting, records, begin, &failed);
            failed.fetch_or(delivered.is_err(), Ordering::Relaxed);
            delivered
        });
        let acked = publish(&mut publisher, setting, &subject, records, begin, &failed);
        failed.fetch_or(acked.is_err(), Ordering::Relaxed);
        let delivered = receiving.join().unwrap_or(Err(Failure::Machine(
            "the subscriber's thread ended".to_owned(),
        )));
        (acked, delivered)
    });
    // The other side's complaint is only that this one failed.
    let (acked_seconds, delivered_seconds) = match (acked, delivered) {
        (Ok(acked), Ok(delivered)) => (acked, delivered),
        (Err(Failure::Interrupted), Err(failure)) | (Err(failure), _) | (_, Err(failure)) => {
            return Err(failure);
        }
    };
    let used = cpu
        .zip(setting.started.and_then(super::Started::cpu))
        .map(|(before, after)| after - before);
    publisher.close();
    subscriber.close();
    Ok(Figures {
        records,
        acked_seconds,
        delivered_seconds,
        server_cpu_ns_per_record: used.map(|used| used.as_nanos() as f64 / records as f64),
    })
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

fn publish(
    line: &mut Line,
    setting: &Setting<'_>,
    subject: &str,
    records: u64,
    begin: Instant,
    failed: &AtomicBool,
) -> Result<f64, Failure> {
    let mut maker = Maker::new(setting.payload_bytes);
    let batch = (SEND_BYTES / (setting.payload_bytes + RECORD_BYTES)).max(1) as u64;
    let level = setting.ack.level();
    let mut progress = Progress::new("records published", Some(records));
    let mut number = 0;
    while number < records {
        let end = (number + batch).min(records);
        while number < end {
            let payload = maker.make(number, 0);
            match line.connection.publish_with(&Publication {
                level,
                ..Publication::new(subject, payload)
            }) {
                Ok(_) => number += 1,
                Err(PublishError::Full) => break,
                Err(error) => return Err(Failure::Refused(error.to_string())),
            }
        }
        let full = number < end;
        let came = turn(line)?;
        if full && !came {
            check(line, failed)?;
            line.wait(None, None)?;
        }
        progress.add(batch);
    }
    while line.connection.in_flight() > 0 {
        if !turn(line)? {
            check(line, failed)?;
            line.wait(None, None)?;
        }
    }
    Ok(begin.elapsed().as_secs_f64())
}

fn receive(
    line: &mut Line,
    setting: &Setting<'_>,
    records: u64,
    begin: Instant,
    failed: &AtomicBool,
) -> Result<f64, Failure> {
    let mut checker = Checker::new(setting.payload_bytes);
    while checker.count() < records {
        let mut wrong = None;
        let came = line.turn(|event| match event {
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
        if !came {
            check(line, failed)?;
            if !setting.polls {
                line.wait(None, None)?;
            }
        }
    }
    Ok(begin.elapsed().as_secs_f64())
}

fn turn(line: &mut Line) -> Result<bool, Failure> {
    let mut refusal = None;
    let came = line.turn(|event| {
        if let Event::Refused { error, .. } = event {
            refusal.get_or_insert_with(|| refused(&error));
        }
    })?;
    refusal.map_or(Ok(came), Err)
}

/// Whether the user or the other thread wants to stop.
fn check(line: &Line, failed: &AtomicBool) -> Result<(), Failure> {
    if line.stopped() || failed.load(Ordering::Relaxed) {
        Err(Failure::Interrupted)
    } else {
        Ok(())
    }
}

const CREDIT_BYTES: u64 = 4 << 20;
/// Header and address of a record.
const RECORD_BYTES: usize = 40;
/// Larger writes to a socket are slower, not faster.
const SEND_BYTES: usize = 48 << 10;
