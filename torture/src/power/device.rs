//! A device whose power can fail: what it holds, and everything that was written to it, in order.
//!
//! A flush makes everything durable that was written before it. So power that fails between two flushes leaves the device with all
//! that came before the first of them, and with any part of what came between: devices write in an order of their own.

use std::collections::{HashMap, hash_map};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::rng::Rng;

/// What a device writes as a whole: the physical sector that today's devices have.
const BLOCK_BYTES: usize = 4096;

/// What a device holds: blocks over what a file held when it was made. A clone shares the blocks.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    base: Arc<File>,
    bytes: u64,
    blocks: HashMap<u64, Arc<[u8; BLOCK_BYTES]>>,
}

impl Image {
    /// What is in a file now; nobody changes it any more.
    pub(crate) fn of(file: File) -> io::Result<Self> {
        let bytes = file.metadata()?.len();
        Ok(Self {
            base: Arc::new(file),
            bytes,
            blocks: HashMap::new(),
        })
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        for piece in pieces(offset, out.len()) {
            let target = &mut out[piece.range];
            match self.blocks.get(&piece.block) {
                Some(block) => {
                    target.copy_from_slice(&block[piece.within..piece.within + target.len()]);
                }
                None => {
                    let start = piece.block * BLOCK_BYTES as u64 + piece.within as u64;
                    self.base.read_exact_at(target, start)?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        for piece in pieces(offset, bytes.len()) {
            let source = &bytes[piece.range];
            if let Ok(whole) = <[u8; BLOCK_BYTES]>::try_from(source) {
                self.blocks.insert(piece.block, Arc::new(whole));
                continue;
            }
            let block = match self.blocks.entry(piece.block) {
                hash_map::Entry::Occupied(entry) => entry.into_mut(),
                hash_map::Entry::Vacant(entry) => {
                    let mut block = [0; BLOCK_BYTES];
                    let start = piece.block * BLOCK_BYTES as u64;
                    self.base.read_exact_at(&mut block, start)?;
                    entry.insert(Arc::new(block))
                }
            };
            let target = piece.within..piece.within + source.len();
            Arc::make_mut(block)[target].copy_from_slice(source);
        }
        Ok(())
    }

    /// Leaves it in a file that can be looked at.
    pub(crate) fn save(&self, file: &File) -> io::Result<()> {
        file.set_len(self.bytes)?;
        let mut block = [0; BLOCK_BYTES];
        for offset in (0..self.bytes).step_by(BLOCK_BYTES) {
            self.read(offset, &mut block)?;
            if block.iter().any(|byte| *byte != 0) {
                file.write_all_at(&block, offset)?;
            }
        }
        Ok(())
    }
}

/// A part of a stretch that lies within one block.
struct Piece {
    block: u64,
    /// Where it begins in the block.
    within: usize,
    /// Which bytes of the stretch.
    range: Range<usize>,
}

fn pieces(offset: u64, len: usize) -> impl Iterator<Item = Piece> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = (at % BLOCK_BYTES as u64) as usize;
        let start = done;
        done = len.min(done + BLOCK_BYTES - within);
        (start < len).then_some(Piece {
            block: at / BLOCK_BYTES as u64,
            within,
            range: start..done,
        })
    })
}

/// What was done to a device.
#[derive(Clone, Debug)]
enum Entry {
    Write { offset: u64, bytes: Arc<[u8]> },
    Flush,
}

/// A device in use.
#[derive(Debug)]
pub(crate) struct Drive {
    state: Mutex<State>,
    flushes: AtomicU64,
}

#[derive(Debug)]
struct State {
    image: Image,
    /// What it held at first, and everything since.
    recording: Option<Recording>,
}

