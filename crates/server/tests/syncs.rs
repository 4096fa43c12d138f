//! What the server does to names and new files is durable before it goes on: its real system calls, held against two rules.
//!
//! 1. What was written to a file is synced before the file is renamed into its place.
//! 2. A name that is made, changed or removed is synced in the directory where it stands before the same thread changes anything elsewhere.
//!
//! That a sync which is missing would be noticed is tried with each one: it is left out of the trace.

mod support;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use support::Server;
use support::machine::{can_trace, traced};

const CONFIG: &str = "workers: 1\nlimits: {max_record: 64KiB}\nstreams:\n\
    - {name: main, subjects: ['main.>'], segment: 1MiB, tail: 512KiB, retention: {bytes: 4MiB}}\n";

#[test]
fn names_and_new_files_are_synced_and_no_sync_could_be_left_out() {
    if !can_trace() {
        return;
    }
    let trace = tempfile::NamedTempFile::new().unwrap();
    let mut server = Server::inside(CONFIG, |_, serve| {
        traced(&serve, &CALLS.join(","), trace.path())
    });
    let data = server.data();
    let added = server.run(&["stream", "add", "logs", "--subjects", "logs.>"]);
    assert_eq!(added.code, 0, "{}", added.err);
    // Enough for new segments, and for old ones to be removed.
    let lines = format!("{}\n", "x".repeat(8000)).repeat(1200);
    let published = server.feed(&["pub", "main.a", "--lines"], lines.as_bytes());
    assert_eq!(published.code, 0, "{}", published.err);
    server.wait_for("main", "a segment is removed", |info| {
        info["first_sequence"].as_u64() > Some(1)
    });
    let removed = server.run(&["stream", "rm", "logs", "--yes"]);
    assert_eq!(removed.code, 0, "{}", removed.err);
    server.end("TERM");

    let events = events(&fs::read_to_string(trace.path()).unwrap(), &data);
    let broken = broken_rules(&events);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    for name in [
        "",
        "FORMAT",
        "streams",
        "streams/main",
        "streams/main/0000000000000000.seg",
        "streams/main/0000000000000002.seg",
        "created/main",
        "added/logs.json",
        "added/logs.removed",
        "cursors/0",
    ] {
        let path = data.join(name);
        let path = path.to_str().unwrap().trim_end_matches('/');
        assert!(
            events
                .iter()
                .any(|event| event.change.names(Path::new(path))),
            "{path} has no name in the trace"
        );
    }

    let mut not_needed = BTreeSet::new();
    let mut needed = 0;
    for (at, event) in events.iter().enumerate() {
        let Change::Synced(path) = &event.change else {
            continue;
        };
        let without: Vec<Event> = [&events[..at], &events[at + 1..]].concat();
        if broken_rules(&without).is_empty() {
            not_needed.insert(path.strip_prefix(&data).unwrap_or(path).to_owned());
        } else {
            needed += 1;
        }
    }
    // Records are synced on their own account.
    not_needed.retain(|path| path.extension().is_none_or(|end| end != "seg"));
    let expected = NOT_NEEDED.map(|(path, _)| PathBuf::from(path));
    assert_eq!(not_needed, BTreeSet::from(expected));
    assert!(needed > 20, "{needed} syncs");
}

/// Where the rules could do without a sync, and why there is one.
const NOT_NEEDED: [(&str, &str); 7] = [
    ("", "two directories are made in it, one after the other"),
    ("created/logs.new", "nothing is in it"),
    ("created/main.new", "nothing is in it"),
    ("cursors/0", LISTED),
    (
        "cursors/0/0000000000000000.seg.new",
        "its last portion is its end",
    ),
    ("streams/logs", LISTED),
    ("streams/main", LISTED),
];
const LISTED: &str = "its names are about to be believed, whoever made them";

/// Those on names, and on what is in files. With `?`: not every machine has it.
const CALLS: [&str; 17] = [
    "openat",
    "write",
    "writev",
    "pwrite64",
    "?pwritev",
    "?pwritev2",
    "fallocate",
    "ftruncate",
    "fsync",
    "fdatasync",
    "?mkdir",
    "mkdirat",
    "?rename",
    "?renameat",
    "renameat2",
    "?unlink",
    "unlinkat",
];

#[derive(Clone, Debug)]
struct Event {
    thread: String,
    change: Change,
}

#[derive(Clone, Debug)]
enum Change {
    /// Bytes, or the size.
    Written(PathBuf),
    Synced(PathBuf),
    Made(PathBuf),
    Renamed(PathBuf, PathBuf),
    Removed(PathBuf),
}

impl Change {
    /// The name that it makes, changes or removes.
    fn name(&self) -> Option<&Path> {
        match self {
            Self::Written(_) | Self::Synced(_) => None,
            Self::Made(path) | Self::Renamed(_, path) | Self::Removed(path) => Some(path),
        }
    }

    fn names(&self, path: &Path) -> bool {
        self.name() == Some(path)
    }
}

