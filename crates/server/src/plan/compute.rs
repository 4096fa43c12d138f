//! From what was written to what is run.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_saphyr::Spanned;
use trunkline_route::Pattern;
use trunkline_wire::frame::FRAME_BYTES_MAX;

use super::{
    BUFFER_BYTES, DEFAULT_ADDRESS, DEFAULT_DATA_DIR, Limits, ListenerPlan, Machine, Plan,
    SUBJECT_BYTES, StreamPlan, WorkerPlan,
};
use crate::config::{
    self, Bytes, Config, File, Idle, Io, Pin, Place, Problem, Problems, Span, SyncedWrites,
    WORKERS_MAX, Workers,
};

/// What the command line says; each wins over the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--data`.
    pub data: Option<PathBuf>,
    /// `--listen`, as often as it was given.
    pub listen: Vec<String>,
    /// `--insecure-listen`: allows addresses that other machines can reach, of the file too.
    pub insecure_listen: bool,
    /// `--ready-file`.
    pub ready_file: Option<PathBuf>,
    /// `--workers`.
    pub workers: Option<Workers>,
    /// `--idle`.
    pub idle: Option<Idle>,
    /// `--io`.
    pub io: Option<Io>,
}

impl Plan {
    /// Computes the plan of a configuration file, or of the defaults, for one machine.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the file.
    pub fn compute(
        file: Option<&File>,
        flags: &Flags,
        machine: &Machine,
    ) -> Result<Self, Problems> {
        let default;
        let (file, named) = match file {
            Some(file) => (file, Some(file.name.clone())),
            None => {
                default = File {
                    name: PathBuf::new(),
                    text: String::new(),
                    config: Config::default(),
                };
                (&default, None)
            }
        };
        let mut draft = Draft {
            file,
            flags,
            machine,
            problems: Vec::new(),
        };
        let limits = draft.limits();
        let workers = draft.workers();
        let io = flags.io.or(file.config.io).unwrap_or(Io::Auto);
        let plan = Self {
            config_file: named,
            flags: flags.clone(),
            data_dir: draft.data_dir(),
            ready_file: flags.ready_file.clone(),
            listeners: draft.listeners(),
            idle: flags.idle.or(file.config.idle).unwrap_or(Idle::Adaptive),
            io,
            synced_writes: draft.synced_writes(io),
            streams: draft.streams(&limits, workers.len()),
            workers,
            limits,
        };
        let mut problems = draft.problems;
        if problems.is_empty() {
            return Ok(plan);
        }
        problems.sort_by_key(|problem| match &problem.place {
            Place::Flag { .. } => (0, 0),
            Place::File { line, column, .. } => (*line, *column),
        });
        Err(Problems(problems))
    }
}

/// A plan in the making, and what is wrong so far.
struct Draft<'a> {
    file: &'a File,
    flags: &'a Flags,
    machine: &'a Machine,
    problems: Vec<Problem>,
}

