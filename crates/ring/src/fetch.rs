//! Lines fetched before they are written.

/// So many elements ahead of the one that it writes a producer fetches.
pub(crate) const AHEAD: usize = 16;

/// Begins to fetch the line of `place` for writing: who reads a ring has its lines, and a store that waits for one holds up
/// all stores behind it. To be called for what is free: of anything else it would take the line away from its reader.
#[inline(always)]
pub(crate) fn for_writing<T>(place: *const T) {
    let _ = place;
    // SAFETY: a hint: it reads and writes nothing that a program can see, and does not fault. Processors that do not know it do
    // nothing.
    #[cfg(all(target_arch = "x86_64", not(any(miri, loom))))]
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) place, options(nostack, preserves_flags, readonly));
    }
    // SAFETY: as above.
    #[cfg(all(target_arch = "aarch64", not(any(miri, loom))))]
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{}]", in(reg) place, options(nostack, preserves_flags, readonly));
    }
}

/// Whether a producer that writes `position` fetches the `T` that is [`AHEAD`]: where that is free, below `limit`, once for
/// each line.
#[inline(always)]
pub(crate) fn is_due<T>(position: usize, limit: usize) -> bool {
    position.is_multiple_of(const { per_line::<T>() }) && limit.wrapping_sub(position) > AHEAD
}

/// So many elements in a row reach no further than the next line: a power of two.
pub(crate) const fn per_line<T>() -> usize {
    match size_of::<T>() {
        0 => LINE_BYTES,
        bytes if bytes >= LINE_BYTES => 1,
        bytes => 1 << (LINE_BYTES / bytes).ilog2(),
    }
}

// No line lies between two that are fetched.
const _: () = assert!(per_line::<u64>() == 8 && per_line::<[u8; 20]>() == 2);
const _: () = assert!(per_line::<[u8; 40]>() == 1 && per_line::<[u8; 200]>() == 1);

const LINE_BYTES: usize = 64;
/// So many lines a processor fetches at once.
pub(crate) const LINES_MAX: usize = 16;
