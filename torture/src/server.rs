//! The server's process.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Everything to start a server with; each start is another process on the same data.
#[derive(Debug)]
pub(crate) struct Recipe {
    program: PathBuf,
    /// Holds the configurations, `data`, `log` and `ready`.
    directory: PathBuf,
    /// The io back-end, or `direct`.
    io: String,
    /// Words before the program.
    before: &'static [&'static str],
}

/// A server that runs. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    /// Where it listens.
    pub(crate) address: String,
}

/// Instead of a back-end: epoll, and synced writes past the page cache.
const DIRECT: &str = "direct";

impl Recipe {
    pub(crate) fn new(
        program: &Path,
        directory: &Path,
        io: &str,
        config: &str,
    ) -> Result<Self, String> {
        let failed = |error| format!("{}: {error}", directory.display());
        fs::create_dir_all(directory).map_err(failed)?;
        let synced_writes = if io == DIRECT { "direct" } else { "buffered" };
        let config = format!("synced_writes: {synced_writes}\n{config}");
        fs::write(directory.join(format!("{io}.yaml")), config).map_err(failed)?;
        Ok(Self {
            program: program.into(),
            directory: directory.into(),
            io: io.into(),
            before: &[],
        })
    }

    /// The same, but a server that dies with the thread that has started it: it must not keep a file system busy.
    pub(crate) fn dying_with_us(self) -> Self {
        let before = &["setpriv", "--pdeathsig", "KILL", "--"];
        Self { before, ..self }
    }

    /// Whether this machine has the io back-end.
    ///
    /// # Errors
    /// The server does not start, and that is not the reason.
    pub(crate) fn has_back_end(&self) -> Result<bool, String> {
        match self.start(1) {
            Ok(server) => server.kill(),
            Err(reason) if self.io == "io_uring" => {
                eprintln!("torture: {reason}");
                return Ok(false);
            }
            Err(reason) => return Err(format!("{}: {reason}", self.io)),
        }
        Ok(true)
    }

    /// The io back-end, or `direct`.
    pub(crate) fn io(&self) -> &str {
        &self.io
    }

    /// Starts a server and waits until it takes connections.
    pub(crate) fn start(&self, workers: u64) -> Result<Server, String> {
        let ready = self.directory.join("ready");
        let _ = fs::remove_file(&ready);
        let mut server = Server {
            process: self.spawn(workers)?,
            address: String::new(),
        };
        let begin = Instant::now();
        loop {
            // It is there at once, with everything in it.
            if let Ok(address) = fs::read_to_string(&ready)
                && address.ends_with('\n')
            {
                server.address = address.trim().to_owned();
                return Ok(server);
            }
            if let Ok(Some(status)) = server.process.try_wait() {
                return Err(format!(
                    "the server does not start: {status}\n{}",
                    self.log()
                ));
            }
            if begin.elapsed() > START_LIMIT {
                return Err(format!("the server does not start in time\n{}", self.log()));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Starts a server, and kills it after a time in which it may have come anywhere.
    pub(crate) fn start_and_kill(&self, workers: u64, after: Duration) -> Result<(), String> {
        let server = Server {
            process: self.spawn(workers)?,
            address: String::new(),
        };
        std::thread::sleep(after);
        drop(server);
        Ok(())
    }

    /// Starts a second server on the same data, beside one that runs: it must be refused.
    ///
    /// # Errors
    /// It was not, or for another reason.
    pub(crate) fn start_beside(&self) -> Result<(), String> {
        // The first one's log and ready file stay its own.
        let mut second = Server {
            process: self.spawn_as(1, "second-log", "second-ready")?,
            address: String::new(),
        };
        let begin = Instant::now();
        let status = loop {
            match second.process.try_wait() {
                Ok(Some(status)) => break status,
                _ if begin.elapsed() > START_LIMIT
                    || self.directory.join("second-ready").exists() =>
                {
                    return Err("a second server serves the same data".into());
                }
                _ => std::thread::sleep(LOOK),
            }
        };
        let said = fs::read_to_string(self.directory.join("second-log")).unwrap_or_default();
        if status.code() == Some(EXIT_REFUSED) && said.contains("is in use by process ") {
            return Ok(());
        }
        Err(format!(
            "a second server on the same data ends with {status}\n{said}"
        ))
    }

    /// What the last server logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// What a server says of a stream.
    pub(crate) fn stream_info(&self, server: &Server, name: &str) -> Result<String, String> {
        let output = Command::new(&self.program)
            .args(["stream", "info", name, "--json", "--server"])
            .arg(&server.address)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{}: {error}", self.program.display()))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("nothing is said of {name}: {}", said.trim()))
    }

    fn spawn(&self, workers: u64) -> Result<Child, String> {
        self.spawn_as(workers, "log", "ready")
    }

    fn spawn_as(&self, workers: u64, log: &str, ready: &str) -> Result<Child, String> {
        let failed = |error| format!("{}: {error}", self.program.display());
        let log = File::create(self.directory.join(log)).map_err(failed)?;
        let program = self.program.as_os_str();
        let mut words = self.before.iter().map(OsStr::new).chain([program]);
        Command::new(words.next().unwrap_or(program))
            .args(words)
            .args(["serve", "--listen", "127.0.0.1:0", "--idle", "park"])
            .args(["--io", if self.io == DIRECT { "epoll" } else { &self.io }])
            .args(["--workers", &workers.to_string(), "--config"])
            .arg(self.directory.join(format!("{}.yaml", self.io)))
            .arg("--data")
            .arg(self.directory.join("data"))
            .arg("--ready-file")
            .arg(self.directory.join(ready))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(failed)
    }
}

impl Server {
    /// Kills it on the spot.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Whether it has ended by itself, and how.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let status = self.process.try_wait().ok()??;
        Some(status.to_string())
    }

    /// Whether it ends by itself at this moment, and how.
    pub(crate) fn dies(&mut self) -> Option<String> {
        for _ in 0..100 {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            std::thread::sleep(LOOK);
        }
        None
    }

    /// Asks it to stop, and kills it when it has not after a time. Whether it had.
    ///
    /// # Errors
    /// It stopped with an error.
    pub(crate) fn stop_or_kill(self, after: Duration) -> Result<bool, String> {
        match self.stop(after)? {
            Some(status) if status.success() => Ok(true),
            Some(status) => Err(format!("a clean stop ended with {status}")),
            None => Ok(false),
        }
    }

    /// Asks it to stop, and kills it when it has not after a time. How it ended by itself.
    pub(crate) fn stop(mut self, after: Duration) -> Result<Option<ExitStatus>, String> {
        if let Some(pid) = Pid::from_raw(self.process.id() as i32) {
            kill_process(pid, Signal::TERM).map_err(|error| error.to_string())?;
        }
        let begin = Instant::now();
        while begin.elapsed() < after {
            match self.process.try_wait() {
                Ok(Some(status)) => return Ok(Some(status)),
                _ => std::thread::sleep(LOOK),
            }
        }
        Ok(None)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How a server ends that does not get what it needs.
const EXIT_REFUSED: i32 = 6;
const START_LIMIT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(1);
