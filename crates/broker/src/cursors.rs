//! Durable cursors: how far named readers have confirmed, kept over restarts.
//!
//! They are kept in a log of their own, which is no stream for users: each record says where one cursor stands, the last one counts.
//! What a cursor confirmed is written within [`cursor_interval_ns`](crate::ShardConfig::cursor_interval_ns), several moves as one
//! record. Every half segment, and after opening, all cursors are written again, so that the two newest segments hold every cursor and
//! the log's retention may take the older ones. A crash takes back the moves of one interval at most: their records come again.
//! The format of the records is [`cursor_record`](crate::cursor_record)'s.

use std::collections::HashMap;

use trunkline_log::{
    Cursor, Disk, Durability, Fetched, FetchedRun, Log, LogConfig, ReadDone, Retention, Run,
    Storage, Token,
};
use trunkline_wire::record::{self, RawRecord, Records};
use trunkline_wire::{Kind, Stamp};

use crate::Now;
use crate::cursor_record::{BODY_BYTES_MAX, CursorRecord, What};
use crate::slab::{Key, Slab};

/// All cursors of a shard.
#[derive(Debug)]
pub(crate) struct Cursors {
    entries: Slab<Entry>,
    /// How many there may be, but for those that were read from the log: none is forgotten because a limit has become lower.
    max: u32,
    /// By stream and name.
    names: HashMap<(Box<str>, Box<str>), Key>,
    /// The stream that they are kept in.
    pub(crate) stream: Key,
    loading: Option<Loading>,
    /// Records of the log that could not be read.
    lost: u64,
    /// When what has moved is written.
    due_ns: Option<u64>,
    /// Something has moved, at an unknown time.
    touched: bool,
    /// The log's position when all were last written.
    snapshot_at: u64,
    /// The subject of the records.
    subject: u32,
    interval_ns: u64,
}

/// Where a cursor stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorInfo {
    /// The stream that it is in.
    pub stream: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// The first sequence that is not confirmed; `None` for one that has not been used yet.
    pub next: Option<u64>,
    /// Whether somebody reads with it.
    pub active: bool,
}

#[derive(Debug)]
struct Entry {
    stream: Box<str>,
    name: Box<str>,
    next: Option<u64>,
    /// What the log has.
    written: Option<u64>,
    feed: Key,
}

#[derive(Debug)]
struct Loading {
    cursor: Cursor,
    reading: Option<Token>,
}

impl Cursors {
    pub(crate) fn new(max: u32, interval_ns: u64) -> Self {
        Self {
            entries: Slab::new(u32::MAX),
            max,
            names: HashMap::new(),
            stream: Key::NONE,
            loading: None,
            lost: 0,
            due_ns: None,
            touched: false,
            snapshot_at: 0,
            subject: 0,
            interval_ns,
        }
    }

