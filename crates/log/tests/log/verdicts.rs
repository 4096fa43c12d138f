//! Verification and opening say the same of the same files: what is said to be intact can be opened and read, and what is not, cannot.

use trunkline_log::testing::{MemoryFiles, Rng};
use trunkline_log::{Damage, Defect, Files, LogConfig, OpenError, Retention, verify};
use trunkline_wire::record::{Kind, RawRecord};

use crate::damage::{stranger, synced};
use crate::world::{World, small};

/// One more thing that happens to a directory. Says which.
fn hurt(files: &mut MemoryFiles, other: &World, rng: &mut Rng) -> String {
    let segments = files.segments();
    let any = |rng: &mut Rng| segments[rng.below(segments.len() as u64) as usize];
    let (segment, second) = (any(rng), any(rng));
    let contents = files.contents(segment).expect("listed").to_vec();
    let bytes = contents.len() as u64;
    if bytes == 0 {
        files.remove(segment).expect("listed");
        return format!("{segment}, which is empty, goes");
    }
    let start = rng.below(bytes);
    let len = (1 << rng.below(17)).min(bytes - start);
    let stretch = start as usize..(start + len) as usize;
    let mut damaged = contents.clone();
    let last = segments.last().expect("there are files");
    let behind = last + [1, 2, 3, 1 << 40][rng.below(4) as usize];
    match rng.below(12) {
        0 | 1 => {
            damaged[start as usize] ^= 1 << rng.below(8);
            files.insert(segment, damaged);
            format!("a bit flips in {segment} at {start}")
        }
        2 | 3 => {
            damaged[stretch].fill(0);
            files.insert(segment, damaged);
            format!("zeros in {segment} at {start}+{len}")
        }
        4 => {
            damaged[stretch].fill_with(|| rng.bits() as u8);
            files.insert(segment, damaged);
            format!("garbage in {segment} at {start}+{len}")
        }
        5 => {
            damaged.truncate(start as usize);
            files.insert(segment, damaged);
            format!("{segment} is cut to {start}")
        }
        6 => {
            damaged.resize((bytes + len) as usize, (start % 2) as u8);
            files.insert(segment, damaged);
            format!("{segment} grows by {len}")
        }
        7 if segments.len() > 2 => {
            files.remove(segment).expect("listed");
            format!("{segment} goes")
        }
        8 => {
            files.insert(behind, contents);
            format!("a copy of {segment} at {behind}")
        }
        9 => {
            let stray = vec![0; [0, 100, 65_536][rng.below(3) as usize]];
            let what = format!("{} zeros at {behind}", stray.len());
            files.insert(behind, stray);
            what
        }
        10 => {
            let theirs = other.files.contents(1).expect("several").to_vec();
            let at = [segment, behind][rng.below(2) as usize];
            files.insert(at, theirs);
            format!("a file of another stream at {at}")
        }
        _ => {
            let theirs = files.contents(second).expect("listed").to_vec();
            files.insert(second, contents);
            files.insert(segment, theirs);
            format!("{segment} and {second} change places")
        }
    }
}

/// What stood where damage begins. At a mark, a reader may come past it, while verification goes on at what leads to the next one; with the definition of a subject,
/// a segment no longer explains itself to who verifies it, while the server knows the name from another one.
fn begins_with(source: &World, damage: &Damage, kind: Kind) -> bool {
    let contents = source.files.contents(damage.segment).unwrap_or_default();
    let rest = contents.get(damage.start as usize..).unwrap_or_default();
    let raw = RawRecord::peek(rest, u32::MAX).ok().flatten();
    damage.what == Defect::Records && raw.is_some_and(|raw| raw.kind() == kind)
}

/// What was said of some directories.
#[derive(Debug, Default)]
struct Said {
    intact: u64,
    refused: u64,
    lost: u64,
}

fn compare(source: &World, files: &MemoryFiles, what: &str, said: &mut Said) {
    let opened = World::on(source.config.clone(), files.clone(), 0);
    let verified = match verify(&mut files.clone(), |_, _| {}) {
        Ok(verified) => verified,
        Err(OpenError::Newer { .. }) => {
            assert!(opened.is_err(), "{what}");
            return;
        }
        Err(error) => panic!("{what}: {error}"),
    };
    let mut world = match opened {
        Ok(world) => world,
        Err(error) => {
            assert!(!verified.damages.is_empty(), "{what}: {error}");
            said.refused += 1;
            return;
        }
    };
    world.told = source.told.clone();
    let end = world.log.received();
    let read = world.read(world.log.seek_first(), end, 1 << 16);
    if verified.damages.is_empty() {
        // Each record that comes was compared with what was appended.
        assert_eq!(world.lost, [], "{what}: {verified:?}");
        assert_eq!(read.len() as u64, end.sequence - world.log.first().sequence);
        // What lies behind that, nothing in the files tells any more that it was synced.
        assert!(end.sequence >= verified.durable_sequence, "{what}");
        said.intact += 1;
    } else {
        let damages = &verified.damages;
        let with = |kind| move |damage: &Damage| begins_with(source, damage, kind);
        let is_more =
            damages.iter().all(with(Kind::Batch)) || damages.iter().any(with(Kind::Definition));
        assert!(
            is_more || !world.lost.is_empty(),
            "{what}: {:?}",
            verified.damages
        );
        said.lost += 1;
    }
}

#[test]
fn whatever_happens_to_files_verification_says_what_opening_and_reading_them_says() {
    let removed = LogConfig {
        retention: Retention {
            bytes_max: Some(5 * (64 << 10)),
            ..Retention::default()
        },
        ..small()
    };
    let other = stranger();
    let mut rng = Rng(20_261_122);
    let mut said = Said::default();
    for (config, records) in [(small(), 900), (removed, 2000)] {
        let world = synced(config, records, 300);
        assert!(world.files.segments().len() >= 5);
        for round in 0..1500 {
            let mut files = world.files.clone();
            let mut what = format!("{records} records, round {round}");
            for _ in 0..=rng.below(3) {
                let one = hurt(&mut files, &other, &mut rng);
                what = format!("{what}; {one}");
            }
            compare(&world, &files, &what, &mut said);
        }
    }
    let Said {
        intact,
        refused,
        lost,
    } = said;
    assert!(intact > 50 && refused > 1000 && lost > 100, "{said:?}");
}
