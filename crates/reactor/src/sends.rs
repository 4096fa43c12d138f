//! The vectors of sends in flight. An entry is written where it stays and used again as it is: it is over a kilobyte, and
//! most sends use a few words of it.

use crate::op::{Op, RegionId};
use crate::sys::Span;

/// A bounded table whose entries never move: the kernel has their addresses.
pub(crate) struct Sends {
    vectors: Vec<SendVector>,
    free: Vec<u32>,
    capacity: usize,
}

/// A send's slices as the kernel wants them. The regions are held until the send's last completion.
pub(crate) struct SendVector {
    message: libc::msghdr,
    count: usize,
    spans: [libc::iovec; Op::MAX_SLICES],
    regions: [RegionId; Op::MAX_SLICES],
}

impl Sends {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            vectors: Vec::with_capacity(capacity),
            free: Vec::new(),
            capacity,
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.free.is_empty() && self.vectors.len() == self.capacity
    }

    /// An empty vector, to be filled and then sealed.
    pub(crate) fn take(&mut self) -> Option<u32> {
        if let Some(index) = self.free.pop() {
            self.vectors[index as usize].clear();
            return Some(index);
        }
        if self.vectors.len() == self.capacity {
            return None;
        }
        self.vectors.push(SendVector::new());
        Some(self.vectors.len() as u32 - 1)
    }

    pub(crate) fn give(&mut self, index: u32) {
        self.free.push(index);
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> &SendVector {
        &self.vectors[index as usize]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> &mut SendVector {
        &mut self.vectors[index as usize]
    }
}

impl SendVector {
    pub(crate) fn new() -> Self {
        let empty = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        // SAFETY: a message header is integers and pointers, for which zero is a value: nothing, of length 0.
        let message = unsafe { std::mem::zeroed() };
        Self {
            message,
            count: 0,
            spans: [empty; Op::MAX_SLICES],
            regions: [RegionId(0); Op::MAX_SLICES],
        }
    }

    pub(crate) fn clear(&mut self) {
        self.count = 0;
    }

    /// Adds a span of a registered region.
    #[inline]
    pub(crate) fn push(&mut self, span: Span, region: RegionId) {
        self.spans[self.count] = libc::iovec {
            iov_base: span.address.cast_mut().cast(),
            iov_len: span.len,
        };
        self.regions[self.count] = region;
        self.count += 1;
    }

    /// Points the message at the spans.
    pub(crate) fn seal(&mut self) {
        self.message.msg_iov = self.spans.as_mut_ptr();
        self.message.msg_iovlen = self.count as _;
    }

    pub(crate) fn message(&self) -> &libc::msghdr {
        &self.message
    }

    pub(crate) fn regions(&self) -> &[RegionId] {
        &self.regions[..self.count]
    }
}
