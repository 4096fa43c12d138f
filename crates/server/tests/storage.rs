//! The data directory: who may use it, what it refuses, and one stream's files.

use std::fs;

use trunkline::storage::{DataDir, Space, StorageError, View};
use trunkline_log::{Files, SegmentFile, segment_name};

#[test]
fn a_new_directory_gets_a_format_and_opens_again() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("a/b");
    drop(DataDir::open(&path).unwrap());
    let format = fs::read_to_string(path.join("FORMAT")).unwrap();
    assert_eq!(format, "trunkline data directory, format 1\n");
    assert_eq!(DataDir::open(&path).unwrap().path(), path);
}

#[test]
fn a_second_owner_is_refused_with_the_process_of_the_first() {
    let base = tempfile::tempdir().unwrap();
    let held = DataDir::open(base.path()).unwrap();
    let refusal = DataDir::open(base.path()).unwrap_err().to_string();
    let pid = std::process::id();
    assert!(
        refusal.contains(&format!("is in use by process {pid}; stop it, or give")),
        "{refusal}"
    );
    drop(held);
    DataDir::open(base.path()).unwrap();
}

#[test]
fn a_second_owner_is_refused_also_when_the_file_of_the_lock_is_removed() {
    let base = tempfile::tempdir().unwrap();
    let held = DataDir::open(base.path()).unwrap();
    let lock = base.path().join("LOCK");
    fs::remove_file(&lock).unwrap();
    let refusal = DataDir::open(base.path()).unwrap_err().to_string();
    assert!(
        refusal.contains("is in use by another process"),
        "{refusal}"
    );
    assert!(!lock.exists());
    assert!(matches!(
        DataDir::open_existing(base.path()),
        Err(StorageError::Held { .. })
    ));
    assert_eq!(View::open(base.path()).unwrap().holder(), Some(0));
    drop(held);
    assert_eq!(View::open(base.path()).unwrap().holder(), None);
    DataDir::open(base.path()).unwrap();
}

#[test]
fn the_file_of_the_lock_alone_keeps_a_second_owner_out_as_with_older_versions() {
    let base = tempfile::tempdir().unwrap();
    drop(DataDir::open(base.path()).unwrap());
    let lock = fs::File::open(base.path().join("LOCK")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let refusal = DataDir::open(base.path()).unwrap_err();
    assert!(matches!(refusal, StorageError::Held { .. }), "{refusal:?}");
    assert!(View::open(base.path()).unwrap().holder().is_some());
}

#[test]
fn a_lock_that_is_let_go_soon_is_waited_for() {
    let base = tempfile::tempdir().unwrap();
    let held = DataDir::open(base.path()).unwrap();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| DataDir::open(base.path()).map(drop));
        // However late this happens, an attempt comes after it or the lock was never contended.
        drop(held);
        second.join().unwrap().unwrap();
    });
}

#[test]
fn a_newer_format_is_refused() {
    let base = tempfile::tempdir().unwrap();
    fs::write(
        base.path().join("FORMAT"),
        "trunkline data directory, format 2\n",
    )
    .unwrap();
    let refusal = DataDir::open(base.path()).unwrap_err();
    assert!(
        matches!(refusal, StorageError::Newer { found: 2, .. }),
        "{refusal:?}"
    );
    assert!(
        refusal
            .to_string()
            .contains("has format 2, and this version knows formats up to 1"),
        "{refusal}"
    );
    fs::write(base.path().join("FORMAT"), "something else\n").unwrap();
    let refusal = DataDir::open(base.path()).unwrap_err();
    assert!(
        matches!(refusal, StorageError::Unreadable { .. }),
        "{refusal:?}"
    );
}

#[test]
fn a_directory_with_other_files_is_left_alone() {
    let base = tempfile::tempdir().unwrap();
    fs::write(base.path().join("thesis.tex"), "x").unwrap();
    let refusal = DataDir::open(base.path()).unwrap_err().to_string();
    assert!(
        refusal
            .contains("is not empty and not a data directory of trunkline (it holds thesis.tex)"),
        "{refusal}"
    );
    assert_eq!(fs::read_dir(base.path()).unwrap().count(), 1);
}

#[test]
fn a_path_that_is_a_file_is_refused() {
    let base = tempfile::tempdir().unwrap();
    let file = base.path().join("file");
    fs::write(&file, "x").unwrap();
    let refusal = DataDir::open(&file).unwrap_err().to_string();
    assert!(
        refusal.contains("it is not a directory: name another with --data"),
        "{refusal}"
    );
}

#[test]
fn a_refused_write_says_what_to_do() {
    let error = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    let refusal = StorageError::Io {
        doing: "create",
        path: "/srv/x".into(),
        error,
    };
    let text = refusal.to_string();
    assert!(
        text.starts_with(
            "cannot create /srv/x: permission denied; run as a user who may write there"
        ),
        "{text}"
    );
}

