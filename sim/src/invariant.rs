//! What must hold, whatever goes wrong, and how often each was checked.

use std::fmt;

macro_rules! invariants {
    ($($name:ident $word:literal $text:literal;)*) => {
        /// Something that must hold.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Invariant { $(#[doc = $text] $name,)* }

        const TABLE: &[(Invariant, &str, &str)] = &[$((Invariant::$name, $word, $text),)*];
    };
}

invariants! {
    Durability "durability" "What was acknowledged at a level is there, byte for byte, after every crash that the level is for.";
    Opens "opens" "A log whose disk told no lies opens after every crash.";
    Prefix "prefix" "What recovery finds is what was appended, in order, without a hole.";
    Phantom "no phantom" "Nothing appears that was not sent, that was refused, or that was sent once and appears twice.";
    Reuse "no reuse" "Sequences are dense, times never go back, and no sequence that somebody saw gets another record.";
    Acks "acks" "An Ack names what was sent, at the level that was asked, once it has got there.";
    Idempotent "idempotent" "Recovery can be interrupted anywhere and repeated; what it serves survives the next crash.";
    Replay "replay" "Reading by sequence and by time gives what the model has.";
    Delivery "delivery" "A subscriber gets every record that it asked for, in order, once, or is told of a gap for a reason that its policy has.";
    Retention "retention" "Only what the policy allows is removed, and what is too old does not stay.";
    Memory "memory" "Everything that is kept is within its limits.";
    Liveness "liveness" "When faults stop, everything is acknowledged, delivered and synced within a minute.";
    Damage "damage" "What rots or was written to a wrong place is found and named, range and sequences, and no reader gets a wrong byte.";
    Kept "kept aside" "Recovery overwrites nothing of which it has not kept a copy.";
    Lock "lock" "A second process is kept out, and changes nothing.";
}

impl Invariant {
    /// How many there are.
    pub const COUNT: usize = TABLE.len();

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    /// What it is called in reports.
    pub fn name(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// What it says.
    pub fn text(self) -> &'static str {
        TABLE[self as usize].2
    }
}

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// Where and how.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant.name(), self.detail)
    }
}

/// Checks, counted.
#[derive(Clone, Debug)]
pub(crate) struct Checks {
    counts: [u64; Invariant::COUNT],
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            counts: [0; Invariant::COUNT],
        }
    }
}

impl Checks {
    /// Counts a check, and says what is wrong if it does not hold.
    ///
    /// # Errors
    /// The violation.
    pub(crate) fn check(
        &mut self,
        invariant: Invariant,
        holds: bool,
        detail: impl FnOnce() -> String,
    ) -> Result<(), Violation> {
        self.counts[invariant as usize] += 1;
        if holds {
            Ok(())
        } else {
            Err(Violation {
                invariant,
                detail: detail(),
            })
        }
    }

    /// The same for a check that gives its own reason.
    ///
    /// # Errors
    /// The violation.
    pub(crate) fn result(
        &mut self,
        invariant: Invariant,
        result: Result<(), String>,
    ) -> Result<(), Violation> {
        self.counts[invariant as usize] += 1;
        result.map_err(|detail| Violation { invariant, detail })
    }

    /// How often each was checked.
    pub(crate) fn counts(&self) -> [u64; Invariant::COUNT] {
        self.counts
    }
}
