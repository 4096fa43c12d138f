//! A [`Drive`] as a file that a loop device can lie on: the smallest FUSE server, one file that is the root of its own mount.
//!
//! The kernel asks over `/dev/fuse`, one request with each read; each answer is one write. Numbers have the machine's order. The
//! protocol is that of `linux/fuse.h`, version 7.31. The loop device turns a flush of its file system into a `FSYNC`; what it cannot
//! have (discards, writes of zeros) it does in another way.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::device::Drive;

/// A mounted file. Dropped, it is taken away, once nobody uses it any more.
#[derive(Debug)]
pub(crate) struct Attached {
    path: PathBuf,
    /// Hears when the kernel has let go of it.
    over: Receiver<()>,
    is_mounted: bool,
}

impl Attached {
    /// Shows the drive as the file `path`.
    pub(crate) fn new(path: &Path, drive: Arc<Drive>) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        File::create(path).map_err(failed)?;
        let fuse = File::options().read(true).write(true).open(DEVICE);
        let fuse = fuse.map_err(|error| format!("{DEVICE}: {error}"))?;
        let options = format!(
            "fd={},rootmode={FILE_MODE:o},user_id=0,group_id=0,max_read={TRANSFER_BYTES}",
            fuse.as_raw_fd()
        );
        let options = CString::new(options).map_err(|error| error.to_string())?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("torture", path, "fuse", flags, options.as_c_str())
            .map_err(|error| failed(error.into()))?;
        let (sender, over) = channel();
        std::thread::spawn(move || {
            serve(&fuse, &drive);
            let _nobody_waits = sender.send(());
        });
        Ok(Self {
            path: path.into(),
            over,
            is_mounted: true,
        })
    }

    /// Takes it away, and waits until nobody uses it any more.
    pub(crate) fn detach(mut self) -> Result<(), String> {
        self.unmount();
        match self.over.recv_timeout(PATIENCE) {
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("{} is still in use", self.path.display()))
            }
            Ok(()) | Err(RecvTimeoutError::Disconnected) => Ok(()),
        }
    }

    fn unmount(&mut self) {
        if self.is_mounted {
            self.is_mounted = false;
            let _gone = unmount(&self.path, UnmountFlags::DETACH);
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.unmount();
    }
}

/// Answers until the file system is unmounted.
fn serve(mut fuse: &File, drive: &Drive) {
    let mut buffer = vec![0; TRANSFER_BYTES + 4096];
    loop {
        let read = match fuse.read(&mut buffer) {
            Ok(read) => read,
            // Whoever asked has thought better of it.
            Err(error) if AGAIN.contains(&Errno::from_io_error(&error)) => continue,
            Err(_) => return,
        };
        let Some(request) = Request::new(&buffer[..read]) else {
            return;
        };
        if request.wants_no_answer() {
            continue;
        }
        let (result, body) = match answer(&request, drive) {
            Ok(body) => (0, body),
            Err(errno) => (-errno.raw_os_error(), Vec::new()),
        };
        let mut out = Vec::with_capacity(ANSWER_HEAD_BYTES + body.len());
        out.extend(((ANSWER_HEAD_BYTES + body.len()) as u32).to_ne_bytes());
        out.extend(result.to_ne_bytes());
        out.extend(request.unique.to_ne_bytes());
        out.extend(body);
        let _whoever_asked_is_gone = fuse.write(&out);
    }
}

/// One question.
struct Request<'a> {
    opcode: u32,
    unique: u64,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let (head, body) = bytes.split_at_checked(REQUEST_HEAD_BYTES)?;
        Some(Self {
            opcode: u32_at(head, 4)?,
            unique: u64_at(head, 8)?,
            body,
        })
    }

    fn wants_no_answer(&self) -> bool {
        matches!(self.opcode, FORGET | INTERRUPT | BATCH_FORGET)
    }
}

