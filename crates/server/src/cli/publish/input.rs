//! Where the records of `pub` come from.

use std::io::{self, BufRead, Read};

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::cli::exit::Failure;
use crate::config::Bytes;

/// A source of payloads.
pub(super) enum Input {
    /// The same payload, some times more.
    One {
        payload: Vec<u8>,
        left: u64,
        total: u64,
    },
    /// Lines as they come.
    Lines(Lines),
    /// Lines that were all read, several times.
    Again {
        text: Vec<u8>,
        at: usize,
        left: u64,
        lines: u64,
    },
}

/// What an input has.
pub(super) enum Next<'a> {
    Record(&'a [u8]),
    /// A line that is longer than any server takes, and was not read to its end.
    TooLong,
    /// Nothing yet; wait for standard input to be readable.
    Wait,
    End,
}

/// Lines of standard input, none of which is waited for.
pub(super) struct Lines {
    stdin: io::StdinLock<'static>,
    /// Bytes that were read: those before `start` are done with.
    buffer: Vec<u8>,
    start: usize,
    /// Where the search for a line feed goes on.
    searched: usize,
    ended: bool,
}

impl Input {
    pub(super) fn one(payload: Vec<u8>, times: u64) -> Self {
        Self::One {
            payload,
            left: times,
            total: times,
        }
    }

    pub(super) fn lines(times: u64) -> Result<Self, Failure> {
        if times == 1 {
            let stdin = io::stdin().lock();
            return Ok(Self::Lines(Lines {
                stdin,
                buffer: Vec::new(),
                start: 0,
                searched: 0,
                ended: false,
            }));
        }
        let text = everything()?;
        let feeds = text.iter().filter(|byte| **byte == b'\n').count();
        // The last line may lack its line feed.
        let last = text.last().is_some_and(|byte| *byte != b'\n');
        Ok(Self::Again {
            at: 0,
            left: times,
            lines: feeds as u64 + u64::from(last),
            text,
        })
    }

    /// How many records there are, where that is known.
    pub(super) fn total(&self) -> Option<u64> {
        match self {
            Self::One { total, .. } => Some(*total).filter(|total| *total > 1),
            Self::Lines(_) | Self::Again { .. } => None,
        }
    }

    /// What the record of this number, from 0, is called where it is one of several.
    pub(super) fn place(&self, number: u64) -> Option<String> {
        match self {
            Self::One { total: 1, .. } => None,
            Self::One { .. } => Some(format!("record {}", number + 1)),
            Self::Lines(_) => Some(format!("line {}", number + 1)),
            Self::Again { lines, .. } => Some(format!("line {}", number % (*lines).max(1) + 1)),
        }
    }

    pub(super) fn next(&mut self) -> Result<Next<'_>, Failure> {
        match self {
            Self::One { left: 0, .. } => Ok(Next::End),
            Self::One { payload, left, .. } => {
                *left -= 1;
                Ok(Next::Record(payload))
            }
            Self::Lines(lines) => lines.next(),
            Self::Again { text, at, left, .. } => {
                if *at == text.len() {
                    *left = left.saturating_sub(1);
                    *at = 0;
                }
                if *left == 0 || text.is_empty() {
                    return Ok(Next::End);
                }
                let rest = &text[*at..];
                let end = rest.iter().position(|byte| *byte == b'\n');
                *at += end.map_or(rest.len(), |end| end + 1);
                Ok(Next::Record(&rest[..end.unwrap_or(rest.len())]))
            }
        }
    }
}

impl Lines {
    fn next(&mut self) -> Result<Next<'_>, Failure> {
        loop {
            let feed = self.buffer[self.searched..]
                .iter()
                .position(|byte| *byte == b'\n');
            if let Some(feed) = feed {
                let (start, end) = (self.start, self.searched + feed);
                self.start = end + 1;
                self.searched = self.start;
                return Ok(Next::Record(&self.buffer[start..end]));
            }
            self.searched = self.buffer.len();
            if self.ended {
                // The last line may lack its line feed.
                let start = std::mem::replace(&mut self.start, self.buffer.len());
                return Ok(if start < self.buffer.len() {
                    Next::Record(&self.buffer[start..])
                } else {
                    Next::End
                });
            }
            if self.buffer.len() - self.start > LONGEST_LINE {
                return Ok(Next::TooLong);
            }
            if !self.readable()? {
                return Ok(Next::Wait);
            }
            self.read()?;
        }
    }

    /// Whether reading would not wait.
    fn readable(&self) -> Result<bool, Failure> {
        let mut fds = [PollFd::new(&self.stdin, PollFlags::IN)];
        match rustix::event::poll(
            &mut fds,
            Some(&Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            }),
        ) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(unreadable(&error.into())),
        }
    }

    fn read(&mut self) -> Result<(), Failure> {
        // What is done with goes before more is read, so that the buffer holds a line or two and a read.
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        let read = self.stdin.fill_buf().map_err(|error| unreadable(&error))?;
        let count = read.len();
        self.buffer.extend_from_slice(read);
        self.stdin.consume(count);
        self.ended = count == 0;
        Ok(())
    }
}

/// All of standard input.
pub(in crate::cli) fn everything() -> Result<Vec<u8>, Failure> {
    everything_of(io::stdin().lock(), MOST_BYTES)
}

/// All of it, or nothing where that is more than can be held.
fn everything_of(input: impl Read, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = input.take(bytes_max + 1).read_to_end(&mut bytes);
    let read = read.map_err(|error| unreadable(&error))?;
    if read as u64 > bytes_max {
        return Err(Failure::Machine(format!(
            "standard input has more than {}, the most that is held in memory",
            Bytes(bytes_max)
        )));
    }
    Ok(bytes)
}

fn unreadable(error: &io::Error) -> Failure {
    Failure::Machine(format!("cannot read standard input: {error}"))
}

/// The largest record of any server.
pub(super) const LONGEST_LINE: usize = 16 << 20;
/// What is held in memory at most.
const MOST_BYTES: u64 = 4 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_that_is_more_than_can_be_held_is_refused_and_not_cut() {
        assert_eq!(everything_of(&b"1234"[..], 4).unwrap(), b"1234");
        let refusal = everything_of(&b"12345"[..], 4).unwrap_err();
        let text = "standard input has more than 4B, the most that is held in memory";
        assert_eq!((refusal.number(), refusal.to_string().as_str()), (6, text));
    }
}
