//! A disk that refuses: calls of the running server fail, as strace has them fail or as limits do. What was acknowledged is there afterwards, whoever is
//! concerned is told why, and others notice nothing.

mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Resource;
use support::Server;
use support::machine::{
    Ext4, around, back_ends, can_trace, descriptors, has_direct_writes, injected, limit, traced,
    turn_read_only,
};
use support::raw::{ACK, DELIVER, ERROR, EXPECTS_RESPONSE, PUBLISH, Raw, Refused, SUBSCRIBE, data};
use support::raw::{definition, frame, payloads, subscribe};

/// Two streams on the same worker and disk.
const TWO: &str = "workers: 1\nlimits: {max_record: 64KiB}\nstreams:\n\
- {name: main, subjects: ['a.>'], segment: 1MiB, tail: 1MiB, ack: LEVEL}\n\
- {name: other, subjects: ['b.>'], segment: 1MiB, tail: 1MiB, ack: synced}\n";
const REFUSED: i32 = 5;
const REFUSED_BY_MACHINE: i32 = 6;
const READ_ONLY: u16 = 14;
const NO_SPACE: u16 = 13;

fn two(level: &str) -> String {
    TWO.replace("LEVEL", level)
}

/// The same, synced, and past the page cache.
fn direct() -> String {
    format!("synced_writes: direct\n{}", two("synced"))
}

/// A server whose calls on the first segment of `main` fail as `injection` says.
fn failing(config: &str, injection: &str) -> Option<Server> {
    injected("/".as_ref(), injection, &Command::new("true"))?;
    Some(Server::inside(config, |directory, mut serve| {
        serve.args(["--io", "epoll"]);
        let segment = directory.join("data/streams/main/0000000000000000.seg");
        injected(&segment, injection, &serve).expect("it worked before")
    }))
}

/// A publisher of small records, one at a time.
struct Publisher {
    raw: Raw,
    frame: u16,
    accepted: Vec<String>,
}

impl Publisher {
    fn new(server: &Server, subject: &str) -> Self {
        let mut raw = Raw::greeted(&server.address);
        raw.publish(1, &definition(1, subject));
        Self {
            raw,
            frame: 1,
            accepted: Vec::new(),
        }
    }

    /// The refusal, if it is one.
    fn publish(&mut self, len: usize) -> Option<Refused> {
        self.frame += 1;
        let payload = format!("{:05} {}", self.frame, "x".repeat(len));
        let records = data(1, u64::from(self.frame), payload.as_bytes());
        self.raw
            .send(&frame(PUBLISH, EXPECTS_RESPONSE, self.frame, &records));
        let answer = self.raw.answer().expect("the connection stays");
        assert_eq!(answer.sequence, self.frame);
        if answer.opcode == ERROR {
            return Some(Refused::read(&answer));
        }
        assert_eq!(answer.opcode, ACK);
        self.accepted.push(payload);
        None
    }

    /// Until something is refused.
    fn until_refused(&mut self, len: usize) -> Refused {
        for _ in 0..5000 {
            if let Some(refusal) = self.publish(len) {
                return refusal;
            }
        }
        panic!("nothing was refused: {} records", self.accepted.len());
    }

    fn lines(&self) -> String {
        self.accepted
            .iter()
            .map(|line| format!("{line}\n"))
            .collect()
    }
}

/// A disk fails soon: what everybody sees of its stream, and what is there when the server was started again.
fn ends_read_only(mut server: Server, words: &str, len: usize) {
    let mut publisher = Publisher::new(&server, "a.x");
    let mut witness = Publisher::new(&server, "b.x");
    is_refused(&server, &mut publisher, &mut witness, words, len);
    ends_as_failed(&mut server, words);
    server.restart();
    is_all_there(server, &publisher, &witness);
}

