//! What happened in a run, as one number: two runs of a seed must come to the same.

/// A running hash (FNV-1a over words) of a run's events. Not for anybody who means harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    /// Adds a number.
    pub(crate) fn number(&mut self, number: u64) {
        self.0 = (self.0 ^ number)
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(23)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    /// Adds bytes and their length.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.number(
                chunk
                    .iter()
                    .rev()
                    .fold(0, |word, byte| word << 8 | u64::from(*byte)),
            );
        }
        for byte in chunks.remainder() {
            self.number(u64::from(*byte));
        }
        self.number(bytes.len() as u64);
    }

    /// The hash so far.
    pub(crate) fn finish(self) -> u64 {
        self.0
    }
}

/// The events of one run.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    hash: Hash,
    events: u64,
    /// Prints each event as it happens.
    pub shown: bool,
}

impl Trace {
    /// Notes an event: a word for what it is, and its numbers.
    pub(crate) fn event(&mut self, at_ns: u64, what: &'static str, numbers: &[u64]) {
        self.events += 1;
        self.hash.number(at_ns);
        self.hash.bytes(what.as_bytes());
        for number in numbers {
            self.hash.number(*number);
        }
        if self.shown {
            eprintln!("{:>14.6} {what} {numbers:?}", at_ns as f64 / 1e9);
        }
    }

    /// How many events there were.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// The hash of all events.
    pub(crate) fn hash(&self) -> u64 {
        self.hash.finish()
    }
}
