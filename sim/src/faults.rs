//! What can go wrong: each kind of fault by name, how often it strikes in this run, and how often it has.
//!
//! Every kind draws from random numbers of its own, so that a run in which one kind is switched off differs only in what
//! that kind would have done. That is what makes failing runs shrink.

use trunkline_log::testing::Rng;

macro_rules! faults {
    ($($group:literal: $($kind:ident $name:literal one in $one_in:literal;)*)*) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "each has its name and its group in the table")]
        pub enum Fault { $($($kind,)*)* }

        /// All of them: name, group, and one in how many opportunities it takes where it is common.
        const TABLE: &[(Fault, &str, &str, u64)] = &[$($((Fault::$kind, $name, $group, $one_in),)*)*];
    };
}

faults! {
    "power loss":
        PowerLoss "power-loss" one in 800;
        CrashLoseAll "lose-all-unsynced" one in 8;
        CrashKeepAll "keep-all-unsynced" one in 12;
        CrashPageSubset "page-subset" one in 2;
        CrashOldVersion "older-version-of-a-page" one in 6;
        CrashSectorSubset "sector-subset" one in 8;
        CrashPrefixTear "page-torn-at-a-sector" one in 8;
        CrashShornSector "shorn-sector" one in 16;
        CrashGarbage "garbage-page" one in 24;
        CrashZeroFill "zero-filled-page" one in 24;
        CrashCrossFile "later-file-kept-earlier-lost" one in 6;
        CrashLostCreate "lost-create" one in 2;
        CrashLostRename "lost-rename" one in 2;
        CrashLostRemove "lost-remove" one in 2;
        CrashShortFile "size-behind-data" one in 1;
    "disk":
        WriteError "write-EIO" one in 250;
        WriteNoSpace "write-ENOSPC" one in 600;
        WriteQuota "write-EDQUOT" one in 600;
        WriteInterrupted "write-EINTR" one in 30;
        WriteShort "short-write" one in 30;
        WriteSyncShort "short-synced-write" one in 250;
        WriteReadOnly "write-EROFS" one in 700;
        SyncErrorNewCache "sync-EIO-cache-keeps-new" one in 120;
        SyncErrorOldCache "sync-EIO-cache-goes-back" one in 120;
        SyncInterrupted "sync-EINTR" one in 100;
        ReadError "read-EIO" one in 40;
        ReadInterrupted "read-EINTR" one in 20;
        ReadShort "short-read" one in 10;
        ReadFlip "bit-flip-in-a-read" one in 20;
        OpenTooMany "open-EMFILE" one in 400;
        NoMemory "any-ENOMEM" one in 400;
        PrepareNoSpace "prepare-ENOSPC" one in 4;
        PrepareInterrupted "prepare-EINTR" one in 6;
        PrepareTorn "prepare-fails-after-rename" one in 6;
        RemoveError "remove-EIO" one in 2;
        RemoveMissing "remove-ENOENT" one in 3;
        Stall "stall-of-10-s" one in 120;
        StandStill "stands-still-under-load" one in 900;
        OutOfOrder "out-of-order-completion" one in 3;
        BitRot "bit-rot" one in 300;
        Misdirected "misdirected-write" one in 300;
    "process":
        Kill "kill" one in 700;
        KillInRecovery "kill-in-recovery" one in 3;
        PowerLossInRecovery "power-loss-in-recovery" one in 3;
        Freeze "stopped-for-a-while" one in 800;
        SecondProcess "second-process" one in 300;
        LateWrite "write-of-a-dead-process" one in 2;
        RecoveryReadError "read-EIO-in-recovery" one in 6;
        RecoveryNoSpace "ENOSPC-in-recovery" one in 6;
    "clock":
        ClockBack "back" one in 250;
        ClockForward "forward-10-years" one in 500;
        ClockFreeze "freeze" one in 300;
        ClockJitter "jitter-of-a-second" one in 60;
        Suspend "suspended-for-an-hour" one in 600;
    "network":
        Delay "delay" one in 60;
        Crumbs "single-bytes" one in 40;
        HalfOpen "half-open" one in 1200;
        BlackHole "black-hole" one in 1200;
        Reset "reset" one in 1200;
        Truncate "end-within-a-frame" one in 1200;
        FlipUp "bit-flip-to-server" one in 1500;
        FlipDown "bit-flip-to-client" one in 1500;
        Duplicate "duplicated-bytes" one in 1500;
        Dropped "dropped-bytes" one in 1500;
        SlowReader "slow-reader" one in 150;
        Surge "nothing-gets-to-subscribers-under-load" one in 1500;
        SlowWriter "slow-writer" one in 80;
    "client":
        Oversized "record-over-the-limit" one in 40;
        NoStream "subject-of-no-stream" one in 60;
        Undefined "undefined-subject" one in 1000;
        Garbage "garbage" one in 1000;
        Forged "payload-like-a-mark" one in 40;
        BadChecksum "bad-checksum" one in 1000;
        NoHello "no-hello" one in 20;
        Burst "burst" one in 30;
        Vanish "vanishes-with-records-unanswered" one in 1000;
    "space":
        DiskFull "disk-full-until-something-goes" one in 1200;
    // Last, so that the others do in each seed what they did before it came.
    "network":
        Reordered "reordered-bytes" one in 1500;
}

