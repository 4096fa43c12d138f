//! `trunkline pub`: publishes records.

mod input;

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use trunkline_client::{AckLevel, ErrorCode, Event, Publication, PublishError};

use super::connect::{Line, Target, refused};
use super::exit::{Failure, Outcome};
use super::output::{Output, Progress, counted, grouped, rate};
use super::values::{AckWord, Rate, level_word, some_time};
use crate::config::{Bytes, Span};
pub(super) use input::everything;
use input::{Input, LONGEST_LINE, Next};

/// Publish records
#[derive(Debug, Args)]
#[command(after_help = "\
Without PAYLOAD the record's payload is read from standard input, all of it; with --lines each line is a record. \
It ends when the server has acknowledged everything, and prints the last sequence and the level that it has reached. \
A server that acknowledges nothing for --timeout is given up: what is under way then may be stored or not. \
The first record that is refused ends it, with exit code 5, when everything before it is answered: what was published, which record was \
refused and how far the input was read is said, and nothing behind that is read.

Examples:
  trunkline pub orders.eu.new '{\"id\": 1}'
  trunkline pub pkg.log --lines < /var/log/dpkg.log
  trunkline pub orders.eu.new '{\"id\": 1}' --ack synced
  trunkline pub load.test 'x' --repeat 1000000 --rate 50k")]
pub(super) struct Publish {
    /// The subject: tokens separated by dots
    subject: String,

    /// The payload; standard input when absent
    #[arg(conflicts_with = "lines")]
    payload: Option<String>,

    /// Each line of standard input is a record, without its line feed
    #[arg(long)]
    lines: bool,

    /// What the acknowledgement must say [default: the stream's own level]
    #[arg(long, value_name = "LEVEL")]
    ack: Option<AckWord>,

    /// Records per second, such as 5000 or 20k [default: as fast as it goes]
    #[arg(long, value_name = "N")]
    rate: Option<Rate>,

    /// Give up, with exit code 4, when the server has acknowledged nothing for so long
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = some_time)]
    timeout: Span,

    /// Publish the payload so often; with --lines all lines so often, for which they are held in memory, up to 4 GiB
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    repeat: u64,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

/// What has become of the records so far.
struct Account {
    subject: String,
    sent: u64,
    bytes: u64,
    acked: u64,
    last_sequence: u64,
    level: Option<AckLevel>,
    refused: u64,
    /// The refusal of the earliest record, with that record's number from 0.
    refusal: Option<(u64, Failure)>,
    /// Records that were taken from the input.
    read: u64,
    /// Whether the input was read to its end.
    all_read: bool,
    /// The number that the connection gave the first record.
    base: u64,
    /// When an answer came last, or nothing waited for one.
    answered: Instant,
    /// How long an answer may take.
    patience: Duration,
}

/// `--json`.
#[derive(Serialize)]
struct Summary {
    records: u64,
    bytes: u64,
    last_sequence: u64,
    level: &'static str,
    refused: u64,
    /// Records of the input that were looked at, refused ones included.
    read: u64,
    /// Whether there was nothing behind them.
    all_read: bool,
    seconds: f64,
}

impl Publish {
    pub(super) fn run(self) -> Outcome {
        let level = self.ack.map_or(AckLevel::Stream, AckWord::level);
        let mut input = match (&self.payload, self.lines) {
            (_, true) => Input::lines(self.repeat)?,
            (Some(payload), _) => Input::one(payload.clone().into_bytes(), self.repeat),
            (None, _) => Input::one(everything()?, self.repeat),
        };
        let patience = self.timeout.duration();
        let mut line = self.target.connect_within("pub", patience)?;
        let mut account = Account::new(&self.subject, patience);
        let mut progress = Progress::new("records", input.total());
        let begin = Instant::now();
        let published = self.publish(
            &mut line,
            &mut input,
            level,
            begin,
            &mut account,
            &mut progress,
        );
        progress.finish();
        let seconds = begin.elapsed().as_secs_f64();
        // Whatever ended it, what is acknowledged is worth knowing.
        if published.is_ok() || account.acked > 0 || self.json {
            self.report(&account, seconds)?;
        }
        published?;
        line.close();
        account.failure(&input).map_or(Ok(()), Err)
    }

    /// Until everything is published and answered.
    fn publish(
        &self,
        line: &mut Line,
        input: &mut Input,
        level: AckLevel,
        begin: Instant,
        account: &mut Account,
        progress: &mut Progress,
    ) -> Outcome {
        let interval = self.rate.map(|rate| Duration::from_secs_f64(1.0 / rate.0));
        let mut unsent = 0_usize;
        while account.refusal.is_none() {
            if let Some(due) =
                interval.map(|interval| begin + interval.mul_f64(account.sent as f64))
            {
                while Instant::now() < due {
                    turn(line, account)?;
                    line.wait(None, Some(due))?;
                }
            }
            let payload = match input.next()? {
                Next::Record(payload) => payload,
                Next::End => {
                    account.all_read = true;
                    break;
                }
                Next::TooLong => {
                    account.refuse_next(format!("it has more than {LONGEST_LINE} bytes"));
                    break;
                }
                // Nothing to read: a lone record is not kept waiting, and answers are taken in meanwhile.
                Next::Wait => {
                    while turn(line, account)? {}
                    line.wait(Some(std::io::stdin().as_fd()), None)?;
                    continue;
                }
            };
            let publication = Publication {
                level,
                ..Publication::new(&self.subject, payload)
            };
            if line.connection.in_flight() == 0 {
                // However long there was nothing to publish, patience begins with what waits.
                account.answered = Instant::now();
            }
            let taken = loop {
                match line.connection.publish_with(&publication) {
                    Ok(number) => {
                        if account.read == 0 {
                            account.base = number;
                        }
                        break true;
                    }
                    Err(PublishError::Full) => {
                        if !turn(line, account)? {
                            line.wait(None, None)?;
                        }
                    }
                    Err(error) => {
                        account.refuse_next(error.to_string());
                        break false;
                    }
                }
            };
            if !taken {
                break;
            }
            account.sent += 1;
            account.read += 1;
            account.bytes += payload.len() as u64;
            progress.add(1);
            unsent += payload.len() + RECORD_BYTES;
            if unsent >= SEND_BYTES || interval.is_some() {
                unsent = 0;
                turn(line, account)?;
                if line.stopped() {
                    return Err(Failure::Interrupted);
                }
            }
        }
        while line.connection.in_flight() > 0 {
            if !turn(line, account)? {
                line.wait(None, None)?;
            }
        }
        Ok(())
    }

