//! `stream add`: its flags, and what is wrong with them in the words of the command line.

mod support;

use support::Server;

const MAIN: &str = "streams:\n- {name: main, subjects: ['a.>'], segment: 4MiB, tail: 4MiB}\n";

#[test]
fn what_is_to_be_kept_and_seen_is_what_was_asked_for() {
    let server = Server::with(MAIN);
    let added = server.run(&[
        "stream",
        "add",
        "b",
        "--subjects",
        "b.>",
        "c",
        "--segment",
        "4MiB",
        "--tail",
        "4MiB",
        "--keep-age",
        "7d",
        "--keep-records",
        "1000",
        "--visible",
        "received",
    ]);
    assert_eq!(added.code, 0, "{}", added.err);
    let info = server.stream("b");
    assert_eq!(info["retention"], "1GiB, 7d, 1000 records");
    assert_eq!(info["visible"], "received");
    assert_eq!(info["subjects"], serde_json::json!(["b.>", "c"]));
    // And of another one nothing was said.
    let info = server.stream("main");
    assert_eq!(info["retention"], "1GiB");
    assert_eq!(info["visible"], "ack");
}

#[test]
fn what_is_wrong_is_said_in_flags() {
    let server = Server::with(MAIN);
    for (flags, said) in [
        (
            &["a b", "--subjects", "b"][..],
            "`a b` cannot name a stream: use 1 to 64 letters, digits, `-` and `_`",
        ),
        (
            &[
                "b",
                "--subjects",
                "b",
                "--storage",
                "memory",
                "--keep-bytes",
                "1GiB",
            ],
            "--keep-bytes belongs to --storage file; this stream lives in memory, and --tail is its size",
        ),
        (
            &[
                "b",
                "--subjects",
                "b",
                "--storage",
                "memory",
                "--segment",
                "64MiB",
                "--ack",
                "synced",
            ],
            "--segment belongs to --storage file; this stream lives in memory, and --tail is its size; \
             `synced` is not possible in memory, where nothing survives the server; use `received`, or --storage file",
        ),
        (&["b", "--subjects", "b..c"], "`b..c` is not a pattern: "),
    ] {
        let refused = server.run(&[&["stream", "add"], flags].concat());
        assert_eq!((refused.code, &*refused.out), (5, ""), "{flags:?}");
        let err = refused.err;
        assert!(
            err.starts_with(&format!("error: refused: {said}")),
            "{flags:?}: {err}"
        );
        assert!(err.ends_with(" (error 5)\n"), "{flags:?}: {err}");
        assert_eq!(err.lines().count(), 1, "{flags:?}: {err}");
    }
}
