//! What the machine that runs the tests has.

#[path = "../../../server/tests/support/skipped.rs"]
mod skipped;

use io_uring::IoUring;

/// Whether the kernel makes a ring for this process; says so if not. The kernel is asked, and not the code that is tested: where it makes one, a
/// back-end that refuses fails its tests.
pub(crate) fn has_io_uring() -> bool {
    let mut builder = <IoUring>::builder();
    // What came last of all that the back-end stands on, with Linux 6.1.
    builder.setup_single_issuer().setup_defer_taskrun();
    let refused = builder.build(4).err();
    if let Some(error) = &refused {
        skipped::skipped(format_args!("the kernel makes no io_uring here: {error}"));
    }
    refused.is_none()
}
