//! `trunkline sub`: prints records.

mod absent;

use std::io::{self, Write};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use trunkline_client::{
    Client, Delivery, Error, ErrorCode, Gap, GapReason, Message, Policy, Start, Subscriber,
    Subscription,
};

use super::connect::{Stop, Target};
use super::exit::{Failure, Outcome};
use super::output::{Output, time};
use super::record::Record;
use super::values::{From, some_time, wall_ns};
use crate::config::Span;
use crate::system::{self, StreamList};

/// Subscribe to records and print them
#[derive(Debug, Args)]
#[command(after_help = "\
In PATTERN, * stands for one token and > at the end for one or more. Quote it: the shell knows both.

Examples:
  trunkline sub 'orders.>'                     # from now on, until Ctrl-C
  trunkline sub 'orders.>' --from first        # what is held, then live
  trunkline sub 'orders.*.new' --from -10m     # ten minutes, then live
  trunkline sub 'orders.>' --from time:2026-11-21T08:00:00Z
  trunkline sub 'orders.>' --from seq:42 --stream main
  trunkline sub 'pkg.>' --from first --raw --count 1000 --timeout 5s > pkg.txt
  trunkline sub 'jobs.>' --group workers       # each record to one of the group
  trunkline sub 'jobs.>' --cursor audit        # goes on where it stands

When the connection is lost it is made again, and the subscription goes on behind the last record. A group that has lost all of its members goes on behind \
the last record of the first one that is back: what others had got after that comes again. With --cursor, too, the server keeps the group's place.

A cursor has one reader, or one group: another `sub` that names it takes it over, and this one ends.

Exit codes: 0 when --count records came, or at Ctrl-C without --count; 1 when --timeout ran out; 4 when the server \
cannot be reached or does not answer; 5 when it refuses, or another subscription takes the cursor over; 130 at Ctrl-C before \
--count records came.")]
pub(super) struct Subscribe {
    /// The pattern of subjects
    pattern: String,

    /// Where to start: first, last, new, seq:N, time:RFC3339, or an age such as -10m. `last` is the newest record of the stream,
    /// which is left out where it does not match. With --cursor it starts where that stands
    #[arg(
        long,
        value_name = "START",
        default_value = "new",
        allow_hyphen_values = true
    )]
    from: From,

    /// End after so many records
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// End, with exit code 1, when it has taken so long; connecting counts
    #[arg(long, value_name = "TIME", value_parser = some_time)]
    timeout: Option<Span>,

    /// Print payloads only, one on each line
    #[arg(long, conflicts_with = "json")]
    raw: bool,

    /// Print one JSON object for each record
    #[arg(long)]
    json: bool,

    /// Only this stream
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,

    /// Share the records with the other members of this group
    #[arg(long, value_name = "NAME")]
    group: Option<String>,

    /// Keep the place under this name in the server; the next time it goes on there
    #[arg(long, value_name = "NAME")]
    cursor: Option<String>,

    /// What happens to this subscription when it is slower than the records come
    #[arg(long, value_name = "POLICY", default_value = "spill")]
    policy: PolicyWord,

    /// End, with exit code 4, when the connection is lost, instead of connecting again and going on
    #[arg(long)]
    no_reconnect: bool,

    #[command(flatten)]
    target: Target,
}

/// What a server does when a subscription is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PolicyWord {
    /// Go on from the stored records; nothing is lost while retention keeps it
    Spill,
    /// Make the publishers wait
    Block,
    /// Leave out what does not fit
    DropNewest,
    /// Leave out what has waited longest
    DropOldest,
    /// End the subscription
    Disconnect,
}

/// What has come, and how it is printed.
struct Printer {
    output: Output,
    format: Format,
    left: Option<u64>,
    printed: u64,
    /// Ranges that are printed and not yet confirmed: stream, first, last.
    ranges: Vec<(Box<str>, u64, u64)>,
    confirms: Confirms,
}

/// What is said about records that are printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Confirms {
    Nothing,
    /// Everything up to here, as only this subscriber moves the cursor.
    UpTo,
    /// These: other members of the group may still work on earlier ones.
    These,
}

#[derive(Clone, Copy)]
enum Format {
    /// Time, stream, sequence, subject, payload with control characters escaped.
    Line,
    Raw,
    Json,
}

