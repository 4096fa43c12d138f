//! `Auto` where `io_uring` is forbidden: by a seccomp filter, as container runtimes set it, by the sysctl, or by limits. Each case runs
//! in a process of its own, because none of it can be taken back.

#[path = "../../server/tests/support/skipped.rs"]
mod skipped;

use std::ffi::CStr;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use skipped::skipped;
use trunkline_reactor::{AnyReactor, Completion, Config, IoBackend, Op, Reactor, SocketId, Wait};

/// Runs one test of this file again, as a child in which `what` is forbidden.
fn in_a_child(test: &str, what: &str) -> Option<String> {
    if std::env::var("FORBIDDEN").as_deref() == Ok(what) {
        return None;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("FORBIDDEN", what)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned()
        + &String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{said}");
    Some(said)
}

#[test]
fn auto_takes_epoll_and_says_why_when_seccomp_answers_eperm() {
    if let Some(said) = in_a_child(
        "auto_takes_epoll_and_says_why_when_seccomp_answers_eperm",
        "eperm",
    ) {
        return assert!(said.contains("it echoes"), "{said}");
    }
    forbid_io_uring(libc::EPERM);
    let (mut reactor, choice) = AnyReactor::new(IoBackend::Auto, &Config::default()).unwrap();
    assert_eq!(choice.backend, IoBackend::Epoll);
    assert!(choice.reason.contains("seccomp"), "{}", choice.reason);
    echo(&mut reactor);
    // Who asks for io_uring by name gets the error, not something else.
    let refused = AnyReactor::new(IoBackend::IoUring, &Config::default())
        .err()
        .unwrap();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    assert!(refused.to_string().contains("seccomp"), "{refused}");
}

/// The sysctl is one for the whole machine, so nobody changes it: the child sees another file in its place, and the filter answers
/// as the kernel does then.
#[test]
fn auto_takes_epoll_and_names_the_sysctl_that_switches_io_uring_off() {
    let test = "auto_takes_epoll_and_names_the_sysctl_that_switches_io_uring_off";
    if let Some(said) = in_a_child(test, "sysctl") {
        if said.contains(NO_MOUNT) {
            skipped(NO_MOUNT);
            return;
        }
        return assert!(said.contains("it echoes"), "{said}");
    }
    if let Err(error) = show_the_sysctl_as(c"2\n") {
        println!("{NO_MOUNT}: {error}");
        return;
    }
    forbid_io_uring(libc::EPERM);
    let (mut reactor, choice) = AnyReactor::new(IoBackend::Auto, &Config::default()).unwrap();
    assert_eq!(choice.backend, IoBackend::Epoll);
    let remedy = "kernel.io_uring_disabled forbids it: set that sysctl to 0";
    assert!(choice.reason.contains(remedy), "{}", choice.reason);
    echo(&mut reactor);
    let refused = AnyReactor::new(IoBackend::IoUring, &Config::default())
        .err()
        .unwrap();
    assert!(refused.to_string().contains(remedy), "{refused}");
}

#[test]
fn auto_takes_epoll_and_says_why_when_there_is_no_io_uring() {
    if let Some(said) = in_a_child(
        "auto_takes_epoll_and_says_why_when_there_is_no_io_uring",
        "enosys",
    ) {
        return assert!(said.contains("it echoes"), "{said}");
    }
    forbid_io_uring(libc::ENOSYS);
    let (mut reactor, choice) = AnyReactor::new(IoBackend::Auto, &Config::default()).unwrap();
    assert_eq!(choice.backend, IoBackend::Epoll);
    assert!(
        choice.reason.contains("built without it"),
        "{}",
        choice.reason
    );
    echo(&mut reactor);
}

#[test]
fn auto_takes_epoll_when_no_memory_may_be_locked() {
    if let Some(said) = in_a_child("auto_takes_epoll_when_no_memory_may_be_locked", "enomem") {
        return assert!(said.contains("it echoes"), "{said}");
    }
    // A kernel before 5.12, or one whose accounting refuses, answers ENOMEM; newer ones do not count the rings themselves.
    forbid_io_uring(libc::ENOMEM);
    let (mut reactor, choice) = AnyReactor::new(IoBackend::Auto, &Config::default()).unwrap();
    assert_eq!(choice.backend, IoBackend::Epoll);
    assert!(
        choice.reason.contains("RLIMIT_MEMLOCK"),
        "{}",
        choice.reason
    );
    echo(&mut reactor);
}

#[test]
fn works_without_lockable_memory_and_without_the_right_to_ignore_the_limit() {
    let test = "works_without_lockable_memory_and_without_the_right_to_ignore_the_limit";
    if let Some(said) = in_a_child(test, "memlock") {
        return assert!(said.contains("it echoes"), "{said}");
    }
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the limit is readable; lowering it concerns this child only.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &none) }, 0);
    // SAFETY: no memory is involved; a refusal (no rights to give up) is as good.
    unsafe {
        libc::prctl(libc::PR_CAPBSET_DROP, 14 /* CAP_IPC_LOCK */, 0, 0, 0)
    };
    let (mut reactor, choice) = AnyReactor::new(IoBackend::Auto, &Config::default()).unwrap();
    println!("{choice:?}");
    echo(&mut reactor);
}

