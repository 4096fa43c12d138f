//! What a plan must know of the machine that it is for.

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
        let set = rustix::thread::sched_getaffinity(None).ok();
        let allowed = set.map(|set| {
            (0..rustix::thread::CpuSet::MAX_CPU)
                .filter(|&cpu| set.is_set(cpu))
                .collect()
        });
        let allowed: Vec<usize> = allowed.unwrap_or_else(|| vec![0]);
        let info = rustix::system::sysinfo();
        Self {
            cpus: apart(&allowed, siblings),
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

/// The first thread of each core, then all others. `siblings` names the threads of a CPU's core.
fn apart(allowed: &[usize], siblings: impl Fn(usize) -> Vec<usize>) -> Vec<u32> {
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    for &cpu in allowed {
        let taken = siblings(cpu)
            .iter()
            .any(|sibling| first.contains(&(*sibling as u32)));
        if taken { &mut rest } else { &mut first }.push(cpu as u32);
    }
    first.append(&mut rest);
    first
}

fn siblings(cpu: usize) -> Vec<usize> {
    let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
    std::fs::read_to_string(path).map_or_else(|_| vec![cpu], |list| cpu_list(&list))
}

/// The kernel's `0-3,8,10-11`.
pub(crate) fn cpu_list(text: &str) -> Vec<usize> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            cpus.extend(first..=last.min(first.saturating_add(4096)));
        }
    }
    cpus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_lists() {
        assert_eq!(cpu_list("0-3,8,10-11\n"), [0, 1, 2, 3, 8, 10, 11]);
        assert_eq!(cpu_list(""), []);
    }

    #[test]
    fn takes_one_thread_of_each_core_before_its_sibling() {
        let pairs = |cpu: usize| vec![cpu & !1, cpu | 1];
        assert_eq!(apart(&[0, 1, 2, 3], pairs), [0, 2, 1, 3]);
    }

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
