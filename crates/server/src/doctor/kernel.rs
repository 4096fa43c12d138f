//! Cores, clock, wake-ups, io_uring and limits.

use std::fs;
use std::hint;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use serde::Serialize;
use trunkline_reactor::{AnyReactor, Config, IoBackend, Topology};

use super::percentiles;

/// Cores, topology, frequency.
#[derive(Debug, Clone, Serialize)]
pub struct CpuReport {
    /// The processor's name.
    pub model: String,
    /// Logical CPUs that this process may use.
    pub cpus: usize,
    /// Physical cores behind them.
    pub cores: usize,
    /// NUMA nodes behind them.
    pub nodes: usize,
    /// The frequency governor, where the system has one.
    pub governor: Option<String>,
    /// Whether a hypervisor is below.
    pub virtual_machine: bool,
}

/// The clock.
#[derive(Debug, Clone, Serialize)]
pub struct ClockReport {
    /// The kernel's clock source.
    pub source: String,
    /// Reading it once.
    pub read_ns: u64,
}

/// Waking a sleeping thread.
#[derive(Debug, Clone, Serialize)]
pub struct WakeReport {
    /// From one thread to another that sleeps, one way.
    pub parked_ns_p50: u64,
    /// The same to one that polls; absent on a single CPU.
    pub spinning_ns_p50: Option<u64>,
}

/// How workers can talk to the kernel.
#[derive(Debug, Clone, Serialize)]
pub struct IoReport {
    /// Whether io_uring works.
    pub io_uring: bool,
    /// Why it does not.
    pub refused: Option<String>,
    /// What `auto` takes.
    pub auto: String,
    /// Why.
    pub reason: String,
    /// The kernel's version.
    pub kernel: String,
}

/// Limits of this process.
#[derive(Debug, Clone, Serialize)]
pub struct MemoryReport {
    /// Physical memory.
    pub total_bytes: u64,
    /// Memory that may be locked; absent when unlimited.
    pub memlock_bytes: Option<u64>,
    /// Files and sockets that may be open; absent when unlimited.
    pub open_files: Option<u64>,
}

pub(super) fn cpu(advice: &mut Vec<String>) -> CpuReport {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let topology = Topology::detect();
    let governor = word("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    if governor
        .as_ref()
        .is_some_and(|governor| governor != "performance")
    {
        advice.push(
            "the frequency governor is not `performance`: latencies after a pause will be higher"
                .to_owned(),
        );
    }
    let virtual_machine = info.lines().any(|line| {
        line.starts_with("flags") && line.split_whitespace().any(|flag| flag == "hypervisor")
    });
    if topology.cpus().len() == 1 {
        advice.push("there is one CPU: idle strategy `park` leaves it to others".to_owned());
    }
    CpuReport {
        model: model.map_or_else(|| "unknown".to_owned(), |model| model.1.trim().to_owned()),
        cpus: topology.cpus().len(),
        cores: topology.cores(),
        nodes: topology.nodes(),
        governor,
        virtual_machine,
    }
}

pub(super) fn clock(advice: &mut Vec<String>) -> ClockReport {
    let source = word("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    let source = source.unwrap_or_else(|| "unknown".to_owned());
    const READS: u32 = 10_000;
    let begin = Instant::now();
    for _ in 0..READS {
        hint::black_box(Instant::now());
    }
    let read_ns = (begin.elapsed() / READS).as_nanos() as u64;
    if read_ns > 200 {
        advice.push(format!(
            "reading the clock ({source}) takes {read_ns} ns: it goes through the kernel; a tsc or kvm-clock source would not"
        ));
    }
    ClockReport { source, read_ns }
}

pub(super) fn wake() -> WakeReport {
    let parked = ping_pong(true);
    let several = std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1);
    let spinning = if several { ping_pong(false) } else { None };
    WakeReport {
        parked_ns_p50: parked.unwrap_or_default(),
        spinning_ns_p50: spinning,
    }
}

pub(super) fn io(advice: &mut Vec<String>) -> IoReport {
    let config = Config::default();
    let refused = AnyReactor::new(IoBackend::IoUring, &config)
        .err()
        .map(|error| error.to_string());
    if let Some(refusal) = &refused {
        advice.push(format!(
            "io_uring cannot be used ({refusal}); epoll takes its place"
        ));
    }
    let (auto, reason) = match AnyReactor::new(IoBackend::Auto, &config) {
        Ok((_, choice)) => {
            let name = if choice.backend == IoBackend::IoUring {
                "io_uring"
            } else {
                "epoll"
            };
            (name.to_owned(), choice.reason)
        }
        Err(error) => ("none".to_owned(), error.to_string()),
    };
    let kernel = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    IoReport {
        io_uring: refused.is_none(),
        refused,
        auto,
        reason,
        kernel,
    }
}

pub(super) fn memory(advice: &mut Vec<String>) -> MemoryReport {
    let info = rustix::system::sysinfo();
    let open_files = getrlimit(Resource::Nofile).current;
    if let Some(files) = open_files.filter(|files| *files < 4096) {
        advice.push(format!(
            "this process may open {files} files and sockets; raise it (ulimit -n) for more connections"
        ));
    }
    MemoryReport {
        total_bytes: info.totalram.saturating_mul(u64::from(info.mem_unit)),
        memlock_bytes: getrlimit(Resource::Memlock).current,
        open_files,
    }
}

/// Half of a round trip between two threads, each of which sleeps, or polls, until it is its turn. Each has a CPU of its
/// own where there are two: on one, the scheduler would hand over without waking anything.
fn ping_pong(sleep: bool) -> Option<u64> {
    let cpus = Topology::detect().placement(2);
    let bind = |thread: usize| {
        if let Some(cpu) = cpus.get(thread) {
            // Where binding is not allowed the figure is what the scheduler makes of it.
            let _ = trunkline_reactor::pin_current_thread(*cpu);
        }
    };
    // Even: the first thread's turn; odd: the second's.
    let turn = AtomicU32::new(0);
    let wait_for = |odd: u32| {
        while turn.load(Ordering::Acquire) & 1 != odd {
            if sleep {
                std::thread::park_timeout(Duration::from_millis(100));
            } else {
                hint::spin_loop();
            }
        }
    };
    let (send_first, receive_first) = std::sync::mpsc::channel::<std::thread::Thread>();
    std::thread::scope(|scope| {
        let (turn, wait_for, bind) = (&turn, &wait_for, &bind);
        let second = scope.spawn(move || {
            bind(1);
            let Ok(first) = receive_first.recv() else {
                return;
            };
            for _ in 0..ROUNDS {
                wait_for(1);
                turn.fetch_add(1, Ordering::Release);
                if sleep {
                    first.unpark();
                }
            }
        });
        let second = second.thread().clone();
        let first = scope.spawn(move || {
            bind(0);
            let _ = send_first.send(std::thread::current());
            let mut samples = Vec::with_capacity(ROUNDS as usize);
            for _ in 0..ROUNDS {
                let before = Instant::now();
                turn.fetch_add(1, Ordering::Release);
                if sleep {
                    second.unpark();
                }
                wait_for(0);
                samples.push(before.elapsed().as_nanos() as u64 / 2);
            }
            samples
        });
        let mut samples = first.join().ok()?;
        percentiles(&mut samples).map(|times| times.0)
    })
}

fn word(path: &str) -> Option<String> {
    fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
}

const ROUNDS: u32 = 2_000;