/// A stream whose disk fails now or soon.
fn is_refused(
    server: &Server,
    publisher: &mut Publisher,
    witness: &mut Publisher,
    words: &str,
    len: usize,
) {
    witness.publish(10);
    let refusal = publisher.until_refused(len);
    assert_eq!(
        (refusal.code, refusal.closing),
        (READ_ONLY, false),
        "{refusal:?}"
    );
    assert!(refusal.message.contains(words), "{refusal:?}");
    // It stays so, for everybody.
    let again = publisher.publish(10).expect("a refusal");
    assert_eq!((again.code, again.count), (READ_ONLY, 1), "{again:?}");
    let told = server.feed(&["pub", "a.y"], b"x");
    assert_eq!(told.code, REFUSED, "{}", told.err);
    assert!(
        told.err.contains("read-only") && told.err.contains(words),
        "{}",
        told.err
    );
    let info = server.stream("main");
    assert_eq!(info["state"], "read_only", "{info}");
    assert!(info["reason"].as_str().unwrap().contains(words), "{info}");
    let text = server.run(&["stream", "info", "main"]).out;
    assert!(
        text.contains("read-only: a write or a sync failed"),
        "{text}"
    );
    let log = server.log();
    assert!(
        log.contains("the stream is read-only") && log.contains(words),
        "{log}"
    );
    // Others notice nothing.
    assert_eq!(server.stream("other")["state"], "ok");
    for _ in 0..20 {
        assert!(witness.publish(100).is_none());
    }
    assert_eq!(server.everything("b.>", 21).out, witness.lines());
}

/// The process ends as what it is: one that could not keep everything.
fn ends_as_failed(server: &mut Server, words: &str) {
    assert_eq!(server.end("TERM"), REFUSED_BY_MACHINE, "{}", server.log());
    let log = server.log();
    assert!(
        log.contains("stream main became read-only") && log.contains(words),
        "{log}"
    );
}

/// A server that was started again when the disk was in order.
fn is_all_there(mut server: Server, publisher: &Publisher, witness: &Publisher) {
    assert_eq!(server.stream("main")["state"], "ok");
    let count = publisher.accepted.len();
    let came = server.everything("a.>", count).out;
    assert!(came == publisher.lines(), "{count} were acknowledged");
    assert_eq!(server.everything("b.>", 21).out, witness.lines());
    let mut publisher = Publisher::new(&server, "a.x");
    assert!(publisher.publish(10).is_none());
    assert_eq!(server.end("TERM"), 0);
}

#[test]
fn a_sync_that_fails_makes_its_stream_read_only_and_loses_nothing_acknowledged() {
    let Some(server) = failing(&two("synced"), "fdatasync:error=EIO:when=7+") else {
        return;
    };
    ends_read_only(server, "input/output error (errno 5)", 100);
}

#[test]
fn a_write_that_fails_makes_its_stream_read_only_and_loses_nothing_acknowledged() {
    for (error, words) in [
        ("EIO", "input/output error (errno 5)"),
        ("EROFS", "file system is read-only (errno 30)"),
        ("ENOSPC", "no space on the device (errno 28)"),
    ] {
        let Some(server) = failing(&two("stored"), &format!("pwrite64:error={error}:when=20+"))
        else {
            return;
        };
        ends_read_only(server, words, 100);
    }
}

/// A synced write is one operation: when its sync is interrupted, its bytes are written again, too.
#[test]
fn writes_and_synced_writes_that_are_interrupted_are_made_again() {
    for call in ["pwrite64", "fdatasync"] {
        let Some(mut server) = failing(&two("synced"), &format!("{call}:error=EINTR:when=3+2"))
        else {
            return;
        };
        let mut publisher = Publisher::new(&server, "a.x");
        for _ in 0..200 {
            assert!(publisher.publish(300).is_none(), "{}", server.log());
        }
        assert_eq!(server.stream("main")["state"], "ok");
        assert_eq!(server.everything("a.>", 200).out, publisher.lines());
        assert_eq!(server.end("TERM"), 0, "{}", server.log());
        server.restart();
        assert_eq!(server.everything("a.>", 200).out, publisher.lines());
    }
}