impl Subscribe {
    pub(super) fn run(self) -> Outcome {
        let stop = Stop::install()?;
        // A subscription that asks to be ended when it is slow does not come back by itself.
        let stays = !self.no_reconnect && self.policy != PolicyWord::Disconnect;
        let time = self.timeout.map(|timeout| timeout.duration());
        let end = time.map(|time| Instant::now() + time);
        let client = self.target.client("sub", stays, time)?;
        let mut subscriber = client
            .subscribe(&self.subscription())
            .map_err(|error| self.target.failed(&error))?;
        self.warn(&client);
        let mut printer = Printer {
            output: Output::new(),
            format: match (self.raw, self.json) {
                (true, _) => Format::Raw,
                (_, true) => Format::Json,
                _ => Format::Line,
            },
            left: self.count,
            printed: 0,
            ranges: Vec::new(),
            confirms: match (&self.group, &self.cursor) {
                (Some(_), _) => Confirms::These,
                (None, Some(_)) => Confirms::UpTo,
                (None, None) => Confirms::Nothing,
            },
        };
        let ended = self.follow(&client, &mut subscriber, &mut printer, &stop, end, stays);
        printer.output.flush()?;
        // What was printed is confirmed, whatever ended the command.
        printer.confirm(&subscriber);
        drop(subscriber);
        client.close();
        match ended {
            // Ctrl-C is how one ends a subscription that has no end of its own.
            Err(Failure::Interrupted) if self.count.is_none() => Ok(()),
            ended => ended,
        }
    }

    /// Says so when nothing can come as things are, or not everything.
    fn warn(&self, client: &Client) {
        // Only for people: what cannot be learnt in a moment is not worth a failure, or a wait.
        let time = self.timeout.map_or(LIST_PATIENCE, |timeout| {
            LIST_PATIENCE.min(timeout.duration())
        });
        let asked = client.request(system::STREAM_LIST, b"", time).ok();
        let list = asked.and_then(|json| serde_json::from_slice::<StreamList>(&json).ok());
        let why = list.and_then(|list| {
            absent::why_nothing_comes(&list.streams, self.stream.as_deref(), &self.pattern)
        });
        if let Some(why) = why {
            let _ = writeln!(io::stderr(), "{why}");
        }
    }

    fn subscription(&self) -> Subscription {
        let start = match self.from {
            From::New => Start::New,
            From::First => Start::First,
            From::Last => Start::Last,
            From::Sequence(sequence) => Start::Sequence(sequence),
            From::Time(ns) => Start::Time(ns),
            From::Ago(age) => Start::Time(wall_ns().saturating_sub(age.0)),
        };
        let policy = match self.policy {
            PolicyWord::Spill => Policy::Spill,
            PolicyWord::Block => Policy::Block,
            PolicyWord::DropNewest => Policy::DropNewest,
            PolicyWord::DropOldest => Policy::DropOldest,
            PolicyWord::Disconnect => Policy::Disconnect,
        };
        let mut subscription = Subscription::new(&self.pattern).policy(policy).start(start);
        if let Some(stream) = &self.stream {
            subscription = subscription.stream(stream);
        }
        if let Some(group) = &self.group {
            subscription = subscription.group(group).explicit_confirms();
        }
        if let Some(cursor) = &self.cursor {
            subscription = subscription.cursor(cursor).explicit_confirms();
        }
        subscription
    }

    /// Why nothing more comes, in words.
    fn ended(&self, error: &Error) -> Failure {
        match (error.code(), &self.cursor) {
            (Some(ErrorCode::EXISTS), Some(cursor)) => Failure::Refused(format!(
                "another subscription has taken cursor {cursor} over"
            )),
            _ => self.target.failed(error),
        }
    }

