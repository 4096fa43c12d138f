//! Acknowledged publishes with a bounded number in flight: the closed loop.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Serialize;
use trunkline_client::{Event, Publication, PublishError};

use super::payload::Maker;
use super::{Failure, Percentiles, Setting, Times};
use crate::cli::connect::refused;

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    /// Publishes in flight.
    pub(super) window: u32,
    pub(super) records_per_second: f64,
    /// From publish to acknowledgement.
    pub(super) ack: Percentiles,
}

pub(super) fn measure(
    setting: &Setting<'_>,
    window: u32,
    time: Duration,
) -> Result<Figures, Failure> {
    let subject = format!("bench.acks.{}", std::process::id());
    let mut line = setting.connect("acks")?;
    let mut maker = Maker::new(setting.payload_bytes);
    let mut times = Times::new()?;
    let level = setting.ack.level();
    // Groups of records that were published at one time: that time, and how many are unacknowledged.
    let mut groups: VecDeque<(u64, u64)> = VecDeque::new();
    let (mut number, mut in_flight, mut counted) = (0_u64, 0_u64, 0_u64);
    let begin = Instant::now();
    let now_ns = || begin.elapsed().as_nanos() as u64;
    let (from_ns, to_ns) = (
        WARM_UP.as_nanos() as u64,
        (WARM_UP + time).as_nanos() as u64,
    );
    let mut last_answer_ns = 0;
    loop {
        let now = now_ns();
        if now >= to_ns && in_flight == 0 {
            break;
        }
        if now.saturating_sub(last_answer_ns) > PATIENCE.as_nanos() as u64 {
            return Err(Failure::Absent(format!(
                "no acknowledgement in {} s",
                PATIENCE.as_secs()
            )));
        }
        let mut group = 0;
        while now < to_ns && in_flight < u64::from(window) {
            let payload = maker.make(number, now);
            match line.connection.publish_with(&Publication {
                level,
                ..Publication::new(&subject, payload)
            }) {
                Ok(_) => {
                    number += 1;
                    in_flight += 1;
                    group += 1;
                }
                Err(PublishError::Full) => break,
                Err(error) => return Err(Failure::Refused(error.to_string())),
            }
        }
        if group > 0 {
            groups.push_back((now, group));
        }
        let mut wrong = None;
        let came = line.turn(|event| match event {
            Event::Acked { first, last, .. } => {
                let now = now_ns();
                last_answer_ns = now;
                let mut left = last - first + 1;
                in_flight -= left;
                while let Some((sent, count)) = groups.front_mut().filter(|_| left > 0) {
                    let taken = left.min(*count);
                    if *sent >= from_ns {
                        times.0.saturating_record_n((now - *sent).max(1), taken);
                        counted += taken;
                    }
                    (*count, left) = (*count - taken, left - taken);
                    if *count == 0 {
                        groups.pop_front();
                    }
                }
            }
            Event::Refused { error, .. } => wrong = Some(refused(&error)),
            _ => {}
        })?;
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        if !came && !setting.polls && (in_flight >= u64::from(window) || now >= to_ns) {
            line.wait(None, None)?;
        } else if line.stopped() {
            return Err(Failure::Interrupted);
        }
    }
    let seconds = (last_answer_ns.saturating_sub(from_ns)) as f64 / 1e9;
    line.close();
    Ok(Figures {
        window,
        records_per_second: counted as f64 / seconds,
        ack: times.percentiles(),
    })
}

const WARM_UP: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(10);