impl Fault {
    /// How many kinds there are.
    pub const COUNT: usize = TABLE.len();

    /// All kinds.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    /// What it is called on the command line and in reports.
    pub fn name(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// What it belongs to.
    pub fn group(self) -> &'static str {
        TABLE[self as usize].2
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    fn one_in(self) -> u64 {
        TABLE[self as usize].3
    }
}

/// Which kinds strike in a run, and how often each has.
#[derive(Clone, Debug)]
pub struct Faults {
    kinds: Vec<Kind>,
    calm: bool,
}

#[derive(Clone, Debug)]
struct Kind {
    rng: Rng,
    /// Strikes one in so many opportunities; 0 for never.
    one_in: u64,
    count: u64,
}

impl Faults {
    /// Every seed has its own mixture: some kinds often, some seldom, some never.
    pub fn new(seed: u64, without: &[Fault]) -> Self {
        let mut rng = Rng(seed ^ 0x00fa_0175);
        // Most worlds have some peaceful corner, so that there is something to lose elsewhere.
        let peaceful: Vec<&str> = ["network", "client", "process", "disk", "power loss"]
            .into_iter()
            .filter(|_| rng.below(3) == 0)
            .collect();
        let kinds = Fault::all()
            .map(|fault| {
                let (own, often) = (rng.bits(), rng.below(8));
                let one_in = match often {
                    0..=2 => 0,
                    3..=5 => fault.one_in(),
                    6 => fault.one_in() * 5,
                    _ => fault.one_in().div_ceil(3),
                };
                let never = without.contains(&fault) || peaceful.contains(&fault.group());
                Kind {
                    rng: Rng(own),
                    one_in: if never { 0 } else { one_in },
                    count: 0,
                }
            })
            .collect();
        Self { kinds, calm: false }
    }

    /// From now on, nothing strikes.
    pub fn calm_down(&mut self) {
        self.calm = true;
    }

    /// Nothing strikes until [`resume`](Self::resume) gets what this returns.
    pub fn pause(&mut self) -> bool {
        std::mem::replace(&mut self.calm, true)
    }

    /// Goes on as before [`pause`](Self::pause).
    pub fn resume(&mut self, was_calm: bool) {
        self.calm = was_calm;
    }

    /// Whether nothing strikes any more.
    pub fn is_calm(&self) -> bool {
        self.calm
    }

    /// An opportunity for this kind. If it strikes, it is counted.
    pub fn strikes(&mut self, fault: Fault) -> bool {
        let struck = self.would_strike(fault);
        if struck {
            self.count(fault);
        }
        struck
    }

    /// An opportunity for this kind whose effect is not certain yet: [`count`](Self::count) it once it has one.
    pub fn would_strike(&mut self, fault: Fault) -> bool {
        let kind = &mut self.kinds[fault as usize];
        kind.one_in > 0 && !self.calm && kind.rng.below(kind.one_in) == 0
    }

    /// Counts a fault that had its effect.
    pub fn count(&mut self, fault: Fault) {
        self.kinds[fault as usize].count += 1;
    }

    /// A number below `end` out of this kind's own random numbers.
    pub fn below(&mut self, fault: Fault, end: u64) -> u64 {
        self.kinds[fault as usize].rng.below(end)
    }

    /// Whether this kind can strike in this run.
    pub fn is_on(&self, fault: Fault) -> bool {
        self.kinds[fault as usize].one_in > 0
    }

    /// How often each kind has struck.
    pub fn counts(&self) -> Vec<u64> {
        self.kinds.iter().map(|kind| kind.count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switching_one_kind_off_leaves_the_others_as_they_were() {
        let mut all = Faults::new(7, &[]);
        let mut less = Faults::new(7, &[Fault::Kill]);
        for _ in 0..1000 {
            let (kill, _) = (all.strikes(Fault::Kill), less.strikes(Fault::Kill));
            let _ = kill;
            assert_eq!(all.strikes(Fault::Stall), less.strikes(Fault::Stall));
        }
        assert_eq!(less.counts()[Fault::Kill as usize], 0);
    }

    #[test]
    fn every_kind_is_found_by_its_name() {
        for fault in Fault::all() {
            assert_eq!(Fault::from_name(fault.name()), Some(fault));
        }
        const { assert!(Fault::COUNT >= 40) };
    }
}