/// What is served before is served after the fall-back.
fn echo(reactor: &mut AnyReactor) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listener = reactor.add_listener(listener).unwrap();
    reactor.stage(Op::Accept { listener }, 1).unwrap();
    let peer = std::thread::spawn(move || {
        let mut peer = TcpStream::connect(address).unwrap();
        peer.write_all(b"hello").unwrap();
        let mut back = [0; 5];
        peer.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello");
    });
    let mut out = [Completion::default(); 8];
    let mut sent = false;
    while !sent {
        reactor.submit_and_wait(1, Wait::Forever).unwrap();
        let count = reactor.reap(&mut out);
        for completion in &out[..count] {
            match completion.user_data {
                1 => {
                    let socket = SocketId::from_result(completion.result).unwrap();
                    reactor
                        .stage(Op::RecvMulti { socket }, 2 << 32 | completion.result as u64)
                        .unwrap();
                }
                3 => sent = true,
                word => {
                    let socket = SocketId::from_result(word as u32 as i32).unwrap();
                    let Some(id) = completion.buffer() else {
                        continue;
                    };
                    let (region, offset) = reactor.buffer_slice(id);
                    let slice = trunkline_reactor::Slice {
                        region,
                        offset,
                        len: completion.result as u32,
                    };
                    reactor
                        .stage(
                            Op::Send {
                                socket,
                                slices: &[slice],
                                zero_copy: false,
                            },
                            3,
                        )
                        .unwrap();
                }
            }
        }
    }
    peer.join().unwrap();
    println!("it echoes");
}

/// Puts a file of `contents` in the place of the sysctl's, for this thread and all that it starts.
fn show_the_sysctl_as(contents: &CStr) -> std::io::Result<()> {
    let done = |result: i32| match result {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    };
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), contents.to_bytes())?;
    let path = std::ffi::CString::new(file.path().as_os_str().as_encoded_bytes())?;
    // SAFETY: no memory is involved.
    done(unsafe { libc::unshare(libc::CLONE_NEWNS) })
        // SAFETY: likewise. Who may not has the right in a user namespace, where the system allows that.
        .or_else(|_| done(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) }))?;
    let mount = |source: &CStr, target: &CStr, flags| {
        let (source, target) = (source.as_ptr(), target.as_ptr());
        let none = std::ptr::null();
        // SAFETY: both paths end with a zero and outlive the call; type and data may be null here.
        done(unsafe { libc::mount(source, target, none, flags, none.cast()) })
    };
    // What is mounted here is seen by nobody else.
    mount(c"none", c"/", libc::MS_REC | libc::MS_PRIVATE)?;
    mount(&path, c"/proc/sys/kernel/io_uring_disabled", libc::MS_BIND)
}

const NO_MOUNT: &str = "this user cannot mount a file in the place of a sysctl's";

/// Makes the three calls of `io_uring` fail with `errno`, for this thread and all that it starts.
fn forbid_io_uring(errno: i32) {
    let statement = |code, k| libc::sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    };
    let jump = |k, jt, jf| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt,
        jf,
        k,
    };
    let mut filter = [
        statement((libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, 0),
        jump(libc::SYS_io_uring_setup as u32, 2, 0),
        jump(libc::SYS_io_uring_enter as u32, 1, 0),
        jump(libc::SYS_io_uring_register as u32, 0, 1),
        statement(
            (libc::BPF_RET | libc::BPF_K) as u16,
            libc::SECCOMP_RET_ERRNO | errno as u32,
        ),
        statement(
            (libc::BPF_RET | libc::BPF_K) as u16,
            libc::SECCOMP_RET_ALLOW,
        ),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: no memory is involved.
    let bound = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(bound, 0);
    // SAFETY: the program and its filter live on this stack for the call, which copies them.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}