/// The system takes the first bytes of a write, and refuses the rest: what a process may write to one file ends there.
#[test]
fn a_write_that_is_cut_short_and_then_refused_is_never_taken_for_a_whole_one() {
    for &io in back_ends() {
        let mut ignoring = Command::new("sh");
        ignoring.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
        let server = Server::inside(&two("stored"), |_, mut serve| {
            serve.args(["--io", io]);
            around(ignoring, &serve)
        });
        limit(server.pid(), Resource::Fsize, 300_001, None);
        ends_read_only(server, "File too large", 1000);
    }
}

/// Past the page cache a commit is one call, and its failure is that of a write and of a sync.
#[test]
fn a_commit_past_the_page_cache_that_fails_makes_its_stream_read_only_and_loses_nothing_acknowledged()
 {
    if !has_direct_writes(tempfile::tempdir().unwrap().path()) {
        return;
    }
    for (error, words) in [
        ("EIO", "input/output error (errno 5)"),
        ("ENOSPC", "no space on the device (errno 28)"),
    ] {
        let Some(server) = failing(&direct(), &format!("pwritev2:error={error}:when=7+")) else {
            return;
        };
        ends_read_only(server, words, 100);
    }
}

/// What a process may write to one file ends within a commit: the system takes its first pages, and refuses the others.
#[test]
fn a_commit_past_the_page_cache_that_is_cut_short_is_never_taken_for_a_whole_one() {
    if !has_direct_writes(tempfile::tempdir().unwrap().path()) || !can_trace() {
        return;
    }
    let trace = tempfile::NamedTempFile::new().unwrap();
    let mut ignoring = Command::new("sh");
    ignoring.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
    let server = Server::inside(&direct(), |_, mut serve| {
        serve.args(["--io", "epoll"]);
        around(ignoring, &traced(&serve, "pwritev2", trace.path()))
    });
    // Commits are of five pages, so most ends of pages are within one.
    limit(server.pid(), Resource::Fsize, 307_200, None);
    ends_read_only(server, "fewer bytes written than asked", 17_000);
    let trace = std::fs::read_to_string(trace.path()).unwrap();
    // The commit at 290816: four pages of five were written before the limit.
    let short = ["RWF_DSYNC) = 16384", "pwritev2 resumed>) = 16384"];
    let is_short = |line: &str| short.iter().any(|end| line.ends_with(end));
    assert!(trace.lines().any(is_short), "{trace}");
}

/// A real ext4 turns read-only under the stream that lies on it, as one does that finds an error in itself.
#[test]
fn a_file_system_that_turns_read_only_refuses_its_own_stream_and_loses_nothing_acknowledged() {
    for &io in back_ends() {
        let mut server = Server::with(&two("synced"));
        let main = server.data().join("streams/main");
        assert_eq!(server.end("TERM"), 0, "{}", server.log());
        let Some(ext4) = Ext4::new(64, Some(&main)) else {
            return;
        };
        let on_ext4 = |_: &Path, mut serve: Command| {
            serve.args(["--io", io]);
            ext4.mounted(&main, &serve)
        };
        server.restart_inside(on_ext4);
        let mut publisher = Publisher::new(&server, "a.x");
        let mut witness = Publisher::new(&server, "b.x");
        // More than the tail holds: reads come from the files.
        for _ in 0..300 {
            assert!(publisher.publish(10_000).is_none(), "{}", server.log());
        }
        turn_read_only(server.pid(), &main);
        let words = "file system is read-only (errno 30)";
        is_refused(&server, &mut publisher, &mut witness, words, 10);
        assert_eq!(publisher.accepted.len(), 300, "{io}");
        assert!(server.everything("a.>", 300).out == publisher.lines());
        ends_as_failed(&mut server, words);
        server.restart_inside(on_ext4);
        is_all_there(server, &publisher, &witness);
    }
}

