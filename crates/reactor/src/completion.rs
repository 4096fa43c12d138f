//! What a reactor reports: one 16-byte [`Completion`] per finished step of an operation.

use std::io;

use bitflags::bitflags;

/// One finished step of an operation, in the layout of an `io_uring` completion (16 bytes).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// The word that was given when the operation was staged.
    pub user_data: u64,
    /// The operation's value when it is 0 or more, `-errno` otherwise, the same on every back-end.
    pub result: i32,
    /// Whether more completions follow, and which pool buffer carries the bytes.
    pub flags: CompletionFlags,
}

bitflags! {
    /// The flag half of a [`Completion`]; the upper 16 bits hold a [`BufferId`] when `BUFFER` is set.
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct CompletionFlags: u32 {
        /// The bytes are in a pool buffer, which belongs to the caller until it is recycled.
        const BUFFER = 1;
        /// The operation goes on: more completions with the same `user_data` will follow.
        const MORE = 1 << 1;
        /// The second completion of a zero-copy send: the kernel no longer reads the bytes.
        const NOTIF = 1 << 3;
        // The buffer id lives in the bits that have no name.
        const _ = !0;
    }
}

/// One buffer of the receive pool or of the read pool. Owned by whoever got it in a completion, until it is recycled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferId(u16);

impl Completion {
    /// The value as a count, or the error.
    ///
    /// # Errors
    /// The operation's `errno`.
    pub fn value(&self) -> io::Result<u32> {
        u32::try_from(self.result).map_err(|_| io::Error::from_raw_os_error(-self.result))
    }

    /// The pool buffer that came with this completion.
    pub fn buffer(&self) -> Option<BufferId> {
        self.flags.buffer()
    }

    /// No further completion of this operation will come.
    pub fn is_final(&self) -> bool {
        !self.flags.contains(CompletionFlags::MORE)
    }

    pub(crate) fn new(user_data: u64, result: i32) -> Self {
        Self {
            user_data,
            result,
            flags: CompletionFlags::empty(),
        }
    }

    pub(crate) fn more(self) -> Self {
        Self {
            flags: self.flags | CompletionFlags::MORE,
            ..self
        }
    }

    pub(crate) fn with_buffer(self, id: BufferId) -> Self {
        let named = CompletionFlags::BUFFER.bits() | u32::from(id.0) << 16;
        Self {
            flags: self.flags | CompletionFlags::from_bits_retain(named),
            ..self
        }
    }
}

impl CompletionFlags {
    /// The pool buffer named in the upper half.
    pub fn buffer(self) -> Option<BufferId> {
        self.contains(Self::BUFFER)
            .then_some(BufferId((self.bits() >> 16) as u16))
    }
}

impl BufferId {
    pub(crate) const READ: u16 = 1 << 15;

    pub(crate) const fn receive(index: u16) -> Self {
        Self(index)
    }

    pub(crate) const fn read(index: u16) -> Self {
        Self(index | Self::READ)
    }

    pub(crate) const fn is_read(self) -> bool {
        self.0 & Self::READ != 0
    }

    pub(crate) const fn index(self) -> u16 {
        self.0 & !Self::READ
    }
}

const _: () = assert!(size_of::<Completion>() == 16);