    /// Reads what the log holds, from the next turn on.
    pub(crate) fn load(&mut self, stream: Key, log: &mut Log) {
        self.stream = stream;
        self.subject = log.define(SUBJECT).unwrap_or(0);
        self.snapshot_at = log.received().position;
        if log.first().sequence < log.received().sequence {
            self.loading = Some(Loading {
                cursor: log.seek_first(),
                reading: None,
            });
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.loading.is_none()
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    pub(crate) fn room(&self) -> usize {
        self.max.saturating_sub(self.entries.len()) as usize
    }

    /// The cursor of this name, a new one if need be.
    pub(crate) fn bind(&mut self, stream: &str, name: &str) -> Key {
        let names = (Box::from(stream), Box::from(name));
        if let Some(key) = self.names.get(&names) {
            return *key;
        }
        let entry = Entry {
            stream: stream.into(),
            name: name.into(),
            next: None,
            written: None,
            feed: Key::NONE,
        };
        let Ok(key) = self.entries.insert(entry) else {
            return Key::NONE;
        };
        self.names.insert(names, key);
        key
    }

    pub(crate) fn next(&self, key: Key) -> Option<u64> {
        self.entries.at(key)?.next
    }

    pub(crate) fn feed(&self, key: Key) -> Key {
        self.entries.at(key).map_or(Key::NONE, |entry| entry.feed)
    }

    pub(crate) fn set_feed(&mut self, key: Key, feed: Key) {
        if let Some(entry) = self.entries.at_mut(key) {
            entry.feed = feed;
        }
    }

    /// The cursor may have moved.
    #[inline]
    pub(crate) fn touch(&mut self, key: Key, now: Now) {
        if key != Key::NONE && self.due_ns.is_none() {
            self.due_ns = Some(now.mono_ns + self.interval_ns);
        }
    }

    /// The same where the time is not known; the next turn knows it.
    #[inline]
    pub(crate) fn touch_soon(&mut self, key: Key) {
        self.touched |= key != Key::NONE;
    }

    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        self.due_ns
    }

    /// How far a cursor has confirmed.
    pub(crate) fn set_next(&mut self, key: Key, next: u64) {
        if let Some(entry) = self.entries.at_mut(key) {
            entry.next = Some(next);
        }
    }

    /// Whether the log has what the cursors say.
    pub(crate) fn is_written(&self) -> bool {
        let unwritten = |entry: &Entry| entry.next.is_some() && entry.next != entry.written;
        !self.entries.iter().any(|(_, entry)| unwritten(entry))
    }

    /// What stands beyond the end of its stream, because a crash took confirmed records back, stands at the end.
    pub(crate) fn clamp(&mut self, stream: &str, end: u64) {
        for entry in self
            .entries
            .values_mut()
            .filter(|entry| *entry.stream == *stream)
        {
            entry.next = entry.next.map(|next| next.min(end));
        }
    }

    /// The cursors that somebody reads with.
    pub(crate) fn active(&self) -> impl Iterator<Item = (Key, Key)> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.feed != Key::NONE)
            .map(|(key, entry)| (key, entry.feed))
    }

    pub(crate) fn infos(&self) -> impl Iterator<Item = CursorInfo> {
        self.entries.iter().map(|(_, entry)| CursorInfo {
            stream: entry.stream.clone(),
            name: entry.name.clone(),
            next: entry.next,
            active: entry.feed != Key::NONE,
        })
    }

    pub(crate) fn count_of(&self, stream: &str) -> u32 {
        self.entries
            .iter()
            .filter(|(_, entry)| *entry.stream == *stream)
            .count() as u32
    }

    pub(crate) fn find(&self, stream: &str, name: &str) -> Option<Key> {
        self.names
            .get(&(Box::from(stream), Box::from(name)))
            .copied()
    }

    /// All cursors of a stream.
    pub(crate) fn of_stream(&self, stream: &str) -> Vec<Key> {
        self.entries
            .iter()
            .filter(|(_, entry)| *entry.stream == *stream)
            .map(|(key, _)| key)
            .collect()
    }

    /// Forgets a cursor. If the log has no room for that, it may be back after a restart.
    pub(crate) fn remove(&mut self, key: Key, log: Option<&mut Log>, now: Now) {
        let Some(entry) = self.entries.remove(key) else {
            return;
        };
        if let Some(log) = log
            && entry.written.is_some()
        {
            append(log, self.subject, now, What::Removed, 0, &entry);
        }
        self.names.remove(&(entry.stream, entry.name));
    }

    /// Whether [`write`](Self::write) is to be called.
    pub(crate) fn is_due(&mut self, now: Now) -> bool {
        if core::mem::take(&mut self.touched) && self.due_ns.is_none() {
            self.due_ns = Some(now.mono_ns + self.interval_ns);
        }
        self.due_ns.is_some_and(|due| due <= now.mono_ns)
    }

    /// Writes what has moved, or waits for the next interval when the log has no room.
    pub(crate) fn write(&mut self, log: Option<&mut Log>, now: Now) -> usize {
        self.due_ns = None;
        let Some(log) = log else { return 0 };
        let stretch = log.config().segment_bytes / 2;
        let all = log.received().position.saturating_sub(self.snapshot_at) >= stretch;
        if all {
            self.snapshot_at = log.received().position;
        }
        let mut written = 0;
        for entry in self.entries.values_mut() {
            let Some(next) = entry.next else { continue };
            if !all && entry.written == Some(next) {
                continue;
            }
            if !append(log, self.subject, now, What::Stands, next, entry) {
                // What was not written counts as moved.
                entry.written = None;
                self.due_ns = Some(now.mono_ns + self.interval_ns);
                continue;
            }
            entry.written = Some(next);
            written += 1;
        }
        written
    }

    /// Goes on reading the log at the start. Returns whether there was something to do.
    pub(crate) fn load_more(&mut self, log: &mut Log, now: Now, disk: &mut impl Disk) -> bool {
        let upto = log.received();
        while let Some(loading) = &mut self.loading {
            if loading.reading.is_some() {
                return false;
            }
            match log.read(&loading.cursor, upto, u32::MAX, disk) {
                Run::Hot {
                    position,
                    len,
                    next,
                    ..
                } => {
                    loading.cursor = next;
                    self.take(log.bytes(position, len));
                }
                Run::Cold { token } => {
                    loading.reading = Some(token);
                    return true;
                }
                Run::Busy => return false,
                Run::Lost {
                    first, last, next, ..
                } => {
                    self.lost += last + 1 - first;
                    loading.cursor = next;
                }
                Run::CaughtUp => {
                    self.loading = None;
                    // Everything again, so that what is old may go.
                    for entry in self.entries.values_mut() {
                        entry.written = None;
                    }
                    self.due_ns = Some(now.mono_ns);
                }
            }
        }
        true
    }

    pub(crate) fn on_read(
        &mut self,
        log: &mut Log,
        token: Token,
        done: ReadDone,
        bytes: Option<&[u8]>,
    ) {
        let Some(loading) = self
            .loading
            .as_mut()
            .filter(|loading| loading.reading == Some(token))
        else {
            return;
        };
        loading.reading = None;
        match (done, bytes) {
            (ReadDone::Fetched(fetched), Some(bytes)) => self.take_fetched(log, &fetched, bytes),
            (
                ReadDone::Lost {
                    first, last, next, ..
                },
                _,
            ) => {
                self.lost += last + 1 - first;
                loading.cursor = next;
            }
            _ => {}
        }
    }

    fn take_fetched(&mut self, log: &mut Log, fetched: &Fetched, bytes: &[u8]) {
        let upto = log.received();
        while let Some(loading) = &mut self.loading {
            match log.read_fetched(fetched, bytes, &loading.cursor, upto, u32::MAX) {
                FetchedRun::Run {
                    offset, len, next, ..
                } => {
                    loading.cursor = next;
                    self.take(&bytes[offset as usize..(offset + len) as usize]);
                }
                FetchedRun::Lost {
                    first, last, next, ..
                } => {
                    self.lost += last + 1 - first;
                    loading.cursor = next;
                }
                FetchedRun::Done { next } => {
                    loading.cursor = next;
                    return;
                }
            }
        }
    }

    /// Takes records of a run.
    fn take(&mut self, run: &[u8]) {
        for record in Records::new(run, u32::MAX).flatten() {
            let said = match record.kind() {
                Kind::Data => CursorRecord::decode(record.body()),
                _ => None,
            };
            let Some(CursorRecord {
                what,
                next,
                stream,
                cursor: name,
            }) = said
            else {
                continue;
            };
            match what {
                What::Stands => {
                    let key = self.bind(stream, name);
                    if let Some(entry) = self.entries.at_mut(key) {
                        (entry.next, entry.written) = (Some(next), Some(next));
                    }
                }
                What::Removed => {
                    if let Some(key) = self.names.remove(&(Box::from(stream), Box::from(name))) {
                        self.entries.remove(key);
                    }
                }
            }
        }
    }
}

