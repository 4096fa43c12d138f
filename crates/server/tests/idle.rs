//! What a server costs that nobody uses: next to no processor time, and little memory. With the defaults, as they are on two cores.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server with its defaults but for the address, so that it does not meet another one, and for the workers, of which more cores have more.
struct Server {
    process: Child,
    _directory: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ready = directory.path().join("ready");
        let process = Command::new(env!("CARGO_BIN_EXE_trunkline"))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--workers",
                "1",
                "--data",
            ])
            .arg(directory.path().join("data"))
            .arg("--ready-file")
            .arg(&ready)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self {
            process,
            _directory: directory,
        };
        let end = Instant::now() + Duration::from_secs(60);
        while !ready.exists() {
            assert!(Instant::now() < end, "the server does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    fn proc(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.process.id());
        fs::read_to_string(Path::new(&path)).unwrap()
    }

    /// Nanoseconds on a processor, of all threads.
    fn busy_ns(&self) -> u64 {
        let tasks = format!("/proc/{}/task", self.process.id());
        let threads = fs::read_dir(tasks).unwrap();
        threads
            .map(|thread| {
                let path = thread.unwrap().path().join("schedstat");
                let text = fs::read_to_string(path).unwrap_or_default();
                let busy = text.split_whitespace().next();
                busy.map_or(0, |busy| busy.parse().unwrap())
            })
            .sum()
    }

    fn resident_kib(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        line.and_then(|line| line.split_whitespace().nth(1))
            .unwrap()
            .parse()
            .unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Processor time, not time on a clock: what else the machine does makes it no more.
#[test]
fn an_idle_server_takes_less_than_half_a_percent_of_a_core_and_40_mb() {
    let server = Server::start();
    assert!(
        server.busy_ns() > 0,
        "the system keeps no account of threads"
    );
    // What starting left to do: the file of the next segment is made.
    let mut before = server.busy_ns();
    let mut settled = Instant::now();
    while settled.elapsed() < Duration::from_millis(500) {
        std::thread::sleep(Duration::from_millis(50));
        let now = server.busy_ns();
        if now - before > BUSY_NS {
            settled = Instant::now();
        }
        before = now;
    }
    let (begin, busy_ns) = (Instant::now(), server.busy_ns());
    std::thread::sleep(Duration::from_secs(3));
    let busy_ns = server.busy_ns() - busy_ns;
    let share = busy_ns as f64 / begin.elapsed().as_nanos() as f64;
    let resident_kib = server.resident_kib();
    println!("{:.3} % of a core, {resident_kib} KiB", share * 100.0);
    assert!(share < 0.005, "{:.3} % of a core", share * 100.0);
    assert!(resident_kib < 40_000, "{resident_kib} KiB are resident");
}

/// More than this in 50 ms, and the server is still starting.
const BUSY_NS: u64 = 2_500_000;
