//! The same on a real file system.

use std::time::Instant;

use trunkline_log::{
    AppendError, Disk, DiskError, Durability, Files, Log, LogConfig, LogId, Now, Request, Run,
    Token,
};
use trunkline_wire::record::RawRecord;

use crate::dir_files::DirFiles;
use crate::world::published;

/// Executes everything at once and remembers the answers.
struct Inline<'a> {
    files: &'a mut DirFiles,
    answers: Vec<(Token, Result<u32, DiskError>)>,
    writes: Vec<(Token, Request)>,
}

impl Disk for Inline<'_> {
    fn submit(&mut self, _: LogId, token: Token, request: Request) {
        let answer = match request {
            // Needs the log's bytes: done when the log is free.
            Request::Write { .. } => return self.writes.push((token, request)),
            Request::Read { .. } => return,
            Request::Sync { segment } => self.files.sync(segment),
            Request::Prepare { segment, bytes } => self.files.create(segment, bytes),
            Request::Remove { segment } => self.files.remove(segment),
        };
        self.answers.push((
            token,
            answer.map(|()| 0).map_err(|error| DiskError::from(&error)),
        ));
    }
}

fn settle(log: &mut Log, files: &mut DirFiles, now: Now) {
    let mut disk = Inline {
        files,
        answers: Vec::new(),
        writes: Vec::new(),
    };
    log.flush(now, &mut disk);
    loop {
        for (token, request) in std::mem::take(&mut disk.writes) {
            let Request::Write {
                segment,
                offset,
                position,
                len,
                sync,
            } = request
            else {
                continue;
            };
            let written = disk
                .files
                .write_at(segment, offset, log.bytes(position, len));
            let done = written.and_then(|()| {
                if sync {
                    disk.files.sync(segment)
                } else {
                    Ok(())
                }
            });
            disk.answers.push((
                token,
                done.map(|()| len).map_err(|error| DiskError::from(&error)),
            ));
        }
        if disk.answers.is_empty() {
            return;
        }
        for (token, answer) in std::mem::take(&mut disk.answers) {
            log.on_completion(token, answer, now, &mut disk);
        }
    }
}

fn fill(log: &mut Log, files: &mut DirFiles, records: usize, body: &[u8]) {
    let now = Now {
        mono_ns: 1,
        wall_ns: 1_700_000_000_000_000_000,
    };
    let id = log.define("real").expect("room");
    let bytes = published(body);
    let raw = RawRecord::peek(&bytes, u32::MAX)
        .expect("framed")
        .expect("whole");
    let mut left = records;
    while left > 0 {
        match log.append(&raw, id, now.wall_ns) {
            Ok(_) => left -= 1,
            Err(AppendError::Full) => settle(log, files, now),
            Err(error) => panic!("{error}"),
        }
    }
    log.want_synced(log.received().sequence - 1);
    settle(log, files, now);
    assert_eq!(log.synced().sequence, log.received().sequence);
}

#[test]
fn records_survive_in_a_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    for durability in [Durability::Stored, Durability::Synced] {
        let path = dir.path().join(format!("{durability:?}"));
        let config = LogConfig {
            durability,
            segment_bytes: 1 << 20,
            record_bytes_max: 1 << 17,
            ..LogConfig::default()
        };
        for life in 0..3_u64 {
            let mut files = DirFiles::open(&path).expect("the directory");
            let (mut log, recovery) = Log::open(LogId(1), &config, &mut files).expect("it opens");
            assert_eq!((recovery.created, recovery.last), (life == 0, life * 2000));
            fill(&mut log, &mut files, 2000, &[life as u8; 1000]);
        }
    }
}

#[test]
fn a_second_owner_is_kept_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = DirFiles::open(dir.path()).expect("the directory");
    let error = DirFiles::open(dir.path()).expect_err("it is taken");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    drop(first);
    DirFiles::open(dir.path()).expect("it is free");
}

#[test]
fn files_in_preparation_are_removed_and_others_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut files = DirFiles::open(dir.path()).expect("the directory");
    std::fs::write(dir.path().join("0000000000000003.seg.new"), "half").expect("room");
    std::fs::write(dir.path().join("notes.txt"), "mine").expect("room");
    assert_eq!(files.list().expect("listed"), []);
    assert!(!dir.path().join("0000000000000003.seg.new").exists());
    assert!(dir.path().join("notes.txt").exists());
}

/// Sealed segments are not scanned: opening does not take longer the more there is.
#[test]
fn opening_reads_the_newest_segment_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = LogConfig {
        segment_bytes: 4 << 20,
        ..LogConfig::default()
    };
    let mut files = DirFiles::open(dir.path()).expect("the directory");
    let (mut log, _) = Log::open(LogId(1), &config, &mut files).expect("it opens");
    fill(&mut log, &mut files, 30_000, &[7; 1000]);
    // A mark that says so is made in front of the next record.
    fill(&mut log, &mut files, 1, &[7; 1000]);
    let count = log.segment_count();
    assert!(count >= 8);
    drop(log);
    let started = Instant::now();
    let (mut log, recovery) = Log::open(LogId(1), &config, &mut files).expect("it opens");
    eprintln!(
        "{count} segments of 4 MiB opened in {:?}, {} bytes scanned",
        started.elapsed(),
        recovery.scanned_bytes
    );
    assert!(recovery.scanned_bytes <= 2 * (4 << 20));
    assert_eq!((recovery.first, recovery.last), (1, 30_001));
    let cursor = log.seek_first();
    let mut disk = Inline {
        files: &mut files,
        answers: Vec::new(),
        writes: Vec::new(),
    };
    assert!(matches!(
        log.read(&cursor, log.stored(), 1 << 16, &mut disk),
        Run::Cold { .. }
    ));
}
