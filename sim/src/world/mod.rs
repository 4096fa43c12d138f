//! The world: one machine with a disk, one server on it at a time, clients, a network, clocks; and one step after the other.

mod calm;
mod crash;
mod damage;
mod observe;
mod start;
mod step;

use std::collections::BTreeMap;

use trunkline_log::testing::Rng;
use trunkline_log::{Durability, LogConfig, Retention, Storage};
use trunkline_wire::AckLevel;

use crate::client::{Client, Publisher, RECORD_BYTES_MAX, Role, Subscriber};
use crate::clock::{Clock, SECOND};
use crate::disk::Drive;
use crate::faults::{Fault, Faults};
use crate::invariant::{Checks, Violation};
use crate::ledger::Ledger;
use crate::model::StreamModel;
use crate::net::Link;
use crate::server::Process;
use crate::trace::Trace;

/// Everything there is.
#[derive(Debug)]
pub(crate) struct World {
    rng: Rng,
    /// What goes wrong, and how often it has.
    pub faults: Faults,
    /// What was checked.
    pub checks: Checks,
    /// What happened.
    pub trace: Trace,
    clock: Clock,
    drive: Drive,
    models: Vec<StreamModel>,
    /// What was sent.
    pub ledger: Ledger,
    clients: Vec<Client>,
    links: BTreeMap<u32, Link>,
    next_link: u32,
    process: Option<Process>,
    epoch: u32,
    /// The process is stopped until then.
    stopped_until_ns: u64,
    /// The disk does nothing before this step.
    disk_resumes_at_step: u64,
    /// The operator frees space on a full disk.
    room_comes_at_step: u64,
    /// Nothing is sent to subscribers before this step.
    surge_ends_at_step: u64,
    /// Power has failed since logs were last opened.
    power_failed: bool,
    /// By stream: reads of this incarnation that went wrong.
    misreads: Vec<u64>,
    /// What was done.
    pub stats: Stats,
}

/// What was done in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Steps.
    pub steps: u64,
    /// Time that passed in the world.
    pub simulated_ns: u64,
    /// Logs that were opened.
    pub recoveries: u64,
    /// Crashes that were tried on a copy of the disk.
    pub crash_states: u64,
    /// Records that subscribers got.
    pub delivered: u64,
}

impl World {
    /// The world of a seed.
    pub(crate) fn new(seed: u64, without: &[Fault]) -> Self {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x514e);
        let faults = Faults::new(seed, without);
        let models = streams(&mut rng);
        let subjects: Vec<&'static str> = SUBJECTS
            .into_iter()
            .filter(|subject| {
                models
                    .iter()
                    .any(|model| subject.split('.').next() == Some(model.name))
            })
            .collect();
        let mut clients = Vec::new();
        // Long records fill segments, short ones make many frames.
        let usual_bytes = [60, 400, 3500][rng.below(3) as usize];
        for _ in 0..1 + rng.below(3) {
            let publisher = Publisher::new(subjects.clone(), usual_bytes);
            clients.push(Client::new(Role::Publisher(publisher)));
        }
        for _ in 0..1 + rng.below(3) {
            let pattern = PATTERNS[rng.below(PATTERNS.len() as u64) as usize];
            clients.push(Client::new(Role::Subscriber(Subscriber::new(pattern))));
        }
        let drive = Drive::new(rng.below(2) == 0);
        Self {
            misreads: vec![0; models.len()],
            rng,
            faults,
            checks: Checks::default(),
            trace: Trace::default(),
            clock: Clock::default(),
            drive,
            models,
            ledger: Ledger::default(),
            clients,
            links: BTreeMap::new(),
            next_link: 0,
            process: None,
            epoch: 0,
            stopped_until_ns: 0,
            disk_resumes_at_step: 0,
            room_comes_at_step: 0,
            surge_ends_at_step: 0,
            power_failed: false,
            stats: Stats::default(),
        }
    }

    /// Lives through so many steps, then lets the faults stop, and looks at what is left.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub(crate) fn run(&mut self, steps: u64) -> Result<(), Violation> {
        let start_ns = self.clock.now().mono_ns;
        let result = self.live(steps);
        self.stats.simulated_ns = self.clock.now().mono_ns - start_ns;
        self.stats.delivered = self
            .clients
            .iter()
            .map(|client| match &client.role {
                Role::Subscriber(subscriber) => subscriber.received,
                Role::Publisher(_) => 0,
            })
            .sum();
        result
    }

    fn live(&mut self, steps: u64) -> Result<(), Violation> {
        self.start()?;
        for _ in 0..steps {
            self.step()?;
        }
        self.calm()
    }
}

/// Two or three streams, different in each world.
fn streams(rng: &mut Rng) -> Vec<StreamModel> {
    let mut models = Vec::new();
    for name in ["orders", "events", "quotes"] {
        let volatile = name == "quotes";
        if volatile && rng.below(3) > 0 {
            continue;
        }
        let level = match rng.below(5) {
            _ if volatile => AckLevel::Received,
            0..=2 => AckLevel::Synced,
            _ => AckLevel::Stored,
        };
        let visible = if rng.below(6) == 0 {
            AckLevel::Received
        } else {
            level
        };
        // In long ones the tail runs full while the disk stands still; short ones end all the time.
        let segment_bytes = if rng.below(4) == 0 {
            512 << 10
        } else {
            64 << 10
        };
        let retention = Retention {
            bytes_max: (rng.below(2) == 0).then_some(4 * segment_bytes),
            age_ns_max: (rng.below(4) == 0).then_some(20 * SECOND),
            records_max: (rng.below(3) == 0).then_some(100),
        };
        let config = LogConfig {
            storage: if volatile {
                Storage::Memory
            } else {
                Storage::Files
            },
            durability: if level == AckLevel::Synced {
                Durability::Synced
            } else {
                Durability::Stored
            },
            tail_bytes: 256 << 10,
            segment_bytes,
            record_bytes_max: if rng.below(2) == 0 {
                RECORD_BYTES_MAX
            } else {
                RECORD_BYTES_MAX / 3
            },
            subjects_max: 64,
            sync_interval_ns: SECOND,
            read_bytes: 4096 << rng.below(3),
            retention,
            entropy: u128::from(rng.bits()) << 64 | u128::from(rng.bits()),
        };
        models.push(StreamModel::new(name, config, level, visible));
    }
    models
}

const SUBJECTS: [&str; 8] = [
    "orders.eu",
    "orders.us",
    "orders.eu.new",
    "events.a",
    "events.b",
    "events.b.c",
    "quotes.x",
    "quotes.y",
];
const PATTERNS: [&str; 6] = [
    ">",
    "orders.>",
    "events.>",
    "*.eu",
    "events.b.>",
    "orders.*",
];
