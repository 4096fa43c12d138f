//! The machine's cores as the system describes them: packages, NUMA nodes, SMT siblings, and what this process may use.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The logical CPUs that this process may run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    cpus: Vec<Cpu>,
}

/// One logical CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// The system's number for it.
    pub index: usize,
    /// The physical core within its package.
    pub core: usize,
    /// The socket.
    pub package: usize,
    /// The NUMA node.
    pub node: usize,
    /// Its place among the SMT siblings of its core: 0 is the first.
    pub sibling: usize,
}

impl Topology {
    /// Reads it from the system. What the system does not say is taken as one package, one node, no siblings.
    pub fn detect() -> Self {
        let parallelism = std::thread::available_parallelism().map_or(1, usize::from);
        let allowed = allowed().unwrap_or_else(|| (0..parallelism).collect());
        Self::read(Path::new("/sys/devices/system"), &allowed)
    }

    /// Reads a tree like `/sys/devices/system`, keeping the CPUs in `allowed`.
    pub fn read(system: &Path, allowed: &BTreeSet<usize>) -> Self {
        let nodes = read_nodes(system);
        let cpus = allowed
            .iter()
            .map(|&index| read_cpu(system, index, &nodes))
            .collect();
        Self { cpus }
    }

    /// All of them, by index.
    pub fn cpus(&self) -> &[Cpu] {
        &self.cpus
    }

    /// How many physical cores there are.
    pub fn cores(&self) -> usize {
        self.cpus
            .iter()
            .map(|cpu| (cpu.package, cpu.core))
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// How many NUMA nodes there are.
    pub fn nodes(&self) -> usize {
        self.cpus
            .iter()
            .map(|cpu| cpu.node)
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// The CPUs besides `taken`; all when none is left, none when none is taken.
    pub(crate) fn besides(&self, taken: &[Option<usize>]) -> Vec<usize> {
        if taken.iter().all(Option::is_none) {
            return Vec::new();
        }
        let all = self.cpus.iter().map(|cpu| cpu.index);
        let left: Vec<usize> = all
            .clone()
            .filter(|cpu| !taken.contains(&Some(*cpu)))
            .collect();
        if left.is_empty() { all.collect() } else { left }
    }

    /// CPUs for `count` workers: a physical core each while there are any, filling one node before the next, then the siblings.
    /// CPU 0, where most interrupts arrive, comes last within its kind. Fewer than `count` when there are not so many.
    pub fn placement(&self, count: usize) -> Vec<usize> {
        let mut order = self.cpus.clone();
        order.sort_by_key(|cpu| {
            (
                cpu.sibling,
                cpu.index == 0,
                cpu.node,
                cpu.package,
                cpu.core,
                cpu.index,
            )
        });
        order.into_iter().take(count).map(|cpu| cpu.index).collect()
    }
}

/// Binds the calling thread to one CPU.
///
/// # Errors
/// What the system answered: the CPU does not exist, or is not allowed.
pub fn pin_current_thread(cpu: usize) -> io::Result<()> {
    bind_current_thread(&[cpu])
}

/// Lets the calling thread run on these CPUs only; none means that nothing changes.
pub(crate) fn bind_current_thread(cpus: &[usize]) -> io::Result<()> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for cpu in cpus {
        if *cpu >= CpuSet::MAX_CPU {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        set.set(*cpu);
    }
    Ok(sched_setaffinity(None, &set)?)
}

fn allowed() -> Option<BTreeSet<usize>> {
    let set = sched_getaffinity(None).ok()?;
    let allowed: BTreeSet<usize> = (0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect();
    (!allowed.is_empty()).then_some(allowed)
}

fn read_cpu(system: &Path, index: usize, nodes: &[(usize, BTreeSet<usize>)]) -> Cpu {
    let topology = system.join(format!("cpu/cpu{index}/topology"));
    let siblings =
        fs::read_to_string(topology.join("thread_siblings_list")).map(|list| parse_list(&list));
    Cpu {
        index,
        core: read_number(&topology.join("core_id")).unwrap_or(index),
        package: read_number(&topology.join("physical_package_id")).unwrap_or(0),
        node: nodes
            .iter()
            .find(|(_, cpus)| cpus.contains(&index))
            .map_or(0, |(node, _)| *node),
        sibling: siblings.map_or(0, |siblings| siblings.range(..index).count()),
    }
}

fn read_nodes(system: &Path) -> Vec<(usize, BTreeSet<usize>)> {
    let Ok(online) = fs::read_to_string(system.join("node/online")) else {
        return Vec::new();
    };
    let nodes = parse_list(&online).into_iter();
    nodes
        .filter_map(|node| {
            let list = fs::read_to_string(system.join(format!("node/node{node}/cpulist"))).ok()?;
            Some((node, parse_list(&list)))
        })
        .collect()
}

fn read_number(path: &Path) -> Option<usize> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// `0-3,8,10-11`; what is not understood is left out.
fn parse_list(list: &str) -> BTreeSet<usize> {
    let mut numbers = BTreeSet::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            numbers.extend(first..=last.min(CpuSet::MAX_CPU));
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_rubbish_is_left_out() {
        assert_eq!(
            parse_list("0-3,8,10-11\n"),
            BTreeSet::from([0, 1, 2, 3, 8, 10, 11])
        );
        assert_eq!(parse_list(""), BTreeSet::new());
        assert_eq!(parse_list("x,2-,7"), BTreeSet::from([7]));
    }

    #[test]
    fn workers_get_physical_cores_before_siblings_and_cpu_0_last() {
        let cpu = |index, core, node, sibling| Cpu {
            index,
            core,
            package: node,
            node,
            sibling,
        };
        let cpus = vec![
            cpu(0, 0, 0, 0),
            cpu(1, 1, 0, 0),
            cpu(2, 0, 1, 0),
            cpu(3, 0, 0, 1),
            cpu(4, 1, 0, 1),
        ];
        let topology = Topology { cpus };
        assert_eq!(topology.placement(9), vec![1, 2, 0, 3, 4]);
        assert_eq!((topology.cores(), topology.nodes()), (3, 2));
    }

    #[test]
    fn this_machine_has_a_cpu_and_a_thread_can_be_bound_to_it() {
        let topology = Topology::detect();
        let cpu = topology.cpus()[0].index;
        std::thread::spawn(move || {
            pin_current_thread(cpu).unwrap();
            assert_eq!(allowed().unwrap(), BTreeSet::from([cpu]));
        })
        .join()
        .unwrap();
        assert!(pin_current_thread(usize::MAX).is_err());
    }

    #[test]
    fn a_machine_that_says_nothing_is_one_node_without_siblings() {
        let nowhere = Path::new("/nonexistent");
        let topology = Topology::read(nowhere, &BTreeSet::from([0, 1]));
        assert_eq!((topology.cores(), topology.nodes()), (2, 1));
    }
}
