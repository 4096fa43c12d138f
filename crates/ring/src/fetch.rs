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

/// How many elements of a kind begin on one line, at most: a power of two.
pub(crate) const fn per_line<T>() -> usize {
    match size_of::<T>() {
        0 => LINE_BYTES,
        bytes if bytes >= LINE_BYTES => 1,
        bytes => (LINE_BYTES / bytes).next_power_of_two(),
    }
}

const LINE_BYTES: usize = 64;
/// So many lines a processor fetches at once.
pub(crate) const LINES_MAX: usize = 16;
