//! What a plan must know of the machine that it is for.

use trunkline_reactor::Topology;

/// The CPUs and the memory that a server may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// CPUs that the process may run on, in the order in which workers should take them: one thread of each core first,
    /// its siblings after.
    pub cpus: Vec<u32>,
    /// Physical memory; 0 when unknown.
    pub memory_bytes: u64,
}

impl Machine {
    /// Reads the machine that this process runs on.
    #[must_use]
    pub fn here() -> Self {
        let topology = Topology::detect();
        let cpus = topology.placement(topology.cpus().len());
        let info = rustix::system::sysinfo();
        Self {
            cpus: cpus
                .into_iter()
                .filter_map(|cpu| u32::try_from(cpu).ok())
                .collect(),
            memory_bytes: info.totalram.saturating_mul(u64::from(info.mem_unit)),
        }
    }

    /// Workers when nobody says how many: one on machines of one or two cores, which a client also needs, else half.
    #[must_use]
    pub fn default_workers(&self) -> u32 {
        match self.cpus.len() {
            0..=2 => 1,
            cores => u32::try_from(cores / 2).unwrap_or(256).min(256),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_room_for_others_by_default() {
        let workers = |cpus: u32| {
            Machine {
                cpus: (0..cpus).collect(),
                memory_bytes: 0,
            }
            .default_workers()
        };
        assert_eq!([1, 2, 3, 4, 8].map(workers), [1, 1, 1, 2, 4]);
    }
}
