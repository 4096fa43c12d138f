//! A raw stretch of memory with one owner: obtained, made present, given back on drop.
//!
//! Owns the calls to the system and nothing else. It gives out addresses; who may read or write
//! behind them is decided by the types above it.

use std::io;
use std::ptr::NonNull;

use super::PAGE_BYTES_MIN;

/// A mapping of `bytes` addressable bytes; a mirrored one has `bytes / 2` bytes of memory behind them.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    /// Addressable bytes, the length that is unmapped on drop.
    bytes: usize,
}

// SAFETY: the mapping is plain memory that no thread owns in particular; the address is only
// dereferenced by the owning types, which order their accesses.
unsafe impl Send for Mapping {}
// SAFETY: `&Mapping` only gives out the address and the length, both constant.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Private zeroed memory of `bytes`, which must be a positive multiple of the page size.
    pub(crate) fn private(bytes: usize) -> io::Result<Self> {
        check_pages(bytes)?;
        system::private(bytes)
    }

    /// Zeroed memory that can be shared with other processes, of `bytes`, mapped once.
    pub(crate) fn shared(bytes: usize) -> io::Result<Self> {
        check_pages(bytes)?;
        system::shared(bytes)
    }

    /// Zeroed memory of `bytes` mapped twice in a row: `2 * bytes` addressable bytes.
    ///
    /// The model builds (Miri, loom) have no such mapping: there the second half is other memory,
    /// and [`Mirror`](super::Mirror) refuses a stretch that would reach into it.
    pub(crate) fn mirrored(bytes: usize) -> io::Result<Self> {
        check_pages(bytes)?;
        if bytes
            .checked_mul(2)
            .is_none_or(|both| both > isize::MAX as usize)
        {
            return Err(invalid(format!(
                "a mirror of {bytes} bytes exceeds the address space"
            )));
        }
        system::mirrored(bytes)
    }

    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        system::release(self);
    }
}

fn check_pages(bytes: usize) -> io::Result<()> {
    let page = system::page_bytes();
    if bytes == 0 || !bytes.is_multiple_of(page) {
        return Err(invalid(format!(
            "{bytes} bytes is not a positive multiple of the page size, {page} bytes"
        )));
    }
    if bytes > isize::MAX as usize {
        return Err(invalid(format!("{bytes} bytes exceeds the address space")));
    }
    // All of it is made present: what cannot be there would end in the kernel killing a process.
    let machine = system::memory_bytes();
    if bytes as u64 > machine {
        return Err(io::Error::new(
            io::ErrorKind::OutOfMemory,
            format!("{bytes} bytes exceeds the memory of this machine, {machine} bytes"),
        ));
    }
    Ok(())
}

pub(super) fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

#[cfg(all(target_os = "linux", not(miri), not(loom)))]
mod system {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::ptr::{self, NonNull};

    use rustix::fs::{
        FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, ftruncate, memfd_create,
    };
    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

    use super::{Mapping, PAGE_BYTES_MIN};

    pub(super) fn page_bytes() -> usize {
        rustix::param::page_size().max(PAGE_BYTES_MIN)
    }

    pub(super) fn memory_bytes() -> u64 {
        let system = rustix::system::sysinfo();
        system.totalram.saturating_mul(u64::from(system.mem_unit))
    }

    pub(super) fn private(bytes: usize) -> io::Result<Mapping> {
        let mapping = reserve(bytes, ProtFlags::READ | ProtFlags::WRITE)?;
        make_present(&mapping)?;
        Ok(mapping)
    }

    pub(super) fn shared(bytes: usize) -> io::Result<Mapping> {
        let memory = memory_file(bytes)?;
        let mapping = reserve(bytes, ProtFlags::empty())?;
        map_over(&mapping, 0, bytes, &memory)?;
        make_present(&mapping)?;
        Ok(mapping)
    }

    pub(super) fn mirrored(bytes: usize) -> io::Result<Mapping> {
        let memory = memory_file(bytes)?;
        let mapping = reserve(2 * bytes, ProtFlags::empty())?;
        map_over(&mapping, 0, bytes, &memory)?;
        map_over(&mapping, bytes, bytes, &memory)?;
        make_present(&mapping)?;
        Ok(mapping)
    }

    pub(super) fn release(mapping: &mut Mapping) {
        // SAFETY: `base..base + bytes` was mapped by `reserve`, belongs to this mapping alone, and
        // its owner is being dropped, so that nobody holds a reference into it.
        let unmapped = unsafe { munmap(mapping.base.as_ptr().cast(), mapping.bytes) };
        debug_assert!(
            unmapped.is_ok(),
            "unmapping what was mapped failed: {unmapped:?}"
        );
    }

