//! Durable cursors go where their streams go when the number of workers changes.

mod support;

use std::fs;

use support::Server;

/// With two workers, some of these streams are on each.
const STREAMS: usize = 6;

fn config(workers: usize) -> String {
    let mut config = format!("workers: {workers}\nlimits: {{max_record: 64KiB}}\nstreams:\n");
    for stream in 0..STREAMS {
        config.push_str(&format!(
            "- {{name: s{stream}, subjects: ['t{stream}.>'], segment: 1MiB, tail: 1MiB}}\n"
        ));
    }
    config
}

fn publish(server: &Server) {
    for stream in 0..STREAMS {
        let lines: String = (1..=10).map(|line| format!("{line}\n")).collect();
        let published = server.feed(
            &["pub", &format!("t{stream}.x"), "--lines"],
            lines.as_bytes(),
        );
        assert_eq!(published.code, 0, "{}", published.err);
    }
}

/// Takes `count` records of each stream with its cursor; they must be the ones from `next` on.
fn take(server: &Server, next: u64, count: u64) {
    for stream in 0..STREAMS {
        let (pattern, name) = (format!("t{stream}.>"), format!("reader {stream}"));
        let count = count.to_string();
        let taken = server.run(&[
            "sub",
            &pattern,
            "--cursor",
            &name,
            "--count",
            &count,
            "--json",
            "--timeout",
            "20s",
        ]);
        assert_eq!(
            taken.code,
            0,
            "stream {stream}: {}\n{}\n{}",
            taken.err,
            server.stream(&format!("s{stream}")),
            server.log()
        );
        let sequences: Vec<u64> = taken
            .out
            .lines()
            .map(|line| {
                let record: serde_json::Value = serde_json::from_str(line).unwrap();
                record["sequence"].as_u64().unwrap()
            })
            .collect();
        let expected: Vec<u64> = (next..).take(sequences.len()).collect();
        assert_eq!(sequences, expected, "stream {stream}");
    }
}

fn folders(server: &Server) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(server.data().join("cursors"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn restart_with(server: &mut Server, workers: usize) {
    assert_eq!(server.end("TERM"), 0);
    server.reconfigure(&config(workers));
    server.restart();
}

#[test]
fn cursors_go_on_where_they_were_from_one_worker_to_two_and_back() {
    let mut server = Server::with(&config(1));
    publish(&server);
    take(&server, 1, 3);
    restart_with(&mut server, 2);
    assert_eq!(folders(&server), ["0", "1"]);
    let workers: Vec<u64> = (0..STREAMS)
        .map(|stream| {
            server.stream(&format!("s{stream}"))["worker"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert!(workers.contains(&0) && workers.contains(&1), "{workers:?}");
    take(&server, 4, 4);
    restart_with(&mut server, 1);
    assert_eq!(folders(&server), ["0"]);
    take(&server, 8, 2);
    // A cursor that stood where it was left in an older place would begin again there.
    restart_with(&mut server, 2);
    take(&server, 10, 1);
}

#[test]
fn a_move_of_cursors_that_was_interrupted_is_taken_back_or_ended() {
    let mut server = Server::with(&config(1));
    publish(&server);
    take(&server, 1, 3);
    assert_eq!(server.end("TERM"), 0);
    // Interrupted while the new folder was written.
    let [folder, fresh, old] =
        ["cursors", "cursors.new", "cursors.old"].map(|name| server.data().join(name));
    fs::create_dir_all(fresh.join("0")).unwrap();
    fs::write(fresh.join("0/half"), b"of it").unwrap();
    server.reconfigure(&config(2));
    server.restart();
    assert!(!fresh.exists() && !old.exists());
    take(&server, 4, 3);
    assert_eq!(server.end("TERM"), 0);
    // Interrupted between the two renames: the new folder is whole, the old one is in nobody's way.
    fs::rename(&folder, &fresh).unwrap();
    fs::create_dir_all(old.join("0")).unwrap();
    server.restart();
    assert!(folder.exists() && !fresh.exists() && !old.exists());
    take(&server, 7, 2);
    // Interrupted before the old folder was removed.
    assert_eq!(server.end("TERM"), 0);
    fs::create_dir_all(old.join("0")).unwrap();
    server.restart();
    assert!(!old.exists());
    take(&server, 9, 2);
}

#[test]
fn cursors_whose_files_have_gone_are_told_of_once() {
    const LOST: &str = "durable cursors are lost";
    let mut server = Server::with(&config(2));
    publish(&server);
    take(&server, 1, 3);
    assert_eq!(server.end("TERM"), 0);
    // Neither a start like any other nor another number of workers is a loss.
    server.restart();
    assert!(!server.log().contains(LOST), "{}", server.log());
    restart_with(&mut server, 1);
    assert!(!server.log().contains(LOST), "{}", server.log());
    restart_with(&mut server, 2);
    assert!(!server.log().contains(LOST), "{}", server.log());
    for gone in ["cursors/1", "cursors"] {
        assert_eq!(server.end("TERM"), 0);
        let gone = server.data().join(gone);
        fs::remove_dir_all(&gone).unwrap();
        server.restart();
        let told = server.log();
        assert!(
            told.contains(LOST) && told.contains(gone.to_str().unwrap()),
            "{told}"
        );
    }
    take(&server, 1, 1);
    assert_eq!(server.end("TERM"), 0);
    server.restart();
    assert!(!server.log().contains(LOST), "{}", server.log());
}