#[test]
fn streams_that_were_added_are_remembered_until_they_are_forgotten() {
    let base = tempfile::tempdir().unwrap();
    let data = DataDir::open(base.path()).unwrap();
    data.add("b", "{}").unwrap();
    data.add("a", "{\"name\": \"a\"}").unwrap();
    data.add("b", "{\"name\": \"b\"}").unwrap();
    drop(data);
    let data = DataDir::open(base.path()).unwrap();
    let added = data.added().unwrap();
    assert_eq!(
        added
            .iter()
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(added[1].1.as_deref().unwrap(), "{\"name\": \"b\"}");
    data.forget("a").unwrap();
    data.forget("a").unwrap();
    assert_eq!(data.added().unwrap().len(), 1);
}

#[test]
fn a_removed_stream_leaves_nothing() {
    let base = tempfile::tempdir().unwrap();
    let data = DataDir::open(base.path()).unwrap();
    data.stream("a", Space::Written)
        .unwrap()
        .create(0, 65_536)
        .unwrap();
    data.stream("b", Space::Written).unwrap();
    assert_eq!(data.streams().unwrap(), ["a", "b"]);
    data.remove_stream("a").unwrap();
    data.remove_stream("a").unwrap();
    assert_eq!(data.streams().unwrap(), ["b"]);
}

#[test]
fn segments_are_whole_and_zero_when_they_have_their_name() {
    for space in [Space::Written, Space::Reserved] {
        segments_are_whole(space);
    }
}

fn segments_are_whole(space: Space) {
    let base = tempfile::tempdir().unwrap();
    let data = DataDir::open(base.path()).unwrap();
    let mut files = data.stream("s", space).unwrap();
    files.create(3, 128 << 10).unwrap();
    files.create(4, 128 << 10).unwrap();
    fs::write(
        files.path().join(format!("{}.new", segment_name(5))),
        "half",
    )
    .unwrap();
    fs::write(files.path().join("notes"), "not the log's").unwrap();
    let mut segments = files.list().unwrap();
    segments.sort();
    assert_eq!(
        segments,
        [
            SegmentFile {
                index: 3,
                bytes: 128 << 10
            },
            SegmentFile {
                index: 4,
                bytes: 128 << 10
            }
        ]
    );
    assert!(
        !files
            .path()
            .join(format!("{}.new", segment_name(5)))
            .exists()
    );
    let mut bytes = vec![1; 128 << 10];
    files.read_at(3, 0, &mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0));
    files.remove(3).unwrap();
    assert_eq!(files.list().unwrap().len(), 1);
}

#[test]
fn reads_see_what_was_written_at_any_offset_and_length() {
    let base = tempfile::tempdir().unwrap();
    let mut files = DataDir::open(base.path())
        .unwrap()
        .stream("s", Space::Written)
        .unwrap();
    let size = 3 << 20;
    files.create(0, size as u64).unwrap();
    let content: Vec<u8> = (0..size as u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    files.write_at(0, 0, &content).unwrap();
    files.sync(0).unwrap();
    for (offset, length) in [
        (0, 1),
        (0, size),
        (4095, 2),
        (4096, 4096),
        (1 << 20, 1),
        ((1 << 20) - 1, (1 << 20) + 2),
    ] {
        let mut out = vec![0; length];
        files.read_at(0, offset as u64, &mut out).unwrap();
        assert!(
            out == content[offset..offset + length],
            "{length} bytes at {offset}"
        );
    }
    let beyond = files.read_at(0, size as u64 - 1, &mut [0; 2]).unwrap_err();
    assert_eq!(beyond.kind(), std::io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_write_is_seen_by_a_read_that_follows_without_a_sync() {
    let base = tempfile::tempdir().unwrap();
    let mut files = DataDir::open(base.path())
        .unwrap()
        .stream("s", Space::Written)
        .unwrap();
    files.create(0, 64 << 10).unwrap();
    let mut out = [0; 3];
    files.read_at(0, 100, &mut out).unwrap();
    files.write_at(0, 100, b"abc").unwrap();
    files.read_at(0, 100, &mut out).unwrap();
    assert_eq!(&out, b"abc");
}

#[test]
fn torn_bytes_are_kept_beside_the_segment() {
    let base = tempfile::tempdir().unwrap();
    let mut files = DataDir::open(base.path())
        .unwrap()
        .stream("s", Space::Written)
        .unwrap();
    files.keep_aside(1, 4096, b"half a record").unwrap();
    let copy = files.quarantine().join("0000000000000001-00001000");
    assert_eq!(fs::read(copy).unwrap(), b"half a record");
    assert!(files.list().unwrap().is_empty());
}

#[test]
fn a_repair_is_remembered_beside_the_copies_and_does_not_count_as_one() {
    let base = tempfile::tempdir().unwrap();
    let data = DataDir::open(base.path()).unwrap();
    let mut files = data.stream("s", Space::Written).unwrap();
    let view = View::open(base.path()).unwrap();
    assert_eq!(view.quarantine("s").unwrap(), (0, 0));
    files.remember_repair("the first").unwrap();
    files.keep_aside(1, 4096, b"half a record").unwrap();
    files.clone().remember_repair("the second").unwrap();
    let repairs = fs::read_to_string(files.quarantine().join("repairs.jsonl")).unwrap();
    assert_eq!(repairs, "the first\nthe second\n");
    assert_eq!(view.quarantine("s").unwrap(), (1, 13));
}

#[test]
fn a_segment_that_does_not_fit_leaves_nothing_behind() {
    let base = tempfile::tempdir().unwrap();
    let mut files = DataDir::open(base.path())
        .unwrap()
        .stream("s", Space::Written)
        .unwrap();
    let refused = files.create(0, u64::MAX / 2).unwrap_err();
    assert!(files.list().unwrap().is_empty(), "{refused}");
    assert_eq!(fs::read_dir(files.path()).unwrap().count(), 0);
    // The directory still works.
    files.create(0, 64 << 10).unwrap();
    assert_eq!(files.list().unwrap().len(), 1);
}

#[test]
fn bytes_that_are_kept_aside_again_take_no_more_space() {
    let base = tempfile::tempdir().unwrap();
    let data = DataDir::open(base.path()).unwrap();
    let mut dir = data.stream("a", Space::Reserved).unwrap();
    for bytes in [&b"torn"[..], b"torn", b"more", b"torn", b"more"] {
        dir.keep_aside(3, 4096, bytes).unwrap();
    }
    let mut kept: Vec<_> = fs::read_dir(dir.quarantine())
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    kept.sort();
    assert_eq!(kept, [b"more", b"torn"]);
}
