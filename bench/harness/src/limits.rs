//! What the system allows a process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Failure;

/// Allows this process, and those that it starts, so many open files.
///
/// # Errors
/// When the system does not allow it: only root may go beyond the limit that was set for it.
pub fn raise_open_files(wanted: u64) -> Result<(), Failure> {
    let now = getrlimit(Resource::Nofile);
    if now.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let maximum = now.maximum.map(|maximum| maximum.max(wanted));
    let raised = Rlimit {
        current: Some(wanted),
        maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(|error| {
        format!(
            "{wanted} open files are needed, {} are allowed: {error}",
            now.maximum.unwrap_or_default()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_goes_up_and_never_down() {
        let before = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        raise_open_files(1).unwrap();
        assert_eq!(
            getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
            before
        );
        // More than any system has.
        assert!(before == u64::MAX || raise_open_files(1 << 62).is_err());
    }
}
