//! Records at fixed times through one thread: the open loop.

use std::time::{Duration, Instant};

use serde::Serialize;
use trunkline_client::{Event, Publication, PublishError};

use super::payload::{Checker, Maker};
use super::throughput::subscribe;
use super::{Failure, Percentiles, Setting, Times};
use crate::cli::connect::refused;

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    /// Records per second that were due.
    pub(super) rate: f64,
    /// From when a record was due to when it came back.
    pub(super) delivery: Percentiles,
    /// From when a record was due to its acknowledgement.
    pub(super) ack: Percentiles,
}

pub(super) fn measure(
    setting: &Setting<'_>,
    rate: f64,
    time: Duration,
) -> Result<Figures, Failure> {
    let subject = format!("bench.latency.{}", std::process::id());
    let mut line = setting.connect("latency")?;
    subscribe(&mut line, &subject)?;
    let (mut maker, mut checker) = (
        Maker::new(setting.payload_bytes),
        Checker::new(setting.payload_bytes),
    );
    let (mut delivery, mut ack) = (Times::new()?, Times::new()?);
    let level = setting.ack.level();
    let interval_ns = 1e9 / rate;
    let warm_up = (rate * WARM_UP.as_secs_f64()) as u64;
    let records = warm_up + (rate * time.as_secs_f64()) as u64;
    // When each record was due, by its number; acknowledgements come as ranges of producer sequences.
    let due_ns = |number: u64| (number as f64 * interval_ns) as u64;
    let mut first_sequence = None;
    let (mut published, mut acked) = (0_u64, 0_u64);
    let begin = Instant::now();
    let now_ns = || begin.elapsed().as_nanos() as u64;
    let last_ns = due_ns(records) + PATIENCE.as_nanos() as u64;
    while checker.count() < records || acked < records {
        let mut now = now_ns();
        while published < records && due_ns(published) <= now {
            let payload = maker.make(published, due_ns(published));
            match line.connection.publish_with(&Publication {
                level,
                ..Publication::new(&subject, payload)
            }) {
                Ok(sequence) => {
                    first_sequence.get_or_insert(sequence);
                    published += 1;
                }
                Err(PublishError::Full) => break,
                Err(error) => return Err(Failure::Refused(error.to_string())),
            }
        }
        let mut wrong = None;
        let came = line.turn(|event| match event {
            Event::Record { message, .. } => {
                let number = checker.count();
                match checker.take(message.payload()) {
                    Ok(due) if number >= warm_up => delivery.record(now_ns().saturating_sub(due)),
                    Ok(_) => {}
                    Err(failure) => wrong = Some(failure),
                }
            }
            Event::Acked { first, last, .. } => {
                now = now_ns();
                let base = first_sequence.unwrap_or(first);
                for number in first - base..=last - base {
                    if number >= warm_up {
                        ack.record(now.saturating_sub(due_ns(number)));
                    }
                }
                acked += last - first + 1;
            }
            Event::Refused { error, .. } => wrong = Some(refused(&error)),
            _ => {}
        })?;
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        if came {
            continue;
        }
        let now = now_ns();
        if now > last_ns {
            let missing = records - checker.count();
            return Err(Failure::Absent(format!(
                "{missing} of {records} records did not come in time"
            )));
        }
        let due = if published < records {
            due_ns(published)
        } else {
            last_ns
        };
        if !setting.polls && due > now {
            line.wait(None, Some(begin + Duration::from_nanos(due)))?;
        } else if line.stopped() {
            return Err(Failure::Interrupted);
        }
    }
    line.close();
    Ok(Figures {
        rate,
        delivery: delivery.percentiles(),
        ack: ack.percentiles(),
    })
}

/// Connections, caches and the server's idle strategy settle before anything counts.
const WARM_UP: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(10);