/// Connections that take all descriptors that a server may have.
fn crowd(server: &Server) -> Vec<Raw> {
    let spare = 4;
    let most = descriptors(server.pid()) + spare;
    limit(
        server.pid(),
        Resource::Nofile,
        most as u64,
        Some(most as u64),
    );
    let crowd = (0..spare + 4)
        .map(|_| Raw::connect(&server.address))
        .collect();
    let end = Instant::now() + Duration::from_secs(20);
    while descriptors(server.pid()) < most {
        assert!(Instant::now() < end, "{}", server.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    crowd
}

#[test]
fn without_descriptors_nothing_is_lost_and_everything_goes_on_when_there_are_some() {
    let config = "limits: {max_record: 64KiB}\nstreams:\n- {name: main, subjects: ['>'], segment: 256KiB, tail: 256KiB}\n";
    let mut server = Server::with(config);
    let mut publisher = Publisher::new(&server, "a");
    assert!(publisher.publish(10).is_none());
    let crowd = crowd(&server);
    // Whoever is connected goes on, until a segment is needed that cannot be opened.
    let refusal = publisher.until_refused(1000);
    assert_eq!(
        (refusal.code, refusal.closing),
        (NO_SPACE, false),
        "{refusal:?}"
    );
    assert!(refusal.message.contains("open files"), "{refusal:?}");
    assert!(
        publisher.accepted.len() > 200,
        "{}",
        publisher.accepted.len()
    );
    drop(crowd);
    let end = Instant::now() + Duration::from_secs(20);
    while let Some(refusal) = publisher.publish(1000) {
        assert_eq!(refusal.code, NO_SPACE, "{refusal:?}");
        assert!(
            Instant::now() < end,
            "there are descriptors, and still: {refusal:?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    for _ in 0..300 {
        assert!(publisher.publish(1000).is_none());
    }
    assert_eq!(server.stream("main")["state"], "ok");
    assert!(server.everything("a", publisher.accepted.len()).out == publisher.lines());
    assert_eq!(server.end("TERM"), 0, "{}", server.log());
    server.restart();
    assert!(server.everything("a", publisher.accepted.len()).out == publisher.lines());
}

#[test]
fn a_read_without_descriptors_waits_and_keeps_no_core_busy() {
    for &io in back_ends() {
        let config = "workers: 1\nlimits: {max_record: 64KiB}\nstreams:\n- {name: main, subjects: ['>'], segment: 256KiB, tail: 256KiB}\n";
        let mut server = Server::with_flags(config, &["--io", io, "--idle", "park"]);
        let mut publisher = Publisher::new(&server, "a");
        for _ in 0..500 {
            assert!(publisher.publish(1000).is_none());
        }
        assert_eq!(server.end("TERM"), 0, "{}", server.log());
        // No segment has been opened for reading yet.
        server.restart();
        let mut reader = Raw::greeted(&server.address);
        let crowd = crowd(&server);
        reader.send(&frame(
            SUBSCRIBE,
            0,
            1,
            &subscribe(1, FROM_FIRST, 4, 1 << 30, "a"),
        ));
        let end = Instant::now() + Duration::from_secs(20);
        while !server.log().contains("to open a segment") {
            assert!(Instant::now() < end, "{io}: {}", server.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        let before = cpu_ticks(server.pid());
        std::thread::sleep(Duration::from_secs(2));
        let busy = cpu_ticks(server.pid()) - before;
        assert!(busy < 40, "{io}: {busy} of 200 ticks");
        let log = server.log();
        assert_eq!(log.matches("to open a segment").count(), 1, "{io}: {log}");
        // Of a connection, io_uring may find it out later.
        let accepts = log.matches("cannot be accepted").count();
        assert!(
            accepts == 1 || io == "io_uring" && accepts == 0,
            "{io}: {log}"
        );
        drop(crowd);
        let mut came = String::new();
        while came.len() < publisher.lines().len() {
            let next = reader.frame().expect("the connection stays");
            if next.opcode == DELIVER {
                for payload in payloads(&next.body) {
                    came.push_str(std::str::from_utf8(payload).unwrap());
                    came.push('\n');
                }
            }
        }
        assert!(came == publisher.lines(), "{io}");
        assert_eq!(server.end("TERM"), 0, "{}", server.log());
    }
}

/// Processor time of a process, in hundredths of a second.
fn cpu_ticks(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields = fields.split(' ').skip(11).take(2);
    fields.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

const FROM_FIRST: u8 = 1;
