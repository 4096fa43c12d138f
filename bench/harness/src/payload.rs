//! Messages that can be checked: who sent them, which one it is, when it was due, and bytes that follow from nothing else.

use crate::Failure;

/// Makes the messages of one publisher.
pub struct Maker {
    bytes: Vec<u8>,
    publisher: u64,
}

/// Checks messages as they come: those of each publisher exactly once and in order.
pub struct Checker {
    /// What follows the number and the time.
    rest: Vec<u8>,
    next: Vec<u64>,
    count: u64,
}

impl Maker {
    /// For the publisher of this number, messages of `bytes` bytes.
    pub fn new(publisher: u16, bytes: usize) -> Self {
        let mut made = vec![0; HEAD_BYTES];
        made.extend(rest(bytes));
        Self {
            bytes: made,
            publisher: u64::from(publisher) << PUBLISHER_SHIFT,
        }
    }

    #[inline]
    pub fn make(&mut self, number: u64, due_ns: u64) -> &[u8] {
        self.bytes[..8].copy_from_slice(&(self.publisher | number).to_le_bytes());
        self.bytes[8..HEAD_BYTES].copy_from_slice(&due_ns.to_le_bytes());
        &self.bytes
    }
}

impl Checker {
    /// For messages of so many publishers.
    pub fn new(publishers: usize, bytes: usize) -> Self {
        Self {
            rest: rest(bytes).collect(),
            next: vec![0; publishers],
            count: 0,
        }
    }

    /// For messages of which the first of each publisher are gone: they count from the first that comes.
    pub fn midway(publishers: usize, bytes: usize) -> Self {
        Self {
            next: vec![ANY; publishers],
            ..Self::new(publishers, bytes)
        }
    }

    /// The number that is to come next of a publisher; `None` when nothing of it has come where its first may be gone.
    pub fn next(&self, publisher: usize) -> Option<u64> {
        self.next
            .get(publisher)
            .copied()
            .filter(|next| *next != ANY)
    }

    /// How many came.
    #[inline]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Takes the next message and returns when it was due.
    ///
    /// # Errors
    /// When it is not the next of its publisher, or not what was sent.
    #[inline]
    pub fn take(&mut self, message: &[u8]) -> Result<u64, Failure> {
        let Some((head, rest)) = message.split_first_chunk::<HEAD_BYTES>() else {
            return Err(wrong(&format!(
                "a message of {} bytes came, which nobody sent",
                message.len()
            )));
        };
        let [number, due] =
            [0, 8].map(|at| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes")));
        let publisher = (number >> PUBLISHER_SHIFT) as usize;
        let number = number & NUMBER_MASK;
        let Some(next) = self.next.get_mut(publisher) else {
            return Err(wrong(&format!(
                "a message of publisher {publisher} came, whom there is not"
            )));
        };
        if number != *next && *next != ANY {
            return Err(wrong(&format!(
                "message {number} of publisher {publisher} came where {next} was next"
            )));
        }
        if *rest != *self.rest {
            return Err(wrong(&format!(
                "message {number} of publisher {publisher} is altered"
            )));
        }
        *next = number + 1;
        self.count += 1;
        Ok(due)
    }
}

#[cold]
fn wrong(what: &str) -> Failure {
    what.to_owned()
}

fn rest(bytes: usize) -> impl Iterator<Item = u8> {
    (HEAD_BYTES..bytes).map(|at| (at as u32).wrapping_mul(0x9e37_79b9).to_le_bytes()[3])
}

/// Number and time; the least bytes of a message.
pub const HEAD_BYTES: usize = 16;
const PUBLISHER_SHIFT: u32 = 48;
const NUMBER_MASK: u64 = (1 << PUBLISHER_SHIFT) - 1;
/// No message has this number.
const ANY: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_comes_midway_takes_any_first_and_then_the_next() {
        let mut maker = Maker::new(1, 64);
        let mut checker = Checker::midway(2, 64);
        assert!(checker.take(maker.make(7, 0)).is_ok());
        assert!(checker.take(maker.make(9, 0)).is_err());
        assert!(checker.take(maker.make(8, 0)).is_ok());
        assert_eq!((checker.next(0), checker.next(1)), (None, Some(9)));
        assert_eq!(checker.count(), 2);
    }

    #[test]
    fn loss_order_repetition_and_damage_are_seen() {
        let mut makers = [Maker::new(0, 64), Maker::new(1, 64)];
        let mut checker = Checker::new(2, 64);
        assert_eq!(checker.take(makers[1].make(0, 7)), Ok(7));
        assert_eq!(checker.take(makers[0].make(0, 8)), Ok(8));
        assert!(checker.take(makers[0].make(0, 0)).is_err());
        assert!(checker.take(makers[0].make(2, 0)).is_err());
        assert!(checker.take(Maker::new(2, 64).make(0, 0)).is_err());
        let mut altered = makers[1].make(1, 0).to_vec();
        altered[40] ^= 1;
        assert!(checker.take(&altered).is_err());
        assert!(checker.take(&altered[..20]).is_err());
        assert!(checker.take(&[]).is_err());
        assert_eq!(checker.count(), 2);
    }
}
