//! `trunkline serve`: runs the server.

use std::path::PathBuf;

use clap::Args;

use super::exit::{Failure, Outcome};
use crate::config::{File, Idle, Io, Workers};
use crate::logging::{self, LogFormat};
use crate::plan::{Flags, Machine, Plan};
use crate::serve::Error;

/// Run the server (also what happens without a command)
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trunkline serve                         # ./trunkline-data, 127.0.0.1:7400
  trunkline serve --config trunkline.yaml
  trunkline serve --data /var/lib/trunkline --listen '[::1]:7400'
  trunkline serve --listen 127.0.0.1:0 --ready-file /run/trunkline.addr
  trunkline serve --idle spin --workers 2 # lowest latency, two busy cores

SIGTERM and Ctrl-C stop cleanly: no new connections, everything written and synced, clients told. A stop that needs more than \
limits.drain_timeout (10s) says what is left and ends with code 1. \
SIGHUP reads the configuration again: new streams are added, and what else differs is named and waits for the next start.")]
pub(super) struct Serve {
    #[command(flatten)]
    source: Source,

    /// Write the bound addresses to this file, one on each line, when connections are accepted
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,

    /// Log level (error, warn, info, debug, trace), or a filter such as info,trunkline_reactor=debug
    #[arg(long, value_name = "LEVEL", env = logging::FILTER_VARIABLE, default_value = logging::DEFAULT_FILTER)]
    log: String,

    /// How log lines look
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

/// The configuration file and the flags over it; shared by `serve` and `plan`.
#[derive(Debug, Args)]
pub(super) struct Source {
    /// Configuration file (YAML); flags win over it
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Directory of the durable streams [default: trunkline-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Address to listen on; may be given several times [default: 127.0.0.1:7400]
    #[arg(long, value_name = "IP:PORT")]
    listen: Vec<String>,

    /// Allow addresses that other machines can reach, although there is no authentication yet
    #[arg(long)]
    insecure_listen: bool,

    /// Number of workers: a number, or auto: half the cores, 1 on machines of one or two
    #[arg(long, value_name = "N")]
    workers: Option<Workers>,

    /// What a worker does when there is nothing to do [default: adaptive]
    #[arg(long, value_name = "STRATEGY")]
    idle: Option<IdleWord>,

    /// How workers talk to the kernel [default: auto]
    #[arg(long, value_name = "BACKEND")]
    io: Option<IoWord>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum IdleWord {
    /// Poll without end: lowest latency, one core always busy for each worker
    Spin,
    /// Poll while there is traffic, then sleep
    Adaptive,
    /// Sleep at once: least CPU
    Park,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum IoWord {
    /// What measured better, among what the system allows
    Auto,
    /// io_uring, or no start
    #[value(name = "io_uring")]
    IoUring,
    /// epoll
    Epoll,
}

impl IdleWord {
    /// As the command line says it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Spin => "spin",
            Self::Adaptive => "adaptive",
            Self::Park => "park",
        }
    }
}

impl IoWord {
    /// As the command line says it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

impl Serve {
    pub(super) fn run(self) -> Outcome {
        let plan = self.source.plan(self.ready_file)?;
        logging::start(&self.log, self.log_format).map_err(Failure::Usage)?;
        crate::serve::run(plan).map_err(|error| match error {
            Error::Unfinished { .. } => Failure::Absent(error.to_string()),
            _ => Failure::Machine(error.to_string()),
        })
    }
}

impl Source {
    /// Reads the file and computes the plan for this machine.
    pub(super) fn plan(self, ready_file: Option<PathBuf>) -> Result<Plan, Failure> {
        let file = match &self.config {
            Some(path) => {
                Some(File::read(path).map_err(|error| Failure::Config(error.to_string()))?)
            }
            None => None,
        };
        let flags = Flags {
            data: self.data,
            listen: self.listen,
            insecure_listen: self.insecure_listen,
            ready_file,
            workers: self.workers,
            idle: self.idle.map(|word| match word {
                IdleWord::Spin => Idle::Spin,
                IdleWord::Adaptive => Idle::Adaptive,
                IdleWord::Park => Idle::Park,
            }),
            io: self.io.map(|word| match word {
                IoWord::Auto => Io::Auto,
                IoWord::IoUring => Io::IoUring,
                IoWord::Epoll => Io::Epoll,
            }),
        };
        Plan::compute(file.as_ref(), &flags, &Machine::here())
            .map_err(|error| Failure::Config(error.to_string()))
    }
}
