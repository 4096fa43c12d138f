//! A segment's file, opened only where it is a regular file: a link may lead into another stream, and a pipe keeps who opens it waiting.

use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use trunkline_log::{FileKind, NotRegular};

/// Opens a segment with `options` and, for the system, `flags`.
///
/// # Errors
/// [`NotRegular`], and the system's.
pub(super) fn open(path: &Path, options: &mut OpenOptions, flags: OFlags) -> io::Result<File> {
    regular(path)?;
    // What takes its place between the two is not followed.
    let flags = flags | OFlags::NOFOLLOW;
    options.custom_flags(flags.bits() as i32).open(path)
}

/// What the system knows of a segment's file.
///
/// # Errors
/// [`NotRegular`], and the system's.
pub(super) fn regular(path: &Path) -> io::Result<Metadata> {
    let found = fs::symlink_metadata(path)?;
    match kind(found.file_type()) {
        None => Ok(found),
        Some(is) => Err(NotRegular {
            path: path.to_owned(),
            is,
        }
        .into()),
    }
}

/// What something is that is no regular file.
fn kind(is: FileType) -> Option<FileKind> {
    if is.is_file() {
        None
    } else if is.is_dir() {
        Some(FileKind::Directory)
    } else if is.is_symlink() {
        Some(FileKind::Link)
    } else if is.is_fifo() {
        Some(FileKind::Pipe)
    } else if is.is_socket() {
        Some(FileKind::Socket)
    } else {
        Some(FileKind::Device)
    }
}