fn answer(request: &Request<'_>, drive: &Drive) -> Result<Vec<u8>, Errno> {
    let body = request.body;
    match request.opcode {
        INIT => Ok(init()),
        GETATTR | SETATTR => {
            // Valid for an hour: nothing about the file ever changes.
            let mut out = 3600_u64.to_ne_bytes().to_vec();
            out.extend([0; 8]);
            out.extend(attributes(drive.bytes()));
            Ok(out)
        }
        OPEN => Ok(vec![0; 16]),
        READ => {
            let (offset, len) = stretch(body, drive)?;
            let mut out = vec![0; len];
            drive.read(offset, &mut out).map_err(|_| Errno::IO)?;
            Ok(out)
        }
        WRITE => {
            let (offset, len) = stretch(body, drive)?;
            let end = WRITE_HEAD_BYTES + len;
            let bytes = body.get(WRITE_HEAD_BYTES..end).ok_or(Errno::INVAL)?;
            drive.write(offset, bytes).map_err(|_| Errno::IO)?;
            let mut out = (len as u32).to_ne_bytes().to_vec();
            out.extend([0; 4]);
            Ok(out)
        }
        FSYNC => {
            drive.flush();
            Ok(Vec::new())
        }
        RELEASE | FLUSH | DESTROY => Ok(Vec::new()),
        _ => Err(Errno::NOSYS),
    }
}

/// What is read or written: behind a file handle, an offset and a length. A read ends with the file.
fn stretch(body: &[u8], drive: &Drive) -> Result<(u64, usize), Errno> {
    let offset = u64_at(body, 8).ok_or(Errno::INVAL)?;
    let len = u32_at(body, 16).ok_or(Errno::INVAL)?;
    let left = drive.bytes().saturating_sub(offset);
    Ok((offset, u64::from(len).min(left) as usize))
}

/// Version, largest transfer, and that a write may have more than a page.
fn init() -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.extend(7_u32.to_ne_bytes());
    out.extend(31_u32.to_ne_bytes());
    out.extend((TRANSFER_BYTES as u32).to_ne_bytes());
    out.extend((ASYNC_READ | BIG_WRITES).to_ne_bytes());
    out.extend(16_u16.to_ne_bytes());
    out.extend(12_u16.to_ne_bytes());
    out.extend((TRANSFER_BYTES as u32).to_ne_bytes());
    out.extend(1_u32.to_ne_bytes());
    out.resize(64, 0);
    out
}

/// The only file.
fn attributes(bytes: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(88);
    out.extend(1_u64.to_ne_bytes());
    out.extend(bytes.to_ne_bytes());
    out.extend(bytes.div_ceil(512).to_ne_bytes());
    // Three times.
    out.extend([0; 3 * 8 + 3 * 4]);
    out.extend(FILE_MODE.to_ne_bytes());
    out.extend(1_u32.to_ne_bytes());
    // Owner, group, device.
    out.extend([0; 3 * 4]);
    out.extend(4096_u32.to_ne_bytes());
    out.resize(88, 0);
    out
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?;
    bytes.try_into().ok().map(u64::from_ne_bytes)
}

/// Where the kernel asks.
pub(crate) const DEVICE: &str = "/dev/fuse";
/// A plain file for its owner.
const FILE_MODE: u32 = 0o100_600;
/// Most bytes of one read or write.
const TRANSFER_BYTES: usize = 128 << 10;
/// Nobody keeps a file system busy for longer.
const PATIENCE: Duration = Duration::from_secs(20);
const AGAIN: [Option<Errno>; 3] = [Some(Errno::NOENT), Some(Errno::INTR), Some(Errno::AGAIN)];

const REQUEST_HEAD_BYTES: usize = 40;
const WRITE_HEAD_BYTES: usize = 40;
const ANSWER_HEAD_BYTES: usize = 16;

const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const SETATTR: u32 = 4;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const DESTROY: u32 = 38;
const BATCH_FORGET: u32 = 42;

const ASYNC_READ: u32 = 1;
const BIG_WRITES: u32 = 1 << 5;
