//! The blocking side of the disk: what opening a log needs.

use std::path::PathBuf;
use std::{fmt, io};

/// One stream's directory. The log calls it only from [`Log::open`](crate::Log::open), [`verify`](crate::verify()),
/// [`extract`](crate::extract()) and repair, never while it is served.
///
/// Who implements it also keeps a second process out (a lock file is not the log's), and can use the same functions to answer
/// [`Request::Prepare`](crate::Request) and [`Request::Remove`](crate::Request) on a background thread.
pub trait Files {
    /// The segments there are, in any order; what has a segment's name and is no regular file is refused with [`NotRegular`], or listed and refused
    /// by [`read_at`](Self::read_at). Files in preparation ([`segment_name`] and `.new`) are removed, other
    /// files are not the log's. When it returns, the names survive a crash: the process before may have been killed between the
    /// renaming of a segment and the sync of the directory, and records that go into a file are worth no more than its name.
    ///
    /// # Errors
    /// The system's.
    fn list(&mut self) -> io::Result<Vec<SegmentFile>>;

    /// Brings a segment of `bytes` zero bytes into being: written and synced under another name (an older file there is replaced), renamed into place,
    /// the directory synced. When it returns, the file survives a crash.
    ///
    /// # Errors
    /// The system's; nothing is left under the segment's name then.
    fn create(&mut self, segment: u64, bytes: u64) -> io::Result<()>;

    /// Fills `out` from `offset`. Where the platform can, not from the page cache: after a failed sync it may hold what the device does not.
    ///
    /// # Errors
    /// The system's; `UnexpectedEof` when the file is shorter.
    fn read_at(&mut self, segment: u64, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, within the file.
    ///
    /// # Errors
    /// The system's.
    fn write_at(&mut self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes the file's contents durable.
    ///
    /// # Errors
    /// The system's.
    fn sync(&mut self, segment: u64) -> io::Result<()>;

    /// Unlinks the segment and syncs the directory.
    ///
    /// # Errors
    /// The system's.
    fn remove(&mut self, segment: u64) -> io::Result<()>;

    /// Gives a file another length; what is added is zero. Only repair asks for it; the default refuses.
    ///
    /// # Errors
    /// The system's.
    fn resize(&mut self, segment: u64, bytes: u64) -> io::Result<()> {
        let _ = (segment, bytes);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Keeps a copy of bytes that recovery or repair is about to overwrite; when it returns, the copy survives a crash. Optional; the default keeps none.
    ///
    /// # Errors
    /// The system's.
    fn keep_aside(&mut self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let _ = (segment, offset, bytes);
        Ok(())
    }
}

/// A segment's file as listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentFile {
    /// The segment's index, from the name.
    pub index: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Something that has a segment's name and is not a regular file: to be found inside the [`io::Error`]s of [`Files`]. Nothing is read from it or written to it: a link
/// may lead into another stream, and a pipe keeps who opens it waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotRegular {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub is: FileKind,
}

/// What there is in place of a regular file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A symbolic link, wherever it leads.
    Link,
    /// A named pipe.
    Pipe,
    /// A socket.
    Socket,
    /// A device, or something else that only the system knows.
    Device,
}

impl NotRegular {
    /// What an error of [`Files`] says of this.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<NotRegular> for io::Error {
    fn from(found: NotRegular) -> Self {
        Self::other(found)
    }
}

impl fmt::Display for NotRegular {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.is)
    }
}

impl std::error::Error for NotRegular {}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, remedy) = match self {
            Self::Link => (
                "a symbolic link",
                "put the file that it leads to in its place",
            ),
            Self::Directory => ("a directory", MOVE),
            Self::Pipe => ("a named pipe", MOVE),
            Self::Socket => ("a socket", MOVE),
            Self::Device => ("a device", MOVE),
        };
        write!(
            f,
            "it is {what}, and only a regular file is a segment; {remedy}"
        )
    }
}

const MOVE: &str = "move it out of the stream's directory, and put the segment back";

/// The name of a segment's file.
pub fn segment_name(index: u64) -> String {
    format!("{index:016x}.seg")
}

/// The index in a segment's file name; `None` for other files.
pub fn segment_index(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let canonical = digits.len() == 16
        && digits
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if canonical {
        u64::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files that do only what they must.
    struct Least;

    impl Files for Least {
        fn list(&mut self) -> io::Result<Vec<SegmentFile>> {
            unreachable!("it is not asked for")
        }

        fn create(&mut self, _: u64, _: u64) -> io::Result<()> {
            unreachable!("it is not asked for")
        }

        fn read_at(&mut self, _: u64, _: u64, _: &mut [u8]) -> io::Result<()> {
            unreachable!("it is not asked for")
        }

        fn write_at(&mut self, _: u64, _: u64, _: &[u8]) -> io::Result<()> {
            unreachable!("it is not asked for")
        }

        fn sync(&mut self, _: u64) -> io::Result<()> {
            unreachable!("it is not asked for")
        }

        fn remove(&mut self, _: u64) -> io::Result<()> {
            unreachable!("it is not asked for")
        }
    }

    #[test]
    fn who_cannot_give_a_file_another_length_says_so_and_keeps_no_copies() {
        let refused = Least.resize(0, 1).expect_err("it was not done");
        assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
        assert!(Least.keep_aside(0, 0, &[1]).is_ok());
    }

    #[test]
    fn what_is_in_the_place_of_a_segment_is_told_with_what_to_do_about_it() {
        let said = |is| {
            let path = PathBuf::from("orders/0000000000000001.seg");
            let found = NotRegular { path, is };
            let error = io::Error::from(found.clone());
            assert_eq!(NotRegular::of(&error), Some(&found));
            error.to_string()
        };
        assert_eq!(
            said(FileKind::Link),
            "orders/0000000000000001.seg: it is a symbolic link, and only a regular file is a segment; put the file that it leads to in its place"
        );
        let others = [
            (FileKind::Directory, "a directory"),
            (FileKind::Pipe, "a named pipe"),
            (FileKind::Socket, "a socket"),
            (FileKind::Device, "a device"),
        ];
        for (is, what) in others {
            assert_eq!(
                said(is),
                format!(
                    "orders/0000000000000001.seg: it is {what}, and only a regular file is a segment; move it out of the stream's directory, and put the segment back"
                )
            );
        }
        assert_eq!(NotRegular::of(&io::Error::from_raw_os_error(5)), None);
    }

    #[test]
    fn only_names_that_are_given_are_read_back() {
        for index in [0, 10, 0x1234_5678_9abc_def0, u64::MAX] {
            assert_eq!(segment_index(&segment_name(index)), Some(index));
        }
        for name in [
            "0000000000000001",
            "00000000000000001.seg",
            "000000000000001.seg",
            "000000000000000g.seg",
            "000000000000000F.seg",
            "-000000000000001.seg",
            ".seg",
        ] {
            assert_eq!(segment_index(name), None, "{name}");
        }
    }
}
