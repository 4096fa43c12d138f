//! A stream's directory as [`Log::open`](trunkline_log::Log::open) uses it, step by step as the server does it, so that
//! a process can be killed and power can fail between any two steps.

use std::io;

use trunkline_log::{Files, SegmentFile};

use super::directory::Name;
use super::drive::{Drive, LogDirectory};
use crate::faults::{Fault, Faults};

/// One stream's directory on a drive.
pub(crate) struct StreamFiles<'a> {
    /// The drive.
    pub drive: &'a mut Drive,
    /// The stream's directory.
    pub directory: LogDirectory,
    /// What goes wrong.
    pub faults: &'a mut Faults,
}

impl StreamFiles<'_> {
    fn step(&mut self) -> io::Result<()> {
        if self.drive.count_operation() {
            Ok(())
        } else {
            Err(io::Error::other("killed"))
        }
    }

    fn file(&mut self, name: Name) -> io::Result<&mut super::File> {
        let error = || io::Error::from_raw_os_error(ENOENT);
        self.drive.file(self.directory, name).ok_or_else(error)
    }
}

impl Files for StreamFiles<'_> {
    fn list(&mut self) -> io::Result<Vec<SegmentFile>> {
        self.step()?;
        self.drive.forget_seen(self.directory);
        let names: Vec<(Name, u64)> = self.drive.directory(self.directory).names().collect();
        let mut segments = Vec::new();
        for (name, _) in names {
            match name {
                Name::Segment(index) => segments.push(SegmentFile {
                    index,
                    bytes: self.file(name)?.len() as u64,
                }),
                Name::New(_) => {
                    self.step()?;
                    self.drive.directory(self.directory).unlink(name);
                }
            }
        }
        self.step()?;
        self.drive.directory(self.directory).sync();
        Ok(segments)
    }

    fn create(&mut self, segment: u64, bytes: u64) -> io::Result<()> {
        self.step()?;
        if !self.drive.has_room(bytes) || self.faults.strikes(Fault::RecoveryNoSpace) {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        let (new, name) = (Name::New(segment), Name::Segment(segment));
        self.drive.create(self.directory, new, bytes);
        self.step()?;
        self.file(new)?.sync_all();
        self.step()?;
        self.drive.directory(self.directory).rename(new, name);
        self.step()?;
        if self.faults.strikes(Fault::PrepareTorn) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        self.drive.directory(self.directory).sync();
        Ok(())
    }

    fn read_at(&mut self, segment: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.step()?;
        if self.faults.strikes(Fault::RecoveryReadError) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let direct = self.drive.direct_reads;
        let file = self.file(Name::Segment(segment))?;
        let offset = offset as usize;
        let read = if direct {
            file.read_direct(offset, out)
        } else {
            file.cached()
                .get(offset..offset + out.len())
                .map(|bytes| out.copy_from_slice(bytes))
                .is_some()
        };
        if read {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn write_at(&mut self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.step()?;
        let written = self
            .drive
            .overwrite(self.directory, segment, offset as usize, bytes);
        if written.ok_or_else(|| io::Error::from_raw_os_error(ENOENT))? {
            Ok(())
        } else {
            Err(io::ErrorKind::InvalidInput.into())
        }
    }

    fn sync(&mut self, segment: u64) -> io::Result<()> {
        self.step()?;
        self.file(Name::Segment(segment))?.sync_all();
        Ok(())
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.step()?;
        if !self
            .drive
            .directory(self.directory)
            .unlink(Name::Segment(segment))
        {
            return Err(io::Error::from_raw_os_error(ENOENT));
        }
        // A segment that comes back is removed again: nothing counts on that the directory is synced, and here it is not.
        self.step()
    }

    fn keep_aside(&mut self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.step()?;
        self.drive
            .keep_aside(self.directory, segment, offset, bytes);
        Ok(())
    }
}

const ENOENT: i32 = 2;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

#[cfg(test)]
mod tests {
    use trunkline_log::testing::Rng;

    use super::*;
    use crate::disk::file::PowerLoss;

    #[test]
    fn a_segment_of_a_process_that_was_killed_before_it_synced_the_directory_is_there_to_stay_once_listed()
     {
        let (mut drive, mut faults) = (Drive::new(true), Faults::new(0, &[]));
        faults.calm_down();
        drive.operations_left = 3;
        let mut files = StreamFiles {
            drive: &mut drive,
            directory: 0,
            faults: &mut faults,
        };
        assert!(files.create(1, 4096).is_err(), "killed after the renaming");
        files.drive.operations_left = u64::MAX;
        assert_eq!(files.list().expect("no fault").len(), 1);
        let mut rng = Rng(0);
        drive.lose_power(PowerLoss::LoseAll, &mut faults, &mut rng);
        assert!(drive.segment(0, 1).is_some());
    }
}
