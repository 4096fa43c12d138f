//! A data directory that an earlier version left is served as it is: `golden/data-v1.txt` is one of the first format.
//!
//! The file has a line for each file, with its path and length, followed by lines of an offset and some bytes; `xx*n` is n times one byte, and
//! zeros are left out. To write it anew, which only a new format is a reason for (under a new name, beside the old ones), run
//! the test with `TRUNKLINE_WRITE_GOLDEN=1`.

mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use support::Server;
use support::machine::contents;

const CONFIG: &str = "limits: {max_record: 16KiB}\nstreams:\n\
- {name: orders, subjects: ['orders.>'], segment: 256KiB, tail: 256KiB, ack: synced}\n\
- {name: kept, subjects: ['kept.>'], segment: 256KiB, tail: 256KiB, retention: {bytes: 1MiB}}\n";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/data-v1.txt")
}

fn line(number: usize) -> String {
    let letter = char::from(b'a' + (number % 26) as u8);
    format!("{number:05} {}\n", String::from(letter).repeat(12_000))
}

fn lines(numbers: std::ops::RangeInclusive<usize>) -> String {
    numbers.map(line).collect()
}

/// Has this version make such a directory.
fn make() -> Server {
    let mut server = Server::with(CONFIG);
    let publish = |subject: &str, lines: &str| {
        let published = server.feed(&["pub", subject, "--lines"], lines.as_bytes());
        assert_eq!(published.code, 0, "{}", published.err);
    };
    publish("orders.eu", &lines(1..=35));
    publish("orders.us", &lines(36..=60));
    publish("kept.x", &lines(1..=200));
    let added = server.run(&[
        "stream",
        "add",
        "audit",
        "--subjects",
        "audit.>",
        "--segment",
        "256KiB",
        "--tail",
        "256KiB",
    ]);
    assert_eq!(added.code, 0, "{}", added.err);
    assert_eq!(server.run(&["pub", "audit.login", "a user"]).code, 0);
    let read = server.run(&[
        "sub",
        "orders.>",
        "--from",
        "first",
        "--cursor",
        "billing",
        "--count",
        "40",
        "--raw",
        "--timeout",
        "20s",
    ]);
    assert_eq!((read.code, read.out), (0, lines(1..=40)), "{}", read.err);
    server.wait_for("kept", "retention", |info| {
        info["first_sequence"].as_u64() > Some(20)
    });
    assert_eq!(server.end("TERM"), 0, "{}", server.log());
    server
}

#[test]
fn a_directory_of_format_1_is_served_with_everything_that_is_in_it() {
    if std::env::var_os("TRUNKLINE_WRITE_GOLDEN").is_some() {
        let server = make();
        fs::create_dir_all(golden().parent().unwrap()).unwrap();
        fs::write(golden(), pack(&server.data())).unwrap();
    }
    let text = fs::read_to_string(golden()).expect("the golden file is there");
    let mut server = Server::inside(CONFIG, |directory, serve| {
        unpack(&text, &directory.join("data"));
        serve
    });
    served(&server);
    // And it goes on from there, over a restart too.
    let next = server.run(&["pub", "orders.eu", "now"]);
    assert_eq!(
        next.out, "1 record synced, 3B, last sequence 61\n",
        "{}",
        next.err
    );
    let cursor = server.run(&[
        "sub",
        "orders.>",
        "--cursor",
        "billing",
        "--count",
        "21",
        "--raw",
        "--timeout",
        "20s",
    ]);
    assert_eq!(
        (cursor.code, cursor.out),
        (0, lines(41..=60) + "now\n"),
        "{}",
        cursor.err
    );
    server.kill();
    server.restart();
    served(&server);
    assert_eq!(server.end("TERM"), 0);
    let verified = server.run_log(&["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
}

fn served(server: &Server) {
    let sub = |pattern: &str, count| server.everything(pattern, count).out;
    assert!(sub("orders.>", 60) == lines(1..=60));
    assert!(sub("orders.us", 25) == lines(36..=60));
    let first = server.stream("kept")["first_sequence"].as_u64().unwrap() as usize;
    assert!((20..200).contains(&first), "{first}");
    assert!(sub("kept.x", 201 - first) == lines(first..=200));
    let audit = server.run(&[
        "sub",
        "audit.>",
        "--from",
        "first",
        "--json",
        "--count",
        "1",
        "--timeout",
        "20s",
    ]);
    let audit = audit.json();
    assert_eq!(audit["payload"], "a user");
    assert_eq!(audit["subject"], "audit.login");
}

fn pack(directory: &Path) -> String {
    let mut text = String::new();
    for (path, bytes) in contents(directory) {
        let name = path.strip_prefix(directory).unwrap().to_str().unwrap();
        if name == "LOCK" {
            continue;
        }
        writeln!(text, "{name} {}", bytes.len()).unwrap();
        let mut offset = 0;
        while offset < bytes.len() {
            let same = bytes[offset..]
                .iter()
                .take_while(|byte| **byte == bytes[offset])
                .count();
            let count = if same >= 8 {
                if bytes[offset] != 0 {
                    writeln!(text, " {offset:x} {:02x}*{same}", bytes[offset]).unwrap();
                }
                same
            } else {
                let rest = &bytes[offset..bytes.len().min(offset + 40)];
                let runs = rest
                    .windows(8)
                    .position(|eight| eight.iter().all(|byte| *byte == eight[0]));
                let count = runs.unwrap_or(rest.len());
                write!(text, " {offset:x} ").unwrap();
                rest[..count]
                    .iter()
                    .for_each(|byte| write!(text, "{byte:02x}").unwrap());
                text.push('\n');
                count
            };
            offset += count;
        }
    }
    text
}

fn unpack(text: &str, directory: &Path) {
    let byte =
        |digits: &str, nth: usize| u8::from_str_radix(&digits[2 * nth..2 * nth + 2], 16).unwrap();
    let mut file: Option<(PathBuf, Vec<u8>)> = None;
    let write = |file: Option<(PathBuf, Vec<u8>)>| {
        if let Some((path, bytes)) = file {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    };
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            [name, length] => {
                let next = (directory.join(name), vec![0; length.parse().unwrap()]);
                write(file.replace(next));
            }
            ["", offset, digits] => {
                let (_, bytes) = file.as_mut().expect("a file comes first");
                let offset = usize::from_str_radix(offset, 16).unwrap();
                if let Some((one, count)) = digits.split_once('*') {
                    let count: usize = count.parse().unwrap();
                    bytes[offset..offset + count].fill(byte(one, 0));
                    continue;
                }
                for nth in 0..digits.len() / 2 {
                    bytes[offset + nth] = byte(digits, nth);
                }
            }
            _ => panic!("{line}"),
        }
    }
    write(file);
}
