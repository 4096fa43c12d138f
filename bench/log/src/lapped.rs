//! A file of a fixed length that is written from its start again when it is full.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bench_harness::Failure;

use crate::appender::On;

/// Records of one length; those of the lap before are there until they are written over.
pub struct Lapped {
    file: File,
    bytes: u64,
    position: u64,
    /// Where the lap before ended.
    before: u64,
    written: u64,
}

impl Lapped {
    /// A new file that is written already, so that no sync has to say that it has grown.
    pub fn create(path: &Path, bytes: u64) -> std::io::Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        for at in 0..bytes >> 20 {
            file.write_all_at(&[0; 1 << 20], at << 20)?;
        }
        file.sync_all()?;
        Ok(Self {
            file,
            bytes,
            position: 0,
            before: 0,
            written: 0,
        })
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    pub fn append(&mut self, batch: &[u8]) -> std::io::Result<()> {
        if self.position + batch.len() as u64 > self.bytes {
            (self.before, self.position) = (self.position, 0);
        }
        self.file.write_all_at(batch, self.position)?;
        self.position += batch.len() as u64;
        self.written += batch.len() as u64;
        Ok(())
    }

    /// Hands over the records that are there, the oldest first, and returns how many were written over before those.
    pub fn each(&self, record_bytes: usize, on: On<'_>) -> Result<u64, Failure> {
        let mut record = vec![0; record_bytes];
        let step = record_bytes as u64;
        let older = self.position..self.before.max(self.position);
        let there = older.end - older.start + self.position;
        for at in older.chain(0..self.position).step_by(record_bytes) {
            self.file
                .read_exact_at(&mut record, at)
                .map_err(|error| error.to_string())?;
            on(&record)?;
        }
        Ok((self.written - there) / step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lap_and_what_is_left_of_the_one_before_come_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = Lapped::create(&folder.path().join("file"), 1 << 20).unwrap();
        let record_bytes = 60_000;
        for number in 0..40u8 {
            file.append(&vec![number; record_bytes]).unwrap();
            let mut seen = Vec::new();
            let gone = file.each(record_bytes, &mut |record| {
                seen.push(record[record_bytes - 1]);
                Ok(())
            });
            let gone = gone.unwrap() as u8;
            assert_eq!(seen, (gone..=number).collect::<Vec<u8>>());
            assert!(seen.len() == 17 || gone == 0);
        }
    }
}