impl Draft<'_> {
    fn refuse<V>(&mut self, value: &Spanned<V>, message: String) {
        self.problems.push(self.file.problem_at(value, message));
    }

    fn refuse_flag(&mut self, flag: &'static str, message: String) {
        self.problems.push(Problem {
            place: Place::Flag { flag },
            message,
            source: None,
        });
    }

    fn data_dir(&mut self) -> PathBuf {
        const EMPTY: &str =
            "the data directory has no name; write a path, such as ./trunkline-data";
        let (written, given) = (&self.file.config.data, &self.flags.data);
        let is_empty = |path: &Path| path.as_os_str().is_empty();
        if given.as_deref().is_some_and(is_empty) {
            self.refuse_flag("--data", EMPTY.to_owned());
        }
        if let Some(written) = written.as_ref().filter(|data| is_empty(&data.value)) {
            self.refuse(written, EMPTY.to_owned());
        }
        given
            .clone()
            .or(written.as_ref().map(|data| data.value.clone()))
            .unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR))
    }

    fn synced_writes(&mut self, io: Io) -> SyncedWrites {
        let Some(written) = &self.file.config.synced_writes else {
            return SyncedWrites::Buffered;
        };
        if written.value == SyncedWrites::Direct && io == Io::IoUring {
            self.refuse(
                written,
                "`synced_writes: direct` needs threads to wait for the device, and io_uring's wait on the worker's own core, \
                 where a commit takes ten times as long: use `io: auto` or `epoll`, or `synced_writes: buffered`"
                    .to_owned(),
            );
        }
        written.value
    }

    fn listeners(&mut self) -> Vec<ListenerPlan> {
        let mut listeners: Vec<ListenerPlan> = Vec::new();
        if !self.flags.listen.is_empty() {
            for text in &self.flags.listen {
                match listener(text, self.flags.insecure_listen, "give --insecure-listen") {
                    Ok(one) => match collision(&one, &listeners) {
                        Some(message) => self.refuse_flag("--listen", message),
                        None => listeners.push(one),
                    },
                    Err(message) => self.refuse_flag("--listen", message),
                }
            }
            return listeners;
        }
        let file = self.file;
        let Some(written) = &file.config.listen else {
            return listener(DEFAULT_ADDRESS, false, "").into_iter().collect();
        };
        if written.value.is_empty() {
            let message = format!("`listen` is empty; leave it out to listen on {DEFAULT_ADDRESS}");
            self.refuse(written, message);
        }
        for entry in &written.value {
            let text = &entry.value.address.value;
            let allowed = entry.value.insecure || self.flags.insecure_listen;
            let remedy = format!(
                "write `{{ address: '{text}', insecure: true }}` or give --insecure-listen"
            );
            match listener(text, allowed, &remedy) {
                Ok(one) => match collision(&one, &listeners) {
                    Some(message) => self.refuse(entry, message),
                    None => listeners.push(one),
                },
                Err(message) => self.refuse(entry, message),
            }
        }
        listeners
    }

    fn workers(&mut self) -> Vec<WorkerPlan> {
        let file = self.file;
        let written = file.config.workers.as_ref().map(|workers| workers.value);
        let count = match self.flags.workers.or(written).unwrap_or(Workers::Auto) {
            Workers::Count(count) => count,
            Workers::Auto => match file.config.pin.as_ref().map(|pin| &pin.value) {
                Some(Pin::Cpus(cpus)) => u32::try_from(cpus.len()).unwrap_or(1).max(1),
                _ => self.machine.default_workers(),
            }
            .min(WORKERS_MAX),
        } as usize;
        let unbound = vec![WorkerPlan { cpu: None }; count];
        let Some(pin) = &file.config.pin else {
            return unbound;
        };
        let usable = &self.machine.cpus;
        match &pin.value {
            Pin::None => unbound,
            Pin::Auto if count > usable.len() => {
                self.refuse(
                    pin,
                    format!(
                        "{count} workers cannot have a CPU each: this process may use {}",
                        usable.len()
                    ),
                );
                unbound
            }
            Pin::Auto => usable
                .iter()
                .take(count)
                .map(|&cpu| WorkerPlan { cpu: Some(cpu) })
                .collect(),
            Pin::Cpus(cpus) => {
                if cpus.len() != count {
                    self.refuse(
                        pin,
                        format!(
                            "{} CPUs are listed for {count} workers; list one for each",
                            cpus.len()
                        ),
                    );
                }
                for (index, cpu) in cpus.iter().enumerate() {
                    if cpus[..index].contains(cpu) {
                        self.refuse(pin, format!("CPU {cpu} is listed twice"));
                    } else if !usable.contains(cpu) {
                        let list = usable
                            .iter()
                            .map(u32::to_string)
                            .collect::<Vec<_>>()
                            .join(", ");
                        self.refuse(
                            pin,
                            format!("this process may not run on CPU {cpu}; usable: {list}"),
                        );
                    }
                }
                cpus.iter()
                    .map(|&cpu| WorkerPlan { cpu: Some(cpu) })
                    .collect()
            }
        }
    }

    fn limits(&mut self) -> Limits {
        let file = self.file;
        let none = config::Limits::default();
        let written = file.config.limits.as_ref().unwrap_or(&none);
        let max_record_bytes =
            self.bytes(&written.max_record, "max_record", 1 << 20, 128, 16 << 20) as u32;
        // The largest record with its header, and the definition of its subject before it.
        let frame_min = u64::from(max_record_bytes) + 1024;
        let session_subjects = self.count(
            &written.session_subjects,
            "session_subjects",
            4096,
            1,
            1 << 20,
        );
        let limits = Limits {
            max_record_bytes,
            max_frame_bytes: self.bytes(
                &written.max_frame,
                "max_frame",
                (4 << 20).max(frame_min),
                frame_min,
                FRAME_BYTES_MAX.into(),
            ) as u32,
            connections: self.count(&written.connections, "connections", 1024, 1, 1 << 20),
            subscriptions: self.count(&written.subscriptions, "subscriptions", 256, 1, 65_535),
            session_subjects,
            session_subject_bytes: session_subjects
                .saturating_mul(SUBJECT_BYTES)
                .max(SUBJECT_BYTES_MIN),
            stream_subjects: self.count(
                &written.stream_subjects,
                "stream_subjects",
                65_536,
                1,
                1 << 20,
            ),
            calls: self.count(&written.calls, "calls", 256, 1, 65_535),
            send_queue_bytes: self.bytes(
                &written.send_queue,
                "send_queue",
                256 << 10,
                64 << 10,
                256 << 20,
            ) as u32,
            receive_pool_bytes: self.bytes(
                &written.receive_pool,
                "receive_pool",
                4 << 20,
                16 * BUFFER_BYTES,
                1 << 30,
            ),
            read_pool_bytes: self.bytes(
                &written.read_pool,
                "read_pool",
                4 << 20,
                16 * BUFFER_BYTES,
                1 << 30,
            ),
            hello_timeout_ns: self.span(
                &written.hello_timeout,
                "hello_timeout",
                5 * SECOND,
                SECOND / 10,
                60 * SECOND,
            ),
            idle_timeout_ns: self.span(
                &written.idle_timeout,
                "idle_timeout",
                60 * SECOND,
                SECOND,
                24 * HOUR,
            ),
            send_timeout_ns: self.span(
                &written.send_timeout,
                "send_timeout",
                10 * SECOND,
                SECOND / 10,
                HOUR,
            ),
            drain_timeout_ns: self.span(
                &written.drain_timeout,
                "drain_timeout",
                10 * SECOND,
                SECOND / 10,
                HOUR,
            ),
        };
        for pool in [&written.receive_pool, &written.read_pool]
            .into_iter()
            .flatten()
        {
            // The kernel takes buffer rings in powers of two only.
            if !(pool.value.0 / BUFFER_BYTES).is_power_of_two()
                || !pool.value.0.is_multiple_of(BUFFER_BYTES)
            {
                self.refuse(
                    pool,
                    format!(
                        "a pool of {} is not possible: use a power of two such as 4MiB",
                        pool.value
                    ),
                );
            }
        }
        limits
    }

    fn streams(&mut self, limits: &Limits, workers: usize) -> Vec<StreamPlan> {
        let file = self.file;
        let Some(written) = &file.config.streams else {
            return vec![StreamPlan::main(limits, workers)];
        };
        let mut streams = Vec::with_capacity(written.len());
        for (index, stream) in written.iter().enumerate() {
            streams.push(StreamPlan::compute(
                file,
                &stream.value,
                limits,
                workers,
                &mut self.problems,
            ));
            let earlier = &written[..index];
            if let Some(twin) = earlier
                .iter()
                .find(|twin| twin.value.name.value == stream.value.name.value)
            {
                let line = twin.value.name.referenced.line();
                self.refuse(
                    &stream.value.name,
                    format!(
                        "`{}` names the stream of line {line} already",
                        twin.value.name.value
                    ),
                );
            }
            for other in earlier {
                self.overlap(&other.value, &stream.value);
            }
        }
        if streams.len() > MAX_STREAMS {
            self.refuse(
                &written[MAX_STREAMS],
                format!("more than {MAX_STREAMS} streams"),
            );
        }
        streams
    }

    /// Refuses subjects of `stream` that `earlier` captures: which of the two would get the record is nobody's guess.
    fn overlap(&mut self, earlier: &config::Stream, stream: &config::Stream) {
        for subject in &stream.subjects {
            let Some(other) = earlier
                .subjects
                .iter()
                .find(|other| overlaps(&other.value, &subject.value))
            else {
                continue;
            };
            let place = other.referenced;
            self.refuse(
                subject,
                format!(
                    "`{}` overlaps `{}` of stream {} ({}:{}:{}): a subject belongs to one stream",
                    subject.value,
                    other.value,
                    earlier.name.value,
                    self.file.name.display(),
                    place.line(),
                    place.column(),
                ),
            );
        }
    }

    fn bytes(
        &mut self,
        written: &Option<Spanned<Bytes>>,
        key: &str,
        default: u64,
        min: u64,
        max: u64,
    ) -> u64 {
        let Some(value) = written else { return default };
        if !(min..=max).contains(&value.value.0) {
            self.refuse(
                value,
                format!(
                    "{key} of {} is not possible: from {} to {}",
                    value.value,
                    Bytes(min),
                    Bytes(max)
                ),
            );
            return default;
        }
        value.value.0
    }

    fn span(
        &mut self,
        written: &Option<Spanned<Span>>,
        key: &str,
        default: u64,
        min: u64,
        max: u64,
    ) -> u64 {
        let Some(value) = written else { return default };
        if !(min..=max).contains(&value.value.0) {
            self.refuse(
                value,
                format!(
                    "{key} of {} is not possible: from {} to {}",
                    value.value,
                    Span(min),
                    Span(max)
                ),
            );
            return default;
        }
        value.value.0
    }

    fn count(
        &mut self,
        written: &Option<Spanned<u32>>,
        key: &str,
        default: u32,
        min: u32,
        max: u32,
    ) -> u32 {
        let Some(value) = written else { return default };
        if !(min..=max).contains(&value.value) {
            self.refuse(
                value,
                format!(
                    "{key} of {} is not possible: from {min} to {max}",
                    value.value
                ),
            );
            return default;
        }
        value.value
    }
}

