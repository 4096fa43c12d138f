//! Payloads that can be checked: a number, a time, and bytes that follow from neither.

use super::Failure;

/// Makes payloads of one size.
pub(super) struct Maker {
    bytes: Vec<u8>,
}

/// Checks payloads of one size as they come, each exactly once and in order.
pub(super) struct Checker {
    /// What follows the number and the time.
    rest: Vec<u8>,
    next: u64,
}

impl Maker {
    pub(super) fn new(bytes: usize) -> Self {
        let mut made = vec![0; HEAD_BYTES];
        made.extend(rest(bytes));
        Self { bytes: made }
    }

    /// The payload of a number, due at a time.
    pub(super) fn make(&mut self, number: u64, due_ns: u64) -> &[u8] {
        self.bytes[..8].copy_from_slice(&number.to_le_bytes());
        self.bytes[8..HEAD_BYTES].copy_from_slice(&due_ns.to_le_bytes());
        &self.bytes
    }
}

impl Checker {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            rest: rest(bytes).collect(),
            next: 0,
        }
    }

    /// How many came.
    pub(super) fn count(&self) -> u64 {
        self.next
    }

    /// Takes the next payload and returns when it was due.
    pub(super) fn take(&mut self, payload: &[u8]) -> Result<u64, Failure> {
        let wrong = |what: String| Err(Failure::Absent(what));
        let Some((head, rest)) = payload.split_first_chunk::<HEAD_BYTES>() else {
            return wrong(format!(
                "a record of {} bytes came, which nobody published",
                payload.len()
            ));
        };
        let mut number = [0; 8];
        number.copy_from_slice(&head[..8]);
        let mut due = [0; 8];
        due.copy_from_slice(&head[8..]);
        let number = u64::from_le_bytes(number);
        if number != self.next {
            return wrong(format!("record {number} came where {} was due", self.next));
        }
        if *rest != *self.rest {
            return wrong(format!("record {number} is damaged"));
        }
        self.next += 1;
        Ok(u64::from_le_bytes(due))
    }
}

fn rest(bytes: usize) -> impl Iterator<Item = u8> {
    (HEAD_BYTES..bytes).map(|at| (at as u32).wrapping_mul(0x9e37_79b9).to_le_bytes()[3])
}

/// Number and time.
const HEAD_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_order_and_damage_are_seen() {
        let mut maker = Maker::new(64);
        let mut checker = Checker::new(64);
        assert_eq!(checker.take(maker.make(0, 7)).unwrap(), 7);
        assert!(checker.take(maker.make(0, 0)).is_err());
        assert!(checker.take(maker.make(2, 0)).is_err());
        let mut damaged = maker.make(1, 0).to_vec();
        damaged[40] ^= 1;
        assert!(checker.take(&damaged).is_err());
        assert!(checker.take(&damaged[..20]).is_err());
        assert!(checker.take(&[]).is_err());
        assert_eq!(checker.count(), 1);
    }
}
