//! How many slots a ring has: known when it is compiled, or when it is built.

use std::fmt;

/// The number of slots of a ring, a power of two. Implemented by [`Fixed`] and [`Dynamic`] only.
pub trait Capacity: Copy + Send + Sync + fmt::Debug + sealed::Sealed {
    /// The number of slots.
    fn slots(self) -> usize;

    /// How many elements popped one by one are given back together: a sixteenth of the slots, at
    /// most 64, at least one.
    fn group(self) -> usize;

    /// The slot of `position`, which counts the elements of the ring's whole history.
    #[inline(always)]
    fn index(self, position: usize) -> usize {
        position & (self.slots() - 1)
    }
}

/// `N` slots, known at compile time: the mask is part of the instructions.
///
/// ```compile_fail
/// let ring = trunkline_ring::spsc::RingBuffer::<u64, 1000>::new(); // not a power of two
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Fixed<const N: usize>(());

impl<const N: usize> Fixed<N> {
    pub(crate) const NEW: Self = {
        assert!(
            N.is_power_of_two() && N <= SLOTS_MAX,
            "a ring's capacity must be a power of two"
        );
        Self(())
    };
}

impl<const N: usize> Capacity for Fixed<N> {
    #[inline(always)]
    fn slots(self) -> usize {
        N
    }

    #[inline(always)]
    fn group(self) -> usize {
        const { group_of(N) }
    }
}

/// A number of slots chosen at run time.
#[derive(Clone, Copy, Debug)]
pub struct Dynamic {
    /// A power of two, at most [`SLOTS_MAX`].
    slots: usize,
    /// Kept, because it is needed for each element popped.
    group: usize,
}

impl Dynamic {
    pub(crate) fn new(slots: usize) -> Result<Self, BadCapacity> {
        if slots.is_power_of_two() && slots <= SLOTS_MAX {
            Ok(Self {
                slots,
                group: group_of(slots),
            })
        } else {
            Err(BadCapacity(slots))
        }
    }
}

impl Capacity for Dynamic {
    #[inline(always)]
    fn slots(self) -> usize {
        self.slots
    }

    #[inline(always)]
    fn group(self) -> usize {
        self.group
    }
}

/// A capacity that is not a power of two, or too large for positions to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadCapacity(pub usize);

impl fmt::Display for BadCapacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a ring's capacity must be a power of two of at most {SLOTS_MAX} slots: {}",
            self.0
        )
    }
}

impl std::error::Error for BadCapacity {}

impl From<BadCapacity> for std::io::Error {
    fn from(error: BadCapacity) -> Self {
        Self::new(std::io::ErrorKind::InvalidInput, error)
    }
}

/// A power of two, like `slots`.
const fn group_of(slots: usize) -> usize {
    match slots / 16 {
        0 => 1,
        group if group > 64 => 64,
        group => group,
    }
}

mod sealed {
    pub trait Sealed {}
    impl<const N: usize> Sealed for super::Fixed<N> {}
    impl Sealed for super::Dynamic {}
}

/// Differences of positions that wrap stay unambiguous below half of their range.
const SLOTS_MAX: usize = 1 << (usize::BITS - 2);
