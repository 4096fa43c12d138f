//! What clients sent, what they were told, and what is there.
//!
//! A client sends to each stream records with numbers that count up over all of its connections, and never again one that it has
//! sent. On one connection order is kept, so of what a client sent during one life of the server a stream holds a prefix; and at
//! least what was acknowledged, unless retention has removed it since.

use std::collections::{BTreeMap, VecDeque};

use trunkline_client::AckLevel;

use crate::record::{Id, STREAMS};

/// The streams of one data directory.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    pub(crate) streams: Vec<Stream>,
}

/// What a stream is known to hold.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    number: u16,
    /// The sequence of the first entry.
    first: u64,
    entries: VecDeque<Id>,
    /// By client: what it sent during the last life of the server.
    runs: BTreeMap<u16, Run>,
    /// By sequence: what subscribers were given during it.
    watched: BTreeMap<u64, Id>,
    /// Retention has removed records that were never found.
    has_gap: bool,
}

/// What one client sent to one stream on one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    /// Its first number.
    pub(crate) first: u64,
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    /// Records that an Ack has named.
    pub(crate) named: Vec<Named>,
    /// The next number that the stream should have.
    due: u64,
    /// One of its records was found: behind it nothing is missing.
    is_found: bool,
}

/// A record that an Ack has named; all earlier ones of its run are acknowledged, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// Where it is in the stream, as the Ack says.
    pub(crate) sequence: u64,
    pub(crate) number: u64,
    pub(crate) level: AckLevel,
    /// How often the device had flushed when the client had read the Ack.
    pub(crate) flushes: u64,
}

impl Run {
    /// Nothing is sent yet.
    pub(crate) fn new(first: u64) -> Self {
        Self {
            first,
            ..Self::default()
        }
    }

    /// What of it must be there when power fails after so many flushes of the device: what was acknowledged as synced by then.
    pub(crate) fn synced(&self, flushes: u64) -> Self {
        let counts = |named: &&Named| named.level == AckLevel::Synced && named.flushes <= flushes;
        let named: Vec<Named> = self.named.iter().filter(counts).copied().collect();
        let behind = named.iter().map(|named| named.number + 1).max();
        Self {
            first: self.first,
            sent: self.sent,
            acked: behind.map_or(0, |behind| behind - self.first),
            named,
            due: self.due,
            is_found: false,
        }
    }
}

impl Ledger {
    pub(crate) fn new() -> Self {
        let stream = |number| Stream {
            number,
            first: 1,
            entries: VecDeque::new(),
            runs: BTreeMap::new(),
            watched: BTreeMap::new(),
            has_gap: false,
        };
        Self {
            streams: (0..STREAMS.len() as u16).map(stream).collect(),
        }
    }
}

impl Stream {
    /// Behind the last record that is known.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// The oldest record that is known.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The server has lived and died: this is what a client sent meanwhile.
    pub(crate) fn add_run(&mut self, client: u16, run: Run) {
        let due = run.first;
        self.runs.insert(client, Run { due, ..run });
    }

    /// A subscriber was given a record.
    pub(crate) fn add_watched(&mut self, sequence: u64, id: Id) {
        self.watched.insert(sequence, id);
    }

    /// What the server says it has: records before `first` are gone, the next is `next`. Returns how many are gone that
    /// were known or never found.
    ///
    /// # Errors
    /// Something is gone that may not be.
    pub(crate) fn on_range(&mut self, first: u64, next: u64) -> Result<u64, String> {
        let name = self.name();
        if next < self.next() {
            return Err(format!(
                "LOST: {name} ends before {next}, and had everything before {}",
                self.next()
            ));
        }
        if first < self.first {
            return Err(format!(
                "{name} starts at {first}, and started at {}",
                self.first
            ));
        }
        if first > next {
            return Err(format!("{name} has {first} to {next}, which is no range"));
        }
        let gone = first - self.first;
        for _ in 0..gone {
            self.entries.pop_front();
        }
        self.has_gap |= first > self.next();
        self.first = first;
        Ok(gone)
    }

