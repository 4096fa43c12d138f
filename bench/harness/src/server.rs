//! A peer's process: started on a core, watched, ended; and who used the cores while a sample was taken.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};
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
        // A Ctrl-C is for who measures, and who ends it when the sample is complete.
        command.process_group(0);
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

    fn user(&self) -> Duration {
        user_of(&self.child.id().to_string())
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
    user: Duration,
    own_user: Duration,
    own: Duration,
    server: Duration,
    server_user: Duration,
    preemptions: u64,
}

/// What a [`Meter`] saw.
pub struct Reading {
    pub wall: Duration,
    /// CPU time of the server.
    pub server: Duration,
    /// CPU time of this process, all its threads.
    pub own: Duration,
    /// What programs used that are neither this process nor the server, and what the hypervisor took: percent of one core.
    pub others_percent: f64,
    pub preemptions: u64,
}

impl Meter {
    pub fn start(server: Option<&Server>) -> Self {
        Self {
            user: user_of_all(),
            own_user: user_of("self"),
            own: own_cpu(),
            server: server.map(Server::cpu).unwrap_or_default(),
            server_user: server.map(Server::user).unwrap_or_default(),
            preemptions: cores::preemptions(),
            begin: Instant::now(),
        }
    }

    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    pub fn read(&self, server: Option<&Server>) -> Reading {
        let wall = self.begin.elapsed();
        let server_user = server.map(Server::user).unwrap_or_default();
        let known =
            (server_user + user_of("self")).saturating_sub(self.server_user + self.own_user);
        let others = user_of_all()
            .saturating_sub(self.user)
            .saturating_sub(known);
        Reading {
            wall,
            server: server
                .map(Server::cpu)
                .unwrap_or_default()
                .saturating_sub(self.server),
            own: own_cpu() - self.own,
            others_percent: 100.0 * others.as_secs_f64() / wall.as_secs_f64(),
            preemptions: cores::preemptions() - self.preemptions,
        }
    }
}

/// CPU time that this process has used so far; threads that have ended count.
fn own_cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}

/// Time that programs used so far, and that the hypervisor took. Not what the kernel used: most of that is work for whoever is
/// measured, such as writing their files.
fn user_of_all() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal
    of_ticks([0, 1, 7].iter().filter_map(|at| ticks.get(*at)).sum())
}

/// What a process used outside the kernel so far.
fn user_of(process: &str) -> Duration {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name of the program, in parentheses, may have spaces.
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    of_ticks(
        rest.split_whitespace()
            .nth(11)
            .and_then(|word| word.parse().ok())
            .unwrap_or_default(),
    )
}

fn of_ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
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
    fn what_this_process_uses_is_not_what_others_use() {
        let meter = Meter::start(None);
        let before = user_of("self");
        let mut sum = 0u64;
        while meter.elapsed() < Duration::from_millis(200) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(user_of("self") - before > Duration::from_millis(20));
        let reading = meter.read(None);
        assert!(reading.wall >= Duration::from_millis(200));
        assert!(reading.own > Duration::from_millis(20));
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