    /// Until the count is reached, the time runs out, or the user or the server ends it.
    fn follow(
        &self,
        client: &Client,
        subscriber: &mut Subscriber,
        printer: &mut Printer,
        stop: &Stop,
        end: Option<Instant>,
        stays: bool,
    ) -> Outcome {
        // Records that are there are printed at once, and seen before there is a wait for more.
        let mut pause = Duration::ZERO;
        let mut away = false;
        let mut lost_before = 0;
        loop {
            match subscriber.next_delivery(Some(pause)) {
                Ok(Some(delivery)) => {
                    pause = Duration::ZERO;
                    printer.take(&delivery)?;
                    if printer.left == Some(0) {
                        return Ok(());
                    }
                    // Neither the clock nor the flag is looked at for each record of many.
                    if printer.printed & 0xff != 0 {
                        continue;
                    }
                }
                Ok(None) if pause.is_zero() => {
                    printer.output.flush()?;
                    printer.confirm(subscriber);
                    pause = PAUSE;
                    pause = end.map_or(pause, |end| {
                        pause.min(end.saturating_duration_since(Instant::now()))
                    });
                }
                Ok(None) => {
                    // Counted, as a connection may be lost and made again between two looks.
                    let lost = client.connections_lost();
                    let connected = client.is_connected();
                    if !connected && !stays {
                        return Err(Failure::Connection(self.target.lost(client)));
                    }
                    if std::mem::replace(&mut lost_before, lost) != lost && !away {
                        away = true;
                        let lost = self.target.lost(client);
                        let _ = writeln!(io::stderr(), "{lost}; trying again");
                    }
                    if connected && away {
                        away = false;
                        let _ = writeln!(io::stderr(), "connected to {} again", self.target.server);
                        // It is another server, maybe, or the same one after a start that not all of its streams came through.
                        self.warn(client);
                    }
                }
                Err(error) => return Err(self.ended(&error)),
            }
            stop.check()?;
            if end.is_some_and(|end| Instant::now() >= end) {
                let wanted = self
                    .count
                    .map_or_else(String::new, |count| format!(" of {count}"));
                let text = format!("the time ran out after {}{wanted} records", printer.printed);
                return Err(Failure::Absent(text));
            }
        }
    }
}

impl Printer {
    fn take(&mut self, delivery: &Delivery<'_>) -> Outcome {
        match delivery {
            Delivery::Message(message) => {
                self.print(message)?;
                self.printed += 1;
                self.left = self.left.map(|left| left - 1);
                self.remember(message);
            }
            Delivery::Gap { stream, gap } => complain_about(stream, gap),
        }
        Ok(())
    }

    fn print(&mut self, message: &Message<'_>) -> Outcome {
        match self.format {
            Format::Raw => {
                self.output.write(message.payload())?;
                self.output.write(b"\n")
            }
            Format::Line => {
                let text = format!(
                    "{} {} {} {}  {}",
                    time(message.timestamp_ns()),
                    message.stream(),
                    message.sequence(),
                    self.output.paint(message.subject(), "36"),
                    shown(message.payload())
                );
                self.output.line(&text)
            }
            Format::Json => self.output.json(&Record::new(
                message.stream(),
                message.subject(),
                (message.sequence(), message.timestamp_ns()),
                message.headers(),
                message.payload(),
            )),
        }
    }

    fn remember(&mut self, message: &Message<'_>) {
        if self.confirms == Confirms::Nothing {
            return;
        }
        let sequence = message.sequence();
        match self
            .ranges
            .iter_mut()
            .rev()
            .find(|range| *range.0 == *message.stream())
        {
            Some(range) if range.2 + 1 == sequence => range.2 = sequence,
            _ => self
                .ranges
                .push((message.stream().into(), sequence, sequence)),
        }
    }

    fn confirm(&mut self, subscriber: &Subscriber) {
        for (stream, first, last) in self.ranges.drain(..) {
            let first = if self.confirms == Confirms::UpTo {
                0
            } else {
                first
            };
            subscriber.confirm_range(&stream, first, last);
        }
    }
}

/// A payload for a terminal: control characters could do anything there.
fn shown(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(payload);
    if !text.chars().any(|c| c.is_control() && c != '\t') {
        return text.into_owned();
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if c.is_control() && c != '\t' {
            safe.extend(c.escape_default())
        } else {
            safe.push(c)
        }
    }
    safe
}

fn complain_about(stream: &str, gap: &Gap) {
    let why = match gap.reason {
        GapReason::Retention => "retention has removed them",
        GapReason::SlowConsumer => "this subscription was too slow",
        GapReason::Damaged => "they are damaged",
    };
    // Standard output stays clean; a closed standard error is nobody's problem.
    let _ = writeln!(
        io::stderr(),
        "records {} to {} of {stream} will not come: {why}",
        gap.first,
        gap.last
    );
}

/// The longest wait before the user's wish to stop is seen.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a server may take to say which streams it has.
const LIST_PATIENCE: Duration = Duration::from_secs(1);