    /// A record is there, read in order.
    ///
    /// # Errors
    /// It is another one than was found there before, or one that may not come now.
    pub(crate) fn on_record(&mut self, sequence: u64, id: Option<Id>) -> Result<(), String> {
        let name = self.name();
        let Some(id) = id.filter(|id| id.stream == self.number) else {
            return Err(format!(
                "PHANTOM: {name} has at {sequence} {id:?}, which nobody sent"
            ));
        };
        let next = self.next();
        if sequence < next {
            let known = sequence
                .checked_sub(self.first)
                .and_then(|index| self.entries.get(index as usize));
            return if known == Some(&id) {
                Ok(())
            } else {
                Err(format!(
                    "CHANGED: {name} has at {sequence} {id:?}, it was {known:?}"
                ))
            };
        }
        if sequence > next {
            return Err(format!(
                "LOST: {name} goes on with {sequence} where {next} is due"
            ));
        }
        let run = self.runs.entry(id.client).or_default();
        let sent = run.first..run.first + run.sent;
        if !sent.contains(&id.number) {
            return Err(format!(
                "PHANTOM or TWICE: {name} has at {sequence} {id:?}; that client sent {sent:?} since the last look"
            ));
        }
        let may_skip = self.has_gap && !run.is_found;
        if id.number < run.due || (id.number > run.due && !may_skip) {
            return Err(format!(
                "LOST, TWICE or OUT OF ORDER: {name} has at {sequence} {id:?} where number {} is due",
                run.due
            ));
        }
        run.due = id.number + 1;
        run.is_found = true;
        self.entries.push_back(id);
        Ok(())
    }