impl Drive {
    /// A device that holds `image`. With `records`, it keeps account.
    pub(crate) fn new(image: Image, records: bool) -> Self {
        let recording = records.then(|| Recording {
            start: image.clone(),
            entries: Vec::new(),
            flushes: 0,
        });
        Self {
            state: Mutex::new(State { image, recording }),
            flushes: AtomicU64::new(0),
        }
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().image.bytes()
    }

    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.lock().image.read(offset, out)
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        if let Some(recording) = &mut state.recording {
            let bytes = bytes.into();
            recording.entries.push(Entry::Write { offset, bytes });
        }
        state.image.write(offset, bytes)
    }

    /// Everything that was written is durable.
    pub(crate) fn flush(&self) {
        let mut state = self.lock();
        if let Some(recording) = &mut state.recording {
            recording.entries.push(Entry::Flush);
            recording.flushes += 1;
        }
        // Under the lock: the count and the recording are one.
        self.flushes.fetch_add(1, Ordering::Release);
    }

    /// What it holds.
    pub(crate) fn image(&self) -> Image {
        self.lock().image.clone()
    }

    /// How often it has flushed.
    pub(crate) fn flushes(&self) -> &AtomicU64 {
        &self.flushes
    }

    /// Ends the recording, and hands it out.
    pub(crate) fn stop(&self) -> Option<Recording> {
        self.lock().recording.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was done to a device, from a state on.
#[derive(Debug)]
pub(crate) struct Recording {
    start: Image,
    entries: Vec<Entry>,
    flushes: u64,
}

/// When power fails, and what it leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// So many flushes were done.
    pub(crate) flush: u64,
    pub(crate) rest: Rest,
    /// What chance starts from.
    seed: u64,
}

/// Which of the writes between this flush and the next came to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// None.
    Nothing,
    /// Those before some moment; the last of them in part.
    First,
    /// Each or not.
    Writes,
    /// Of each, each block or not.
    Blocks,
    /// All but one.
    AllButOne,
    /// One.
    One,
}

impl Recording {
    pub(crate) fn flushes(&self) -> u64 {
        self.flushes
    }

    pub(crate) fn writes(&self) -> u64 {
        self.entries.len() as u64 - self.flushes
    }

    /// Chooses so many cuts, in order: a third of them right behind a flush, and a third of them among the first `early` flushes.
    /// With enough of them, that is every flush.
    pub(crate) fn draw(&self, count: u64, early: u64, rng: &mut Rng) -> Vec<Cut> {
        let ends = self.flushes + 1;
        let early = early.min(ends - 1);
        let early_count = if early > 0 { count / 3 } else { 0 };
        let mut cuts = Vec::new();
        for nth in 0..count {
            let (nth, first, ends, count) = if nth < early_count {
                (nth, 0, early, early_count)
            } else {
                (nth - early_count, early, ends - early, count - early_count)
            };
            let rest = match nth % 3 {
                0 => Rest::Nothing,
                _ => RESTS[rng.below(RESTS.len() as u64) as usize],
            };
            let (from, stride) = (nth / 3 * 3 * ends / count, (3 * ends / count).max(1));
            cuts.push(Cut {
                flush: first + (from + rng.below(stride)).min(ends - 1),
                rest,
                seed: rng.bits(),
            });
        }
        cuts.sort_by_key(|cut| cut.flush);
        cuts
    }

    /// Plays it again, up to one cut after the other.
    pub(crate) fn replay(&self) -> Replay<'_> {
        Replay {
            recording: self,
            image: self.start.clone(),
            next: 0,
            flushes: 0,
        }
    }
}

/// A recording that is played.
#[derive(Debug)]
pub(crate) struct Replay<'a> {
    recording: &'a Recording,
    /// Before entry `next`.
    image: Image,
    next: usize,
    flushes: u64,
}