/// What the log of a shard's cursors is to be opened with.
pub(crate) fn log_config(entropy: u128) -> LogConfig {
    LogConfig {
        storage: Storage::Files,
        durability: Durability::Stored,
        tail_bytes: 256 << 10,
        // 4,096 cursors with names of 50 bytes in all take 400 KiB.
        segment_bytes: 8 << 20,
        record_bytes_max: 1024,
        subjects_max: 16,
        retention: Retention {
            bytes_max: Some(32 << 20),
            ..Retention::default()
        },
        entropy,
        ..LogConfig::default()
    }
}

/// False: the log has no room.
fn append(log: &mut Log, subject: u32, now: Now, what: What, next: u64, entry: &Entry) -> bool {
    let said = CursorRecord {
        what,
        next,
        stream: &entry.stream,
        cursor: &entry.name,
    };
    let mut body = [0; BODY_BYTES_MAX];
    let len = said.encode(&mut body);
    let mut bytes = [0; 1024];
    let Ok(total) = record::encode(&mut bytes, &Stamp::DATA, &body[..len]) else {
        return false;
    };
    match RawRecord::peek(&bytes[..total], u32::MAX) {
        Ok(Some(record)) => log.append(&record, subject, now.wall_ns).is_ok(),
        _ => false,
    }
}

const SUBJECT: &str = "cursors";
