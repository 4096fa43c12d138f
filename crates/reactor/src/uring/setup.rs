//! Making the ring: the profile, stepping down where a kernel lacks part of it, and saying why when there is none.

use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use io_uring::{IoUring, Probe, cqueue, opcode, squeue, types};
use rustix::io::Errno;

use super::buffers::{BufferRing, GROUP};
use crate::config::UringConfig;
use crate::pool::Pool;

/// The profile: one thread submits; completions are prepared only when that thread asks for them, and a flag in shared memory says
/// when it should.
pub(crate) fn make_ring(config: &UringConfig) -> io::Result<IoUring<squeue::Entry>> {
    match build(config, true) {
        // 6.5 and older do not know a ring without the index array.
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
            build(config, false)
        }
        made => made,
    }
}

/// Whether a ring can be made at all.
pub(crate) fn try_ring(config: &UringConfig) -> io::Result<()> {
    let small = UringConfig {
        entries: 8,
        sqpoll_idle_ms: None,
        ..config.clone()
    };
    make_ring(&small).map(drop)
}

fn build(config: &UringConfig, no_index_array: bool) -> io::Result<IoUring<squeue::Entry>> {
    let mut builder = IoUring::builder();
    builder
        .dontfork()
        .setup_single_issuer()
        .setup_submit_all()
        .setup_clamp();
    builder.setup_cqsize(config.entries.saturating_mul(COMPLETIONS_PER_ENTRY));
    match config.sqpoll_idle_ms {
        Some(idle_ms) => builder.setup_sqpoll(idle_ms),
        None => builder.setup_defer_taskrun().setup_taskrun_flag(),
    };
    if no_index_array {
        builder.setup_no_sqarray();
    }
    builder.build(config.entries)
}

/// Refuses a kernel that lacks what this back-end stands on. Flags of operations cannot be probed, so one multishot receive
/// is tried on a pair of sockets.
pub(crate) fn check(
    ring: &mut IoUring<squeue::Entry>,
    buffers: &mut BufferRing,
    pool: &mut Pool,
) -> io::Result<()> {
    let params = ring.params();
    if !(params.is_feature_nodrop()
        && params.is_feature_ext_arg()
        && params.is_feature_submit_stable())
    {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the kernel's io_uring lacks nodrop, ext_arg or submit_stable",
        ));
    }
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    let needed = [
        opcode::SendMsg::CODE,
        opcode::AcceptMulti::CODE,
        opcode::AsyncCancel2::CODE,
        opcode::PollAdd::CODE,
    ];
    if let Some(missing) = needed.into_iter().find(|code| !probe.is_supported(*code)) {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("the kernel's io_uring lacks operation {missing}"),
        ));
    }
    try_multishot_receive(ring, buffers, pool)
}

fn try_multishot_receive(
    ring: &mut IoUring<squeue::Entry>,
    buffers: &mut BufferRing,
    pool: &mut Pool,
) -> io::Result<()> {
    let lacking = || {
        io::Error::new(
            io::ErrorKind::Unsupported,
            "the kernel's io_uring lacks multishot receive",
        )
    };
    let (mut near, far) = UnixStream::pair()?;
    near.write_all(&[1])?;
    drop(near);
    let receive = opcode::RecvMulti::new(types::Fd(far.as_raw_fd()), GROUP).build();
    // SAFETY: the operation names a descriptor that is open until this function has seen its end, and no memory of ours but the
    // registered buffers.
    unsafe { ring.submission().push(&receive) }.map_err(|_| lacking())?;
    let mut received = false;
    loop {
        ring.submit_and_wait(1)?;
        let mut ended = false;
        for completion in ring.completion() {
            if let Some(id) = cqueue::buffer_select(completion.flags()) {
                received |= completion.result() == 1;
                buffers.took_one();
                buffers.add(id, pool.address(id), pool.bytes_each());
            }
            ended |= !cqueue::more(completion.flags());
        }
        buffers.publish();
        if ended {
            return if received { Ok(()) } else { Err(lacking()) };
        }
    }
}

/// What an operator can do about a ring that could not be made.
pub(crate) fn explain(error: &io::Error) -> String {
    let remedy = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::PERM) if sysctl_disabled() => {
            "kernel.io_uring_disabled forbids it: set that sysctl to 0"
        }
        Some(Errno::PERM | Errno::ACCESS) => {
            "refused by a seccomp profile or security module: container runtimes do so by default; allow io_uring_setup, io_uring_enter and io_uring_register"
        }
        Some(Errno::NOSYS) => "the kernel was built without it, or a sandbox hides it",
        Some(Errno::NOMEM) => "not enough lockable memory: raise RLIMIT_MEMLOCK (ulimit -l)",
        Some(Errno::INVAL) => "the kernel is older than 6.1",
        Some(Errno::MFILE | Errno::NFILE) => "no descriptors left: raise RLIMIT_NOFILE (ulimit -n)",
        _ => return format!("io_uring cannot be used: {error}"),
    };
    format!("io_uring cannot be used: {error}: {remedy}")
}

fn sysctl_disabled() -> bool {
    std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .is_ok_and(|value| switches_off(&value))
}

/// 0 allows it to everybody, 1 to the privileged, 2 to nobody.
fn switches_off(value: &str) -> bool {
    value.trim() != "0"
}

const COMPLETIONS_PER_ENTRY: u32 = 8;

#[cfg(test)]
#[path = "../../tests/machine/mod.rs"]
mod machine;

#[cfg(test)]
mod tests {
    use super::machine::has_io_uring;
    use super::*;

    /// What only a ring with these flags does: a completion is prepared when its thread asks for it and not in whatever system call comes
    /// before, and no other thread may submit. SQPOLL has a thread of the kernel's instead.
    #[test]
    fn completions_wait_until_the_one_thread_that_submits_asks_for_them() {
        if !has_io_uring() {
            return;
        }
        let config = UringConfig::default();
        let mut ring = make_ring(&config).unwrap();
        assert!(ring.params().is_setup_single_issuer() && !ring.params().is_setup_sqpoll());
        let (mut near, far) = UnixStream::pair().unwrap();
        let readable = libc::POLLIN as u32;
        let poll = opcode::PollAdd::new(types::Fd(far.as_raw_fd()), readable).build();
        // SAFETY: the operation names a descriptor that is open until its completion has come, and no memory.
        unsafe { ring.submission().push(&poll) }.unwrap();
        assert_eq!(ring.submit().unwrap(), 1);
        // Without DEFER_TASKRUN, the completion is there on the way back from this call.
        near.write_all(&[1]).unwrap();
        assert_eq!(ring.completion().count(), 0);
        assert!(ring.submission().taskrun());
        let shared = &ring;
        let elsewhere = std::thread::scope(|scope| {
            let submitted = scope.spawn(|| shared.submitter().submit_and_wait(1));
            submitted.join().unwrap()
        });
        let error = elsewhere.unwrap_err().raw_os_error();
        assert_eq!(error, Some(Errno::EXIST.raw_os_error()));
        ring.submit_and_wait(1).unwrap();
        assert_eq!(ring.completion().count(), 1);
    }

    #[test]
    fn the_sysctl_switches_off_unless_it_is_0() {
        assert!(!switches_off("0\n"));
        assert!(switches_off("1\n") && switches_off("2\n"));
    }
}