    fn report(&self, account: &Account, seconds: f64) -> Outcome {
        let mut output = Output::new();
        let level = account.level.map_or("none", level_word);
        if account.acked == 0 && !self.json {
            // A refusal is told as the failure; without one there was nothing to read.
            if account.all_read && account.refused == 0 {
                output.line("no records: the input is empty")?;
            }
            return output.flush();
        }
        if self.json {
            output.json(&Summary {
                records: account.acked,
                bytes: account.bytes,
                last_sequence: account.last_sequence,
                level,
                refused: account.refused,
                read: account.read,
                all_read: account.all_read,
                seconds,
            })?;
            return output.flush();
        }
        let plural = if account.acked == 1 { "" } else { "s" };
        let mut text = format!(
            "{} record{plural} {level}, {}, last sequence {}",
            grouped(account.acked),
            Bytes(account.bytes),
            account.last_sequence
        );
        if account.acked > 1 && seconds > 0.0 {
            text.push_str(&format!(", {}", rate(account.acked as f64 / seconds)));
        }
        output.line(&text)?;
        output.flush()
    }
}

impl Account {
    fn new(subject: &str, patience: Duration) -> Self {
        Self {
            subject: subject.to_owned(),
            sent: 0,
            bytes: 0,
            acked: 0,
            last_sequence: 0,
            level: None,
            refused: 0,
            refusal: None,
            read: 0,
            all_read: false,
            base: 0,
            answered: Instant::now(),
            patience,
        }
    }

    /// The next record of the input cannot be published, and what is behind it is not read: a hole in the middle would be seen by nobody.
    fn refuse_next(&mut self, why: String) {
        self.refused += 1;
        self.note_refusal(self.read, || Failure::Refused(why));
        self.read += 1;
    }

    /// The server may refuse an earlier record later.
    fn note_refusal(&mut self, number: u64, failure: impl FnOnce() -> Failure) {
        if self
            .refusal
            .as_ref()
            .is_none_or(|(first, _)| number < *first)
        {
            self.refusal = Some((number, failure()));
        }
    }

    /// What is said of refused records: which, why, and how far the input was read.
    fn failure(&self, input: &Input) -> Option<Failure> {
        let (number, failure) = self.refusal.as_ref()?;
        let place = input.place(*number);
        let mut text = place.map_or_else(
            || failure.to_string(),
            |place| format!("{place}: {failure}"),
        );
        if self.refused > 1 {
            let refused = grouped(self.refused);
            text = format!("{refused} records are not stored; the first: {text}");
        }
        if !self.all_read
            && let Some(last) = input.place(self.read - 1)
        {
            text.push_str(&format!("; nothing behind {last} was read"));
        }
        Some(Failure::Refused(text))
    }
}

/// Sends, receives, and keeps the account.
fn turn(line: &mut Line, account: &mut Account) -> Result<bool, Failure> {
    let before = account.acked + account.refused;
    let came = line.turn(|event| match event {
        Event::Acked { first, last, ack } => {
            account.acked += last - first + 1;
            account.last_sequence = ack.stream_sequence;
            account.level = Some(ack.level);
        }
        Event::Refused { first, last, error } => {
            account.refused += last - first + 1;
            let failure = match error.code {
                ErrorCode::NO_STREAM => uncaptured(&account.subject),
                _ => refused(&error),
            };
            account.note_refusal(first.saturating_sub(account.base), || failure);
        }
        _ => {}
    })?;
    let (now, waiting) = (Instant::now(), line.connection.in_flight());
    if waiting == 0 || account.acked + account.refused > before {
        account.answered = now;
    } else if now - account.answered >= account.patience {
        return Err(Failure::Connection(format!(
            "{} has acknowledged nothing for {}; {} on the way may be stored or not",
            line.server(),
            Span(account.patience.as_nanos() as u64),
            counted(waiting, "record")
        )));
    }
    Ok(came)
}

/// Which subject no stream captures, and what can be done.
fn uncaptured(subject: &str) -> Failure {
    Failure::Refused(format!(
        "refused: no stream captures `{subject}`: `trunkline stream ls` shows what is captured, `trunkline stream add` adds to it \
         (error {})",
        ErrorCode::NO_STREAM.0
    ))
}

/// Header and address of a record.
const RECORD_BYTES: usize = 40;
/// Larger writes to a socket are slower, not faster.
const SEND_BYTES: usize = 48 << 10;
