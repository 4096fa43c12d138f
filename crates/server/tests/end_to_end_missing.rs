//! A stream whose files have all gone, or read as zeros: that is damage, and no new stream.

mod support;

use std::fs;

use support::machine::segments;
use support::{SMALL, Server};

const ADD: [&str; 5] = ["stream", "add", "logs", "--subjects", "logs.>"];

fn with_one_record() -> Server {
    let mut server = Server::with(SMALL);
    assert_eq!(server.run(&["pub", "a", "x"]).code, 0);
    assert_eq!(server.end("TERM"), 0, "{}", server.log());
    server
}

/// The server does not serve the stream, and says that its files are missing and what can be done.
fn refused(server: &mut Server, name: &str) {
    let reason = server.refusal_of(name);
    let note = server.data().join("created").join(name);
    for word in [
        &format!("stream {name} is damaged"),
        "are missing",
        "put them back",
        note.to_str().unwrap(),
    ] {
        assert!(reason.contains(word), "{word}: {reason}");
    }
}

#[test]
fn a_stream_without_any_of_its_segments_is_damaged_until_they_are_back() {
    let mut server = with_one_record();
    let aside = tempfile::tempdir().unwrap();
    let kept = segments(&server);
    for path in &kept {
        fs::copy(path, aside.path().join(path.file_name().unwrap())).unwrap();
        fs::remove_file(path).unwrap();
    }
    refused(&mut server, "main");
    // Refusing it has not made it look like a new one.
    refused(&mut server, "main");
    for path in &kept {
        fs::copy(aside.path().join(path.file_name().unwrap()), path).unwrap();
    }
    server.restart();
    assert_eq!(server.everything("a", 1).out, "x\n");
}

#[test]
fn a_stream_whose_only_segment_reads_as_zeros_is_damaged_and_no_new_one() {
    let mut server = with_one_record();
    let kept = segments(&server);
    let written = kept
        .iter()
        .find(|path| path.ends_with("0000000000000000.seg"));
    let (first, others) = (
        written.unwrap(),
        kept.iter().filter(|path| *path != written.unwrap()),
    );
    others.for_each(|path| fs::remove_file(path).unwrap());
    let was = fs::read(first).unwrap();
    fs::write(first, vec![0; was.len()]).unwrap();
    let data = server.data();
    let data = data.to_str().unwrap();
    let verified = server.run(&["log", "verify", "--data", data]);
    assert_eq!(verified.code, 1, "{}", verified.out);
    let said = format!("{}{}", verified.out, verified.err);
    assert!(said.contains("nothing but zeros"), "{said}");
    let planned = server.run(&["log", "repair", "--data", data, "--dry-run"]);
    let refused_too = planned.out.contains("main: cannot be served");
    assert!(refused_too, "{}", planned.out);
    refused(&mut server, "main");
    refused(&mut server, "main");
    assert!(fs::read(first).unwrap().iter().all(|byte| *byte == 0));
    fs::write(first, was).unwrap();
    server.restart();
    assert_eq!(server.everything("a", 1).out, "x\n");
}

#[test]
fn a_stream_without_its_directory_is_damaged_until_somebody_gives_it_up() {
    let mut server = with_one_record();
    fs::remove_dir_all(server.data().join("streams/main")).unwrap();
    refused(&mut server, "main");
    fs::remove_file(server.data().join("created/main")).unwrap();
    server.restart();
    assert_eq!(server.stream("main")["records"].as_u64(), Some(0));
    // It is a stream like any other again.
    assert_eq!(server.end("TERM"), 0, "{}", server.log());
    fs::remove_dir_all(server.data().join("streams/main")).unwrap();
    refused(&mut server, "main");
}

#[test]
fn a_stream_that_was_added_is_damaged_without_its_files_too_and_can_be_removed_and_added() {
    let mut server = Server::with(
        "limits: {max_record: 64KiB}\nstreams:\n- {name: main, subjects: [a], segment: 1MiB, tail: 1MiB}\n",
    );
    for _ in 0..2 {
        assert_eq!(server.run(&ADD).code, 0);
        let removed = server.run(&["stream", "rm", "logs", "--yes"]);
        assert_eq!(removed.code, 0, "{}", removed.err);
        assert!(!server.data().join("created/logs").exists());
    }
    assert_eq!(server.run(&ADD).code, 0);
    server.kill();
    fs::remove_dir_all(server.data().join("streams/logs")).unwrap();
    refused(&mut server, "logs");
}

#[test]
fn a_stream_without_its_note_is_served_and_has_it_again() {
    // As a crash within its creation leaves it, and versions that wrote none.
    let mut server = with_one_record();
    fs::remove_dir_all(server.data().join("created")).unwrap();
    server.restart();
    assert_eq!(server.everything("a", 1).out, "x\n");
    assert!(server.data().join("created/main").exists());
    // As a crash before it.
    assert_eq!(server.end("TERM"), 0, "{}", server.log());
    fs::remove_dir_all(server.data().join("created")).unwrap();
    fs::remove_dir_all(server.data().join("streams/main")).unwrap();
    server.restart();
    assert_eq!(server.stream("main")["records"].as_u64(), Some(0));
}
