//! The format does not change unnoticed.
//!
//! `golden/stream-v1.hex` holds the bytes of a small stream, without the zeros: lines of an offset and up to 32 bytes. To write it anew after a
//! change of the format (which needs a new version or feature bit), or of where marks and seals stand within the same format, run the tests with
//! `TRUNKLINE_WRITE_GOLDEN=1`. What was written before stays, and is read: `golden/stream-v1-full.hex` has a seal that leaves no room for removals.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use trunkline_log::testing::MemoryFiles;

use crate::world::{SECOND, Told, World, small};

fn stream() -> World {
    let mut world = World::new(small(), 1);
    for n in 0..70_u8 {
        let body = vec![n; 1000 + n as usize];
        loop {
            if world
                .append_body(["orders.eu", "orders.us"][n as usize % 2], &body)
                .is_ok()
            {
                break;
            }
            world.settle();
        }
        world.advance(1_000_000);
    }
    world.sync_all();
    world.advance(SECOND);
    world.settle();
    world
}

fn to_hex(files: &MemoryFiles) -> String {
    let mut text = String::new();
    for segment in files.segments() {
        let contents = files.contents(segment).expect("listed");
        for (nth, line) in contents
            .chunks(32)
            .enumerate()
            .filter(|(_, line)| line.iter().any(|byte| *byte != 0))
        {
            let _ = write!(text, "{segment:x} {:05x} ", nth * 32);
            // Runs of one byte are most of it.
            if line.iter().all(|byte| *byte == line[0]) {
                let _ = write!(text, "{:02x}*", line[0]);
            } else {
                line.iter().for_each(|byte| {
                    let _ = write!(text, "{byte:02x}");
                });
            }
            text.push('\n');
        }
    }
    text
}

fn from_hex(text: &str) -> MemoryFiles {
    let mut files = MemoryFiles::default();
    for segment in 0..3 {
        files.insert(segment, vec![0; 64 << 10]);
    }
    for line in text.lines() {
        let mut parts = line.split(' ');
        let mut number =
            || u64::from_str_radix(parts.next().expect("a number"), 16).expect("hexadecimal");
        let (segment, offset) = (number(), number() as usize);
        let digits = parts.next().expect("bytes");
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
        let bytes: Vec<u8> = if digits.ends_with('*') {
            vec![byte(0); 32]
        } else {
            (0..digits.len() / 2).map(|nth| byte(2 * nth)).collect()
        };
        files.contents_mut(segment).expect("three segments")[offset..offset + bytes.len()]
            .copy_from_slice(&bytes);
    }
    files
}

#[test]
fn a_stream_is_written_and_read_as_version_1_says() {
    let path = golden("stream-v1.hex");
    let world = stream();
    let written = to_hex(&world.files);
    if std::env::var_os("TRUNKLINE_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &written).expect("the golden file can be written");
    }
    let golden = std::fs::read_to_string(&path).expect("the golden file is there");
    assert!(
        written == golden,
        "the bytes of a stream have changed; see docs/format/log.md"
    );

    let earlier = std::fs::read_to_string(self::golden("stream-v1-full.hex"));
    for golden in [golden, earlier.expect("the golden file is there")] {
        let told: Vec<Told> = world.told.clone();
        let mut read = World::on(small(), from_hex(&golden), 0).expect("it opens");
        read.told = told;
        assert_eq!(read.read_all().len(), 70);
        assert_eq!(read.recovery.torn, None);
        assert_eq!(read.log.subject(0), Some("orders.eu"));
        // And goes on where it is.
        for _ in 0..100 {
            read.append_waiting("orders.eu", 1000);
        }
        read.sync_all();
        assert_eq!(read.read_all().len(), 170);
    }
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

#[test]
fn names_of_files_are_canonical() {
    assert_eq!(trunkline_log::segment_name(255), "00000000000000ff.seg");
    assert_eq!(
        trunkline_log::segment_index("00000000000000ff.seg"),
        Some(255)
    );
    for name in [
        "ff.seg",
        "00000000000000FF.seg",
        "00000000000000ff.seg.new",
        "+0000000000000ff.seg",
        "LOCK",
    ] {
        assert_eq!(trunkline_log::segment_index(name), None, "{name}");
    }
}