    fn reserve(bytes: usize, protection: ProtFlags) -> io::Result<Mapping> {
        // SAFETY: no address is asked for, so that no other mapping is replaced.
        let base =
            unsafe { mmap_anonymous(ptr::null_mut(), bytes, protection, MapFlags::PRIVATE) }?;
        let base = NonNull::new(base.cast()).expect("the system maps nothing at address zero");
        Ok(Mapping { base, bytes })
    }

    /// Memory without a name, of `bytes`, all allocated now and of this size for ever, so that an
    /// access can never end in SIGBUS.
    fn memory_file(bytes: usize) -> io::Result<OwnedFd> {
        let memory = memfd_create("trunkline", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&memory, bytes as u64)?;
        fallocate(&memory, FallocateFlags::empty(), 0, bytes as u64)?;
        fcntl_add_seals(
            &memory,
            SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
        )?;
        Ok(memory)
    }

    fn map_over(
        mapping: &Mapping,
        offset: usize,
        bytes: usize,
        memory: &OwnedFd,
    ) -> io::Result<()> {
        assert!(offset <= mapping.bytes && bytes <= mapping.bytes - offset);
        let target = mapping.base.as_ptr().wrapping_add(offset).cast();
        // SAFETY: the target lies within the stretch that `reserve` took for this mapping (asserted
        // above), so that FIXED replaces only our own, still unused, reservation.
        unsafe {
            mmap(
                target,
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::FIXED,
                memory,
                0,
            )
        }?;
        Ok(())
    }

    /// Takes all page faults now, through every address, and keeps the mapping out of forks.
    fn make_present(mapping: &Mapping) -> io::Result<()> {
        let base = mapping.base.as_ptr();
        // SAFETY: the stretch is ours; the advice changes no byte and drops no page.
        unsafe { madvise(base.cast(), mapping.bytes, Advice::LinuxDontFork) }?;
        // SAFETY: as above; populating faults pages in for writing without changing their content.
        let populated = unsafe { madvise(base.cast(), mapping.bytes, Advice::LinuxPopulateWrite) };
        match populated {
            Ok(()) => Ok(()),
            // Linux before 5.14 does not know the advice.
            Err(rustix::io::Errno::INVAL) => {
                touch(mapping);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    #[cold]
    fn touch(mapping: &Mapping) {
        for offset in (0..mapping.bytes).step_by(PAGE_BYTES_MIN) {
            let byte = mapping.base.as_ptr().wrapping_add(offset);
            // SAFETY: the byte lies within the mapping, which is readable and writable, still zero
            // everywhere, and known to nobody else; volatile, because only the fault is wanted.
            unsafe { byte.write_volatile(0) };
        }
    }
}

/// The heap in place of mappings: for model checkers, and for systems without memfd.
#[cfg(not(all(target_os = "linux", not(miri), not(loom))))]
mod system {
    use std::alloc::{Layout, alloc_zeroed, dealloc};
    use std::io;
    use std::ptr::NonNull;

    use super::{Mapping, PAGE_BYTES_MIN};

    pub(super) fn page_bytes() -> usize {
        PAGE_BYTES_MIN
    }

    pub(super) fn memory_bytes() -> u64 {
        u64::MAX
    }

    pub(super) fn private(bytes: usize) -> io::Result<Mapping> {
        let layout = layout(bytes);
        // SAFETY: `check_pages` refused a size of zero.
        let base =
            NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping { base, bytes })
    }

    pub(super) fn shared(bytes: usize) -> io::Result<Mapping> {
        private(bytes)
    }

    #[cfg(any(miri, loom))]
    pub(super) fn mirrored(bytes: usize) -> io::Result<Mapping> {
        private(2 * bytes)
    }

    #[cfg(not(any(miri, loom)))]
    pub(super) fn mirrored(_bytes: usize) -> io::Result<Mapping> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "memory mapped twice is available on linux only",
        ))
    }

    pub(super) fn release(mapping: &mut Mapping) {
        // SAFETY: allocated by `private` with this layout, and its owner is being dropped.
        unsafe { dealloc(mapping.base.as_ptr(), layout(mapping.bytes)) };
    }

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, PAGE_BYTES_MIN).expect("`check_pages` limits the size")
    }
}
