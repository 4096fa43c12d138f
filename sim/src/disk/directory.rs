//! A directory's names, and which of their changes a power loss takes back.

use std::collections::BTreeMap;

use crate::faults::{Fault, Faults};

/// A file's name in a stream's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// A segment.
    Segment(u64),
    /// One in preparation.
    New(u64),
}

/// Names and the files that they stand for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    now: BTreeMap<Name, u64>,
    durable: BTreeMap<Name, u64>,
    /// Changes since the directory was last synced. Each may be on the device or not.
    pending: Vec<Change>,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Link(Name, u64),
    Rename(Name, Name, u64),
    Unlink(Name),
}

impl Directory {
    /// The names that there are.
    pub(crate) fn names(&self) -> impl Iterator<Item = (Name, u64)> + '_ {
        self.now.iter().map(|(name, file)| (*name, *file))
    }

    /// The file of a name.
    pub(crate) fn find(&self, name: Name) -> Option<u64> {
        self.now.get(&name).copied()
    }

    /// Gives a file a name.
    pub(crate) fn link(&mut self, name: Name, file: u64) {
        self.now.insert(name, file);
        self.pending.push(Change::Link(name, file));
    }

    /// Gives a file another name, in place of the file that had it.
    pub(crate) fn rename(&mut self, from: Name, to: Name) {
        if let Some(file) = self.now.remove(&from) {
            self.now.insert(to, file);
            self.pending.push(Change::Rename(from, to, file));
        }
    }

    /// Takes a name away. False when there is none.
    pub(crate) fn unlink(&mut self, name: Name) -> bool {
        self.pending.push(Change::Unlink(name));
        self.now.remove(&name).is_some()
    }

    /// Whether some name that came is not certain.
    pub(crate) fn has_unsynced_names(&self) -> bool {
        let came = |change: &Change| !matches!(change, Change::Unlink(_));
        self.pending.iter().any(came)
    }

    /// Makes the names durable.
    pub(crate) fn sync(&mut self) {
        self.durable.clone_from(&self.now);
        self.pending.clear();
    }

    /// Power fails: each change since the last sync is there or not.
    pub(crate) fn lose_power(&mut self, keep: Option<bool>, faults: &mut Faults) {
        for change in std::mem::take(&mut self.pending) {
            let kind = match change {
                Change::Link(..) => Fault::CrashLostCreate,
                Change::Rename(..) => Fault::CrashLostRename,
                Change::Unlink(_) => Fault::CrashLostRemove,
            };
            let lost = match keep {
                Some(keep) => !keep,
                None => faults.would_strike(kind),
            };
            if lost {
                faults.count(kind);
                continue;
            }
            match change {
                Change::Link(name, file) => {
                    self.durable.insert(name, file);
                }
                Change::Rename(from, to, file) => {
                    self.durable.remove(&from);
                    self.durable.insert(to, file);
                }
                Change::Unlink(name) => {
                    self.durable.remove(&name);
                }
            }
        }
        self.now.clone_from(&self.durable);
    }

    /// Whether a name stands for this file, or may do so after a power loss.
    pub(crate) fn has(&self, file: u64) -> bool {
        let pending = self.pending.iter().any(|change| match change {
            Change::Link(_, other) | Change::Rename(_, _, other) => *other == file,
            Change::Unlink(_) => false,
        });
        let mut named = self.now.values().chain(self.durable.values());
        pending || named.any(|other| *other == file)
    }
}