/// What cannot be read as a pattern is refused elsewhere.
fn overlaps(a: &str, b: &str) -> bool {
    match (Pattern::new(a), Pattern::new(b)) {
        (Ok(a), Ok(b)) => a.overlaps(&b),
        _ => false,
    }
}

fn listener(text: &str, allowed: bool, remedy: &str) -> Result<ListenerPlan, String> {
    let address: SocketAddr = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}").parse(),
        None => text.parse(),
    }
    .map_err(|_| {
        format!(
            "`{text}` is not an address: write IP:PORT, such as {DEFAULT_ADDRESS} or [::1]:7400, or localhost:PORT, with a port up to 65535"
        )
    })?;
    let exposed = !address.ip().to_canonical().is_loopback();
    if exposed && !allowed {
        return Err(format!(
            "{address} can be reached from other machines, and there is no authentication yet: anyone who reaches it \
             could read and write every stream; {remedy} if that is what you want, or listen on {DEFAULT_ADDRESS}"
        ));
    }
    Ok(ListenerPlan { address, exposed })
}

/// Why one address cannot be listened on beside others; none if it can.
fn collision(one: &ListenerPlan, others: &[ListenerPlan]) -> Option<String> {
    let address = one.address;
    let mut others = others.iter().map(|other| other.address);
    let other = others.find(|other| {
        let is_any = address.ip().is_unspecified() || other.ip().is_unspecified();
        let same_place =
            address.ip() == other.ip() || is_any && address.is_ipv4() == other.is_ipv4();
        // For port 0 the system chooses another one each time.
        address.port() != 0 && address.port() == other.port() && same_place
    })?;
    Some(if other == address {
        format!("{address} is listed twice")
    } else {
        format!("{address} overlaps {other}: one of them is enough")
    })
}

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3600 * SECOND;
/// The names of a few subjects fit, however long they are.
const SUBJECT_BYTES_MIN: u32 = 4 << 10;
/// Streams of one configuration; each costs a tail.
const MAX_STREAMS: usize = 4096;
