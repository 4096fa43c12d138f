//! A stream with `storage: memory`: it is served like any other, and nothing says of it that it survives the server.

mod support;

use serde_json::Value;

use support::Server;

/// A stream in memory beside one with files.
const STREAMS: &str = "limits: {max_record: 64KiB}\nstreams:\n\
    - {name: quotes, subjects: ['quotes.>'], storage: memory, tail: 1MiB}\n\
    - {name: orders, subjects: ['orders.>'], segment: 1MiB, tail: 1MiB}\n";

#[test]
fn a_stream_in_memory_is_served_until_the_server_ends_and_begins_anew_then() {
    let mut server = Server::with(STREAMS);
    let published = server.feed(&["pub", "quotes.a", "--lines"], b"one\ntwo\nthree\n");
    assert_eq!(published.code, 0, "{}", published.err);
    assert!(
        published.out.starts_with("3 records received"),
        "{}",
        published.out
    );
    assert_eq!(server.everything("quotes.>", 3).out, "one\ntwo\nthree\n");
    let info = server.stream("quotes");
    assert_eq!(info["storage"].as_str(), Some("memory"), "{info}");
    assert_eq!(info["records"].as_u64(), Some(3), "{info}");
    assert!(
        !server.data().join("streams/quotes").exists(),
        "it has no files"
    );
    assert_eq!(server.end("TERM"), 0, "{}", server.log());
    server.restart();
    assert_eq!(server.stream("quotes")["records"].as_u64(), Some(0));
    let published = server.run(&["pub", "quotes.a", "four"]);
    assert_eq!(published.code, 0, "{}", published.err);
    assert_eq!(server.everything("quotes.>", 1).out, "four\n");
}

#[test]
fn a_stream_in_memory_gives_up_its_oldest_records_for_new_ones() {
    let server = Server::with(STREAMS);
    let lines: String = (1..=400).map(|n| format!("{n:<8000}\n")).collect();
    let published = server.feed(&["pub", "quotes.a", "--lines"], lines.as_bytes());
    assert_eq!(published.code, 0, "{}", published.err);
    let info = server.stream("quotes");
    let (first, last) = (
        info["first_sequence"].as_u64(),
        info["last_sequence"].as_u64(),
    );
    assert_eq!(last, Some(400), "{info}");
    let first = first.unwrap();
    assert!(
        (250..400).contains(&first),
        "1 MiB holds some 130 of them: {info}"
    );
    let kept = server.everything("quotes.>", 401 - first as usize).out;
    let begin = kept.split(' ').next().unwrap();
    assert_eq!(begin, first.to_string());
}

#[test]
fn a_level_that_memory_cannot_give_is_refused_with_what_it_can() {
    let server = Server::with(STREAMS);
    for level in ["stored", "synced"] {
        let refused = server.run(&["pub", "quotes.a", "x", "--ack", level]);
        assert_ne!(refused.code, 0, "{}", refused.out);
        assert_eq!(refused.out, "");
        for word in ["stream quotes", "`received`", level, "(error 19)"] {
            assert!(refused.err.contains(word), "{word}: {}", refused.err);
        }
        let given = server.run(&["pub", "orders.a", "x", "--ack", level]);
        assert!(given.out.contains(level), "{} {}", given.out, given.err);
    }
    assert_eq!(server.stream("quotes")["records"].as_u64(), Some(0));
    let given = server.run(&["pub", "quotes.a", "x", "--ack", "received"]);
    assert!(given.out.contains("1 record received"), "{}", given.err);
}

#[test]
fn nothing_in_memory_is_said_to_be_stored_or_synced() {
    let server = Server::with(STREAMS);
    for subject in ["quotes.a", "orders.a"] {
        assert_eq!(server.run(&["pub", subject, "x"]).code, 0);
    }
    let quotes = server.stream("quotes");
    for position in ["stored_sequence", "synced_sequence"] {
        assert_eq!(quotes.get(position), Some(&Value::Null), "{quotes}");
    }
    assert_eq!(server.stream("orders")["stored_sequence"].as_u64(), Some(1));
    let text = server.run(&["stream", "info", "quotes"]).out;
    for row in ["stored up to", "synced up to"] {
        let line = text.lines().find(|line| line.starts_with(row)).unwrap();
        assert_eq!(line.split_whitespace().last(), Some("-"), "{text}");
    }
}
