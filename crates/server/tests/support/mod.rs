//! Runs the binary as a user does.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What the binary printed and how it ended.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
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
}

impl Server {
    /// Starts one with a small stream `main` that captures everything.
    pub(crate) fn start() -> Self {
        Self::with("streams:\n- {name: main, subjects: ['>'], segment: 4MiB, tail: 4MiB}\n")
    }

    /// Starts one with this configuration.
    pub(crate) fn with(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("trunkline.yaml"), config).unwrap();
        let (process, address) = launch(directory.path());
        Self {
            process,
            address,
            directory,
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

    /// Sends a signal and waits for the end.
    pub(crate) fn end(&mut self, signal: &str) -> i32 {
        send_signal(self.process.id(), signal);
        self.process.wait().unwrap().code().unwrap_or(-1)
    }

    /// Starts it again on the same data.
    pub(crate) fn restart(&mut self) {
        (self.process, self.address) = launch(self.directory.path());
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

fn launch(directory: &Path) -> (Child, String) {
    let (ready, log) = (directory.join("ready"), directory.join("log"));
    let _ = fs::remove_file(&ready);
    let mut process = trunkline(&["serve", "--listen", "127.0.0.1:0"])
        .arg("--config")
        .arg(directory.join("trunkline.yaml"))
        .arg("--data")
        .arg(directory.join("data"))
        .arg("--ready-file")
        .arg(&ready)
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

/// Sends a signal to a process of ours.
pub(crate) fn send_signal(process: u32, signal: &str) {
    let status = Command::new("kill")
        .args(["-s", signal, &process.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}
