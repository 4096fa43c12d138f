//! A server for one run: started, watched, stopped, and its directory removed.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

use super::{AckWord, Failure, IdleWord, level_word};
use crate::cli::connect::Stop;
use crate::cli::serve::IoWord;

/// What the server is told.
pub(super) struct Wanted<'a> {
    pub(super) ack: AckWord,
    pub(super) visible_received: bool,
    pub(super) idle: IdleWord,
    pub(super) io: IoWord,
    pub(super) cpus: Option<&'a str>,
    pub(super) payload_bytes: u32,
}

/// A running server of ours.
pub(super) struct Started {
    process: Child,
    address: String,
    directory: PathBuf,
    described: Described,
    pinned: bool,
    /// Nothing ends the run without the server and its directory.
    stop: Stop,
}

/// For the reader of the results.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Described {
    pub(super) idle: String,
    pub(super) io: String,
    pub(super) visible: &'static str,
    /// The CPUs that it was bound to, with the client on the others.
    pub(super) cpus: Option<String>,
    pub(super) directory: String,
}

impl Started {
    pub(super) fn start(wanted: &Wanted<'_>) -> Result<Self, Failure> {
        let machine =
            |error: std::io::Error| Failure::Machine(format!("cannot start a server: {error}"));
        let stop = Stop::install_patient()?;
        let directory =
            std::env::temp_dir().join(format!("trunkline-bench-{}", std::process::id()));
        fs::create_dir_all(&directory).map_err(machine)?;
        let visible = if wanted.visible_received {
            "received"
        } else {
            "ack"
        };
        let config = directory.join("trunkline.yaml");
        fs::write(&config, configuration(wanted, visible)).map_err(machine)?;
        let (idle, io) = (wanted.idle.word(), wanted.io.word());
        let ready = directory.join("ready");
        let binary = std::env::current_exe().map_err(machine)?;
        let mut command = match wanted.cpus {
            None => Command::new(binary),
            Some(cpus) => {
                let mut command = Command::new("taskset");
                command.args(["-c", cpus]).arg(binary);
                command
            }
        };
        command
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--log",
                "warn",
                "--idle",
                idle,
                "--io",
                io,
            ])
            .arg("--config")
            .arg(&config)
            .arg("--data")
            .arg(directory.join("data"))
            .arg("--ready-file")
            .arg(&ready)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let described = Described {
            idle: idle.to_owned(),
            io: io.to_owned(),
            visible,
            cpus: wanted.cpus.map(str::to_owned),
            directory: directory.display().to_string(),
        };
        let process = command.spawn().map_err(machine)?;
        let mut started = Self {
            process,
            address: String::new(),
            directory,
            described,
            pinned: wanted.cpus.is_some(),
            stop,
        };
        started.address = started.wait_until_ready(&ready)?;
        if started.pinned {
            started.leave_its_cpus().map_err(machine)?;
        }
        Ok(started)
    }

    /// Whether the user wants to stop.
    pub(super) fn stop(&self) -> Stop {
        self.stop.clone()
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Whether it runs on CPUs of its own.
    pub(super) fn is_pinned(&self) -> bool {
        self.pinned
    }

    /// Binds this thread, and those that it starts, to the CPUs that the server is not bound to, if there are any.
    fn leave_its_cpus(&self) -> std::io::Result<()> {
        let server = i32::try_from(self.process.id())
            .ok()
            .and_then(Pid::from_raw);
        let (theirs, ours) = (sched_getaffinity(server)?, sched_getaffinity(None)?);
        let mut left = CpuSet::new();
        for cpu in (0..CpuSet::MAX_CPU).filter(|cpu| ours.is_set(*cpu) && !theirs.is_set(*cpu)) {
            left.set(cpu);
        }
        if left.count() > 0 {
            sched_setaffinity(None, &left)?;
        }
        Ok(())
    }

    pub(super) fn described(&self) -> Described {
        self.described.clone()
    }

    /// CPU time that the server's threads have used so far, to the nanosecond.
    pub(super) fn cpu(&self) -> Option<Duration> {
        let mut sum = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.process.id())).ok()? {
            let stat = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            sum += stat.split_whitespace().next()?.parse::<u64>().ok()?;
        }
        Some(Duration::from_nanos(sum))
    }

    fn wait_until_ready(&mut self, ready: &Path) -> Result<String, Failure> {
        let begin = Instant::now();
        loop {
            self.stop.check()?;
            if let Ok(addresses) = fs::read_to_string(ready)
                && let Some(address) = addresses.lines().next()
            {
                return Ok(address.to_owned());
            }
            let ended = self.process.try_wait().ok().flatten();
            if ended.is_some() || begin.elapsed() > PATIENCE {
                let _ = self.process.kill();
                let mut said = String::new();
                let _ = self
                    .process
                    .stderr
                    .take()
                    .map(|mut stderr| stderr.read_to_string(&mut said));
                return Err(Failure::Machine(format!(
                    "the server did not start: {}",
                    said.trim()
                )));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let asked = i32::try_from(self.process.id())
            .ok()
            .and_then(Pid::from_raw);
        let asked = asked.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
        let begin = Instant::now();
        while asked && begin.elapsed() < PATIENCE && matches!(self.process.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn configuration(wanted: &Wanted<'_>, visible: &str) -> String {
    let ack = level_word(wanted.ack.level());
    let record = (wanted.payload_bytes + 1024)
        .next_power_of_two()
        .max(64 << 10);
    // Room for a subscriber that falls behind for a moment without going back to the disk.
    format!(
        "limits: {{max_record: {record}B}}\n\
         streams:\n\
         - name: bench\n  subjects: ['>']\n  ack: {ack}\n  visible: {visible}\n  tail: 32MiB\n  \
         retention: {{bytes: 1GiB}}\n"
    )
}

const PATIENCE: Duration = Duration::from_secs(15);