impl Replay<'_> {
    /// What the device holds when power comes back, and whether that is more than everything up to the flush. Cuts come in order.
    pub(crate) fn at(&mut self, cut: Cut) -> io::Result<(Image, bool)> {
        let entries = &self.recording.entries;
        while self.flushes < cut.flush {
            match &entries[self.next] {
                Entry::Write { offset, bytes } => self.image.write(*offset, bytes)?,
                Entry::Flush => self.flushes += 1,
            }
            self.next += 1;
        }
        let writes: Vec<(u64, &[u8])> = entries[self.next..]
            .iter()
            .map_while(|entry| match entry {
                Entry::Write { offset, bytes } => Some((*offset, &**bytes)),
                Entry::Flush => None,
            })
            .collect();
        let mut image = self.image.clone();
        let mut rng = Rng(cut.seed);
        let chosen = rng.below(writes.len().max(1) as u64) as usize;
        let mut more = false;
        for (nth, (offset, bytes)) in writes.into_iter().enumerate() {
            let is_whole = match cut.rest {
                Rest::Nothing => false,
                Rest::First => nth < chosen,
                Rest::Writes => rng.below(2) == 0,
                Rest::Blocks => false,
                Rest::AllButOne => nth != chosen,
                Rest::One => nth == chosen,
            };
            let is_torn = cut.rest == Rest::Blocks || cut.rest == Rest::First && nth == chosen;
            for piece in pieces(offset, bytes.len()) {
                if is_whole || is_torn && rng.below(2) == 0 {
                    let at = offset + piece.range.start as u64;
                    image.write(at, &bytes[piece.range])?;
                    more = true;
                }
            }
        }
        Ok((image, more))
    }
}

const RESTS: [Rest; 5] = [
    Rest::First,
    Rest::Writes,
    Rest::Blocks,
    Rest::AllButOne,
    Rest::One,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let nth = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("torture-device-{}-{nth}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .expect("a file");
        std::fs::remove_file(&path).expect("ours");
        file.set_len(16 << 12).expect("room");
        file.write_all_at(&[7; 4096], 4096).expect("room");
        Image::of(file).expect("readable")
    }

    fn bytes(image: &Image, offset: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        image.read(offset, &mut out).expect("within it");
        out
    }

    #[test]
    fn writes_change_a_clone_only_and_keep_what_is_around_them() {
        let first = image();
        let mut second = first.clone();
        second.write(4090, &[1; 4100]).expect("within it");
        assert_eq!(bytes(&second, 4088, 4), [0, 0, 1, 1]);
        assert_eq!(bytes(&second, 4090, 4100), [1; 4100]);
        assert_eq!(bytes(&second, 8188, 6), [1, 1, 7, 7, 0, 0]);
        assert_eq!(bytes(&first, 4096, 4096), [7; 4096]);
    }

    #[test]
    fn what_was_flushed_is_there_after_every_cut_and_what_came_later_only_where_it_was_chosen() {
        let drive = Drive::new(image(), true);
        for nth in 1..=8_u8 {
            drive
                .write(u64::from(nth) * 4096, &[nth; 4096])
                .expect("within it");
            drive.write(0, &[nth; 4096]).expect("within it");
            drive.flush();
        }
        drive.write(9 * 4096, &[9; 4096]).expect("within it");
        assert_eq!(drive.flushes().load(Ordering::Acquire), 8);
        let recording = drive.stop().expect("it records");
        assert_eq!((recording.flushes(), recording.writes()), (8, 17));
        drive.write(9 * 4096, &[1; 4096]).expect("within it");

        let cuts = recording.draw(600, 3, &mut Rng(1));
        assert_eq!(cuts.len(), 600);
        let early = cuts.iter().filter(|cut| cut.flush < 3).count();
        assert_eq!(early, 200);
        let mut replay = recording.replay();
        let mut found = [[false; 2]; 9];
        for cut in &cuts {
            let (image, more) = replay.at(*cut).expect("within it");
            for nth in 1..=9 {
                let block = bytes(&image, nth * 4096, 4096);
                let is_there = block == vec![nth as u8; 4096];
                assert!(is_there || nth > cut.flush, "{cut:?}: write {nth}");
                assert!(!is_there || nth <= cut.flush + 1, "{cut:?}: write {nth}");
            }
            let head = u64::from(bytes(&image, 0, 1)[0]);
            assert!(head == cut.flush || head == cut.flush + 1 && more);
            found[cut.flush as usize][usize::from(more)] = true;
        }
        assert_eq!(found, [[true; 2]; 9], "every flush, with and without more");
    }
}