    /// Everything was read: holds it against what was promised.
    ///
    /// # Errors
    /// A promise that was not kept.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        let name = self.name();
        for (client, run) in &self.runs {
            let acked_end = run.first + run.acked;
            // What was acknowledged and is not there may have been removed, when nothing says where it was.
            if run.due < acked_end && !self.has_gap {
                return Err(format!(
                    "LOST: {name} has of client {client} everything before {}, acknowledged is everything before {acked_end}",
                    run.due
                ));
            }
            for named in &run.named {
                let id = Id {
                    client: *client,
                    stream: self.number,
                    number: named.number,
                };
                self.holds(named.sequence, id, "acknowledged")?;
            }
        }
        for (sequence, id) in &self.watched {
            self.holds(*sequence, *id, "delivered")?;
        }
        self.runs.clear();
        self.watched.clear();
        self.has_gap = false;
        Ok(())
    }

    fn holds(&self, sequence: u64, id: Id, why: &str) -> Result<(), String> {
        let found = match sequence.checked_sub(self.first) {
            // Retention has removed it.
            None => return Ok(()),
            Some(index) => self.entries.get(index as usize),
        };
        if found == Some(&id) {
            return Ok(());
        }
        Err(format!(
            "LOST: {} has at {sequence} {found:?}; {id:?} was {why} there",
            self.name()
        ))
    }

    fn name(&self) -> &'static str {
        STREAMS[usize::from(self.number)].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> Id {
        Id {
            client: 7,
            stream: 0,
            number,
        }
    }

    /// Record `99 + sequence` of client 7 was acknowledged at `sequence`.
    fn named(sequence: u64, level: AckLevel, flushes: u64) -> Named {
        Named {
            sequence,
            number: 99 + sequence,
            level,
            flushes,
        }
    }

    /// A stream after a life in which client 7 sent ten records and was told of six.
    fn stream() -> Stream {
        let mut stream = Ledger::new().streams.remove(0);
        stream.add_run(
            7,
            Run {
                first: 100,
                sent: 10,
                acked: 6,
                named: vec![named(6, AckLevel::Stored, 0)],
                ..Run::default()
            },
        );
        stream
    }

    fn read(stream: &mut Stream, numbers: impl IntoIterator<Item = u64>) -> Result<(), String> {
        for (index, number) in numbers.into_iter().enumerate() {
            stream.on_record(1 + index as u64, Some(id(number)))?;
        }
        stream.settle()
    }

    #[test]
    fn everything_between_what_was_acknowledged_and_what_was_sent_may_be_there() {
        for end in 106..=110 {
            assert_eq!(read(&mut stream(), 100..end), Ok(()));
        }
    }

    #[test]
    fn a_lost_a_doubled_and_an_exchanged_record_are_found() {
        assert!(
            read(&mut stream(), 100..105)
                .unwrap_err()
                .starts_with("LOST")
        );
        assert!(read(&mut stream(), [100, 101, 103, 104, 105, 106]).is_err());
        assert!(read(&mut stream(), [100, 101, 101, 102, 103, 104, 105]).is_err());
        assert!(read(&mut stream(), [101, 100, 102, 103, 104, 105]).is_err());
        assert!(read(&mut stream(), 100..111).is_err(), "never sent");
    }

    #[test]
    fn what_was_found_stays_what_it_was() {
        let mut stream = stream();
        assert_eq!(read(&mut stream, 100..108), Ok(()));
        assert_eq!(stream.on_record(3, Some(id(102))), Ok(()));
        assert!(stream.on_record(3, Some(id(103))).is_err());
        assert!(stream.on_range(1, 7).unwrap_err().starts_with("LOST"));
        assert!(
            stream.on_record(9, Some(id(108))).is_err(),
            "its time is over"
        );
    }

    #[test]
    fn what_retention_removes_is_not_lost_and_what_is_left_must_be_right() {
        let mut gone = stream();
        assert_eq!(gone.on_range(5, 8), Ok(4));
        for sequence in 5..8 {
            assert_eq!(gone.on_record(sequence, Some(id(99 + sequence))), Ok(()));
        }
        assert_eq!(gone.settle(), Ok(()));
        let mut wrong = stream();
        assert_eq!(wrong.on_range(5, 8), Ok(4));
        for sequence in 5..8 {
            assert_eq!(wrong.on_record(sequence, Some(id(98 + sequence))), Ok(()));
        }
        assert!(wrong.settle().is_err(), "an Ack said that 6 is 105");
        let mut hole = stream();
        assert_eq!(hole.on_range(5, 8), Ok(4));
        assert_eq!(hole.on_record(5, Some(id(104))), Ok(()));
        assert!(hole.on_record(6, Some(id(106))).is_err(), "105 is missing");
    }

    #[test]
    fn what_a_subscriber_saw_must_be_found() {
        let mut stream = stream();
        stream.add_watched(9, id(108));
        assert!(read(&mut stream, 100..108).is_err());
    }

    #[test]
    fn a_loss_of_power_must_leave_what_was_synced_before_it_and_no_more() {
        let run = Run {
            first: 100,
            sent: 10,
            acked: 6,
            named: vec![
                named(2, AckLevel::Synced, 3),
                named(4, AckLevel::Stored, 3),
                named(5, AckLevel::Synced, 8),
            ],
            ..Run::default()
        };
        let left = |flushes: u64, end: u64| {
            let mut stream = Ledger::new().streams.remove(0);
            stream.add_run(7, run.synced(flushes));
            read(&mut stream, 100..end)
        };
        assert_eq!(left(2, 100), Ok(()), "nothing was synced yet");
        assert!(left(3, 101).unwrap_err().starts_with("LOST"));
        assert_eq!(left(3, 102), Ok(()));
        assert_eq!(left(7, 102), Ok(()), "stored is not synced");
        assert!(left(8, 104).is_err());
        assert_eq!(left(8, 105), Ok(()));
        assert_eq!(left(8, 110), Ok(()), "more may be there");
    }
}
