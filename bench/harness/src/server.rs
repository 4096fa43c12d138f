//! A peer's process: started on a core, watched, ended; and who used the cores while a sample was taken.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{Failure, cores};

/// A running server with a directory of its own; both are gone when this is dropped.
pub struct Server {
    child: Child,
    name: String,
    folder: TempDir,
}

impl Server {
    /// A fresh directory below `data` for a server that is still to be started.
    ///
    /// # Errors
    /// When there can be none.
    pub fn folder(data: &Path) -> Result<TempDir, Failure> {
        let made = tempfile::Builder::new()
            .prefix("trunkline-bench-")
            .tempdir_in(data);
        made.map_err(|error| format!("{}: {error}", data.display()))
    }

    /// Starts it, bound to `core` if there is one. What it prints goes to a file in the folder.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        mut command: Command,
        folder: TempDir,
        core: Option<usize>,
    ) -> Result<Self, Failure> {
        let name = command.get_program().to_string_lossy().into_owned();
        let failed = |error: std::io::Error| format!("{name}: {error}");
        let said = File::create(folder.path().join(SAID)).map_err(failed)?;
        let also = said.try_clone().map_err(failed)?;
        command.stdin(Stdio::null()).stdout(said).stderr(also);
        // A process runs where the thread that starts it may run.
        let child = cores::on_core(core, || command.spawn()).map_err(failed)?;
        Ok(Self {
            child,
            name,
            folder,
        })
    }

    /// Waits until somebody listens.
    ///
    /// # Errors
    /// When the process ends, or takes too long.
    pub fn wait_until_listening(&mut self, address: SocketAddr) -> Result<(), Failure> {
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!(
                    "{} ended with {status}: {}",
                    self.name,
                    self.said()
                ));
            }
            if begin.elapsed() > PATIENCE {
                return Err(format!(
                    "{} does not listen on {address}: {}",
                    self.name,
                    self.said()
                ));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Its directory.
    pub fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// CPU time that its threads have used so far, to the nanosecond. Threads that have ended are left out.
    pub fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id()))
            .into_iter()
            .flatten()
            .flatten();
        let spent = tasks.filter_map(|task| {
            let stat = fs::read_to_string(task.path().join("schedstat")).ok()?;
            stat.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(spent.sum())
    }

    /// Its resident memory now.
    pub fn rss_mib(&self) -> f64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or_default() / 1024.0
    }

    /// The last that it said.
    pub fn said(&self) -> String {
        let text = fs::read_to_string(self.folder.path().join(SAID)).unwrap_or_default();
        let mut lines: Vec<&str> = text.lines().rev().take(8).collect();
        lines.reverse();
        lines.join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let asked = pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
        let begin = Instant::now();
        while asked && begin.elapsed() < PATIENCE && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(2));
        }
        // It may have ended already: then there is nothing to kill, and nothing to say about it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address on this machine that nobody listens on.
///
/// # Errors
/// When there is none.
pub fn free_address() -> Result<SocketAddr, Failure> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
    listener.local_addr().map_err(|error| error.to_string())
}

/// Watches the cores from its creation on.
pub struct Meter {
    begin: Instant,
    busy: Duration,
    own: Duration,
    server: Duration,
    preemptions: u64,
}

/// What a [`Meter`] saw.
pub struct Reading {
    pub wall: Duration,
    pub server: Duration,
    pub others_percent: f64,
    pub preemptions: u64,
}

impl Meter {
    pub fn start(server: Option<&Server>) -> Self {
        Self {
            busy: busy(),
            own: own(),
            server: server.map(Server::cpu).unwrap_or_default(),
            preemptions: cores::preemptions(),
            begin: Instant::now(),
        }
    }

    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    pub fn read(&self, server: Option<&Server>) -> Reading {
        let wall = self.begin.elapsed();
        let server = server
            .map(Server::cpu)
            .unwrap_or_default()
            .saturating_sub(self.server);
        let known = server + own().saturating_sub(self.own);
        let others = busy().saturating_sub(self.busy).saturating_sub(known);
        Reading {
            wall,
            server,
            others_percent: 100.0 * others.as_secs_f64() / wall.as_secs_f64(),
            preemptions: cores::preemptions() - self.preemptions,
        }
    }
}

/// Time that the cores did not rest so far, whoever used it; what the hypervisor took counts.
fn busy() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    let rest = |at: usize| ticks.get(at).copied().unwrap_or_default();
    // user nice system idle iowait irq softirq steal; guests are part of user.
    let sum = ticks.iter().take(8).sum::<u64>() - rest(3) - rest(4);
    Duration::from_millis(sum * 1000 / rustix::param::clock_ticks_per_second())
}

/// CPU time of this process so far.
fn own() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

const SAID: &str = "said";
const PATIENCE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ends_early_is_quoted() {
        let folder = Server::folder(&std::env::temp_dir()).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such option; exit 3"]);
        let mut server = Server::start(command, folder, None).unwrap();
        let why = server
            .wait_until_listening(free_address().unwrap())
            .unwrap_err();
        assert!(why.contains("no such option") && why.contains('3'), "{why}");
    }

    #[test]
    fn a_server_and_its_directory_go_with_their_owner() {
        let folder = Server::folder(&std::env::temp_dir()).unwrap();
        let path = folder.path().to_owned();
        let mut command = Command::new("sleep");
        command.arg("100");
        let server = Server::start(command, folder, None).unwrap();
        let process = format!("/proc/{}", server.child.id());
        assert!(Path::new(&process).exists() && path.exists());
        drop(server);
        assert!(!Path::new(&process).exists() && !path.exists());
    }
}