/// What successful calls did below `data`, and to its own name, in the order in which they ended.
fn events(trace: &str, data: &Path) -> Vec<Event> {
    let mut begun: HashMap<&str, &str> = HashMap::new();
    let mut there: HashSet<PathBuf> = HashSet::new();
    let mut events = Vec::new();
    for line in trace.lines() {
        let (thread, call) = line.split_once(' ').expect("a thread and its call");
        let call = call.trim_start();
        if let Some(first) = call.strip_suffix("<unfinished ...>") {
            begun.insert(thread, first.trim_end());
            continue;
        }
        let call = match call.split_once(" resumed>") {
            Some((_, rest)) if call.starts_with("<...") => {
                format!("{}{rest}", begun.remove(thread).unwrap_or_default())
            }
            _ => call.to_owned(),
        };
        let Some(change) = change(&call, &mut there) else {
            continue;
        };
        let concerned: &Path = match &change {
            Change::Written(path) | Change::Synced(path) => path,
            other => other.name().unwrap(),
        };
        if concerned.starts_with(data) || Some(concerned) == data.parent() {
            let thread = thread.to_owned();
            events.push(Event { thread, change });
        }
    }
    events
}

fn change(call: &str, there: &mut HashSet<PathBuf>) -> Option<Change> {
    let (name, rest) = call.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    // Results stand in a column, also that of a call that is resumed.
    let arguments = arguments.trim_end().trim_end_matches(')');
    if result.starts_with('-') || result.starts_with('?') {
        return None;
    }
    let change = match name {
        "fsync" | "fdatasync" => Change::Synced(descriptor(arguments)?),
        "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" | "fallocate" | "ftruncate" => {
            Change::Written(descriptor(arguments)?)
        }
        _ => change_of_a_name(name, arguments, there)?,
    };
    match &change {
        Change::Made(path) => drop(there.insert(path.clone())),
        Change::Removed(path) => drop(there.remove(path)),
        Change::Renamed(from, to) => {
            there.remove(from);
            there.insert(to.clone());
        }
        Change::Written(_) | Change::Synced(_) => {}
    }
    Some(change)
}

fn change_of_a_name(name: &str, arguments: &str, there: &HashSet<PathBuf>) -> Option<Change> {
    let mut paths = paths(arguments);
    let first = paths.next()?;
    match name {
        "openat" if arguments.contains("O_CREAT") && !there.contains(&first) => {
            Some(Change::Made(first))
        }
        "mkdir" | "mkdirat" => Some(Change::Made(first)),
        "rename" | "renameat" | "renameat2" => Some(Change::Renamed(first, paths.next()?)),
        "unlink" | "unlinkat" => Some(Change::Removed(first)),
        _ => None,
    }
}

/// The file of the descriptor that the arguments begin with.
fn descriptor(arguments: &str) -> Option<PathBuf> {
    let (_, rest) = arguments.split_once('<')?;
    Some(rest.split_once('>')?.0.into())
}

/// The paths that are said as strings, each of which may be below the directory whose descriptor stands in front of it.
fn paths(arguments: &str) -> impl Iterator<Item = PathBuf> {
    let mut below = PathBuf::new();
    let mut found = Vec::new();
    for argument in arguments.split(", ") {
        if let Some(text) = argument.strip_prefix('"') {
            found.push(below.join(text.trim_end_matches('"')));
        } else if let Some(folder) = descriptor(argument) {
            below = folder;
        }
    }
    found.into_iter()
}

fn broken_rules(events: &[Event]) -> Vec<String> {
    let mut broken = Vec::new();
    for (at, event) in events.iter().enumerate() {
        if let Change::Renamed(from, to) = &event.change
            && !is_content_synced(&events[..at], from)
        {
            broken.push(format!(
                "{} becomes {} before it is synced",
                from.display(),
                to.display()
            ));
        }
        if let Some(name) = event.change.name()
            && !may_be_lost(name)
            && !is_name_synced(&events[at..], name)
        {
            broken.push(format!(
                "{:?} before its directory is synced, the thread goes on",
                event.change
            ));
        }
    }
    broken
}

fn is_content_synced(before: &[Event], file: &Path) -> bool {
    let last = before.iter().rev().find_map(|event| match &event.change {
        Change::Written(path) if path == file => Some(false),
        Change::Synced(path) if path == file => Some(true),
        _ => None,
    });
    last != Some(false)
}

/// Whether what the first event did to a name is synced before its thread changes a name in another directory, or writes to a file.
fn is_name_synced(events: &[Event], name: &Path) -> bool {
    let Some(folder) = name.parent() else {
        return true;
    };
    let thread = &events[0].thread;
    for event in events[1..].iter().filter(|event| event.thread == *thread) {
        match &event.change {
            Change::Synced(path) if path == folder => return true,
            // With its directory, the name is gone, too.
            Change::Removed(path) if path == folder => return true,
            Change::Synced(_) => {}
            Change::Written(_) => return false,
            other if other.name().and_then(Path::parent) != Some(folder) => return false,
            _ => {}
        }
    }
    false
}

/// Names that nothing counts on after a crash: files in preparation, and the lock, which holds by being open.
fn may_be_lost(name: &Path) -> bool {
    name.extension().is_some_and(|end| end == "new") || name.ends_with("LOCK")
}
