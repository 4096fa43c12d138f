//! Runs the binary as a user does.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod machine;
pub(crate) mod raw;
pub(crate) mod skipped;

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// One stream of small segments, so that tests see several.
pub(crate) const SMALL: &str = "limits: {max_record: 64KiB}\nstreams:\n- {name: main, subjects: ['>'], segment: 1MiB, tail: 512KiB}\n";

/// One stream for everything, and records of up to 64 KiB.
pub(crate) const ONE_STREAM: &str = "\
limits: {max_record: 64KiB}
streams:
- {name: main, subjects: ['>'], segment: 1MiB, tail: 1MiB}
";

/// A configuration with so many workers, whatever machine it is.
pub(crate) fn with_workers(workers: usize, config: &str) -> String {
    format!("workers: {workers}\n{config}")
}

/// What the binary printed and how it ended.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// What it printed, which is JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.out, self.err))
    }
}

/// The binary with these arguments and an environment of its own.
pub(crate) fn trunkline(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("TRUNKLINE_SERVER")
        .env_remove("TRUNKLINE_LOG");
    command
}

/// Why this machine has no io_uring, if it has none.
pub(crate) fn uring_is_refused() -> Option<String> {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().to_str().unwrap();
    let doctor = run(&["doctor", "--json", "--data", data]).json();
    doctor["io"]["refused"].as_str().map(str::to_owned)
}

/// Runs it to its end.
pub(crate) fn run(arguments: &[&str]) -> Ran {
    ran(trunkline(arguments).output().unwrap())
}

/// Runs it with something on its standard input.
pub(crate) fn run_with_input(arguments: &[&str], input: &[u8]) -> Ran {
    let mut child = trunkline(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // It may end without reading everything.
        scope.spawn(move || {
            let _ = stdin.write_all(input);
        });
        ran(child.wait_with_output().unwrap())
    })
}

/// Waits for a process, which is killed when it takes too long: that fails the test with what it has printed.
pub(crate) fn finish(mut child: Child, limit: Duration) -> Ran {
    let (out, err) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let out = scope.spawn(|| drain(out));
        let err = scope.spawn(|| drain(err));
        let status = wait(&mut child, limit);
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let (stdout, stderr) = (out.join().unwrap(), err.join().unwrap());
        let status = status.unwrap_or_else(|| {
            panic!(
                "still running after {limit:?}: {}",
                String::from_utf8_lossy(&stderr)
            )
        });
        ran(Output {
            status,
            stdout,
            stderr,
        })
    })
}

fn drain(pipe: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes).unwrap();
    }
    bytes
}

fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + limit;
    loop {
        let status = child.try_wait().unwrap();
        if status.is_some() || Instant::now() > end {
            return status;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a server that must not start, and ends in time.
pub(crate) fn refused(arguments: &[&str]) -> Ran {
    let mut command = trunkline(&["serve"]);
    command.args(arguments);
    refused_command(command)
}

/// As [`refused`], for a command of the caller's.
pub(crate) fn refused_command(mut command: Command) -> Ran {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    finish(child, Duration::from_secs(20))
}

pub(crate) fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A server of this test alone: its own directory, a port of the system's choice.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: String,
    directory: tempfile::TempDir,
    flags: Vec<String>,
}

impl Server {
    /// Starts one with a small stream `main` that captures everything.
    pub(crate) fn start() -> Self {
        Self::with("streams:\n- {name: main, subjects: ['>'], segment: 4MiB, tail: 4MiB}\n")
    }

    /// Starts one with this configuration.
    pub(crate) fn with(config: &str) -> Self {
        Self::with_flags(config, &[])
    }

    /// Starts one with this configuration and further flags, which it keeps over restarts.
    pub(crate) fn with_flags(config: &str, flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("trunkline.yaml"), config).unwrap();
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut command = serve(directory.path());
        command.args(&flags);
        let (process, address) = launch(command, directory.path());
        Self {
            process,
            address,
            directory,
            flags,
        }
    }

    /// Starts one by a command made from the one that would start it: for servers that live in a place of their own.
    pub(crate) fn inside(config: &str, wrap: impl FnOnce(&Path, Command) -> Command) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("trunkline.yaml"), config).unwrap();
        let command = wrap(directory.path(), serve(directory.path()));
        let (process, address) = launch(command, directory.path());
        Self {
            process,
            address,
            directory,
            flags: Vec::new(),
        }
    }

    /// Runs a client command against it.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        ran(self.command(arguments).output().unwrap())
    }

    /// A client command for it.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = trunkline(arguments);
        command.env("TRUNKLINE_SERVER", &self.address);
        command
    }

    /// Runs a client command with something on its standard input.
    pub(crate) fn feed(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--server", &self.address]);
        run_with_input(&arguments, input)
    }

    /// Runs `log` on its files.
    pub(crate) fn run_log(&self, arguments: &[&str]) -> Ran {
        let mut command = trunkline(&["log"]);
        command.args(arguments).arg("--data").arg(self.data());
        ran(command.output().unwrap())
    }

    /// What `sub` prints of a pattern's records from the first on, of which there are `count`.
    pub(crate) fn everything(&self, pattern: &str, count: usize) -> Ran {
        let count = count.to_string();
        let words = ["sub", pattern, "--from", "first", "--raw"];
        let limits = ["--count", &count, "--timeout", "20s"];
        let sub = self.run(&[&words[..], &limits].concat());
        assert_eq!(sub.code, 0, "{pattern}: {}\n{}", sub.err, self.log());
        sub
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn end(&mut self, signal: &str) -> i32 {
        send_signal(self.process.id(), signal);
        self.ended()
    }

    /// Waits for the end.
    pub(crate) fn ended(&mut self) -> i32 {
        let status = wait(&mut self.process, Duration::from_secs(20));
        let status = status.unwrap_or_else(|| panic!("the server does not end\n{}", self.log()));
        status.code().unwrap_or(-1)
    }

    /// Kills it on the spot.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again on the same data.
    pub(crate) fn restart(&mut self) {
        let mut command = serve(self.directory.path());
        command.args(&self.flags);
        (self.process, self.address) = launch(command, self.directory.path());
    }

    /// Starts it again on the same data, by a command made from the one that would start it.
    pub(crate) fn restart_inside(&mut self, wrap: impl FnOnce(&Path, Command) -> Command) {
        let command = wrap(self.directory.path(), serve(self.directory.path()));
        (self.process, self.address) = launch(command, self.directory.path());
    }

    /// Starts it again on the same data and the same address, for clients that connect again.
    pub(crate) fn restart_in_place(&mut self) {
        let mut command = serve(self.directory.path());
        command.args(&self.flags).args(["--listen", &self.address]);
        (self.process, _) = launch(command, self.directory.path());
    }

    /// Starts it again on the same data, and kills it after a time that it may need for starting.
    pub(crate) fn restart_and_kill(&mut self, after: Duration) {
        let mut command = serve(self.directory.path());
        command.args(&self.flags);
        command.stderr(Stdio::null());
        self.process = command.spawn().unwrap();
        std::thread::sleep(after);
        self.kill();
    }

    /// Starts it again on the same data, looks at why a stream is not served, and stops it. The start is no failure, and the end is one.
    pub(crate) fn refusal_of(&mut self, stream: &str) -> String {
        self.restart();
        let info = self.stream(stream);
        assert_eq!(info["state"], "refused", "{info}");
        let reason = info["reason"].as_str().expect("a reason").to_owned();
        assert_eq!(self.end("TERM"), 6, "{}", self.log());
        reason
    }

    /// Starts it again on the same data, which must fail.
    pub(crate) fn refused(&self) -> Ran {
        let mut command = serve(self.directory.path());
        command.args(&self.flags);
        refused_command(command)
    }

    /// Has another configuration from its next start on.
    pub(crate) fn reconfigure(&self, config: &str) {
        fs::write(self.directory.path().join("trunkline.yaml"), config).unwrap();
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it has logged since it was started the last time.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// What it says of a stream.
    pub(crate) fn stream(&self, name: &str) -> Value {
        let info = self.run(&["stream", "info", name, "--json"]);
        assert_eq!(info.code, 0, "{}", info.err);
        info.json()
    }

    /// Waits until something that it says of a stream is so.
    pub(crate) fn wait_for(
        &self,
        stream: &str,
        what: &str,
        is_so: impl Fn(&Value) -> bool,
    ) -> Value {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let info = self.stream(stream);
            if is_so(&info) {
                return info;
            }
            assert!(
                Instant::now() < end,
                "{what} did not come: {info}\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The command that serves what is in a directory.
fn serve(directory: &Path) -> Command {
    let mut command = trunkline(&["serve", "--listen", "127.0.0.1:0"]);
    command
        .arg("--config")
        .arg(directory.join("trunkline.yaml"))
        .arg("--data")
        .arg(directory.join("data"))
        .arg("--ready-file")
        .arg(directory.join("ready"));
    command
}

fn launch(mut command: Command, directory: &Path) -> (Child, String) {
    let (ready, log) = (directory.join("ready"), directory.join("log"));
    let _ = fs::remove_file(&ready);
    let mut process = command
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    while !ready.exists() {
        let ended = process.try_wait().unwrap();
        let late = begin.elapsed() > Duration::from_secs(30);
        assert!(
            ended.is_none() && !late,
            "no server: {ended:?}\n{}",
            fs::read_to_string(&log).unwrap()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    (
        process,
        fs::read_to_string(&ready).unwrap().trim().to_owned(),
    )
}

/// Sends a signal to a process of ours; after `STOP` it has stopped.
pub(crate) fn send_signal(process: u32, signal: &str) {
    let number = match signal {
        "CONT" => Signal::CONT,
        "HUP" => Signal::HUP,
        "INT" => Signal::INT,
        "KILL" => Signal::KILL,
        "STOP" => Signal::STOP,
        "TERM" => Signal::TERM,
        _ => panic!("no test sends SIG{signal}"),
    };
    kill_process(pid(process), number).unwrap();
    // On a busy machine threads run on for a while after the signal was sent.
    let end = Instant::now() + Duration::from_secs(20);
    while signal == "STOP" && !has_stopped(process) {
        assert!(
            Instant::now() < end,
            "process {process} was sent SIGSTOP, and not all of its threads have stopped"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A process as system calls name it.
pub(crate) fn pid(process: u32) -> Pid {
    let id = i32::try_from(process).ok();
    id.and_then(Pid::from_raw).expect("the number of a process")
}

/// Whether every thread of a process has stopped.
fn has_stopped(process: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state is the first field after the name, which stands in parentheses.
        stat.rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('T'))
    })
}
