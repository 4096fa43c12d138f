//! What workers say that are asked to stop, and what there is to say of a stop that ran out of time.

use super::message::Message;

/// What a worker has not done when the time for a stop is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// Records that are not on the device.
    pub(super) records: u64,
    /// Connections that are not closed.
    pub(super) connections: u64,
    /// Something is not on the device: a record, where a cursor stands, or what the files say of how far they are synced.
    pub(super) is_unsettled: bool,
}

/// What all of them have said.
#[derive(Default)]
pub(super) struct Said {
    /// How many have nothing left to lose.
    pub(super) drained: usize,
    /// How many have said what was left when time was up, and all of that.
    gave_up: usize,
    left: Left,
}

impl Said {
    pub(super) fn hear(&mut self, message: &Message) {
        match message {
            Message::Drained => self.drained += 1,
            Message::Left(left) => {
                self.gave_up += 1;
                self.left.records += left.records;
                self.left.connections += left.connections;
                self.left.is_unsettled |= left.is_unsettled;
            }
            _ => {}
        }
    }

    /// What was left, in words; none if nothing was.
    pub(super) fn unfinished(&self, workers: usize) -> Option<String> {
        // A worker has given up before it says that it has drained after all.
        let silent = match self.drained == workers {
            true => 0,
            false => workers - self.gave_up,
        };
        let parts = [
            (self.left.records, "record", "not synced"),
            (self.left.connections, "connection", "not closed"),
            (silent as u64, "worker", "without an answer"),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(count, ..)| *count > 0)
            .map(|(count, what, how)| {
                let plural = if *count == 1 { "" } else { "s" };
                format!("{count} {what}{plural} {how}")
            })
            .collect();
        if !parts.is_empty() {
            return Some(parts.join(", "));
        }
        let last = "the last writes of streams or cursors not synced";
        (self.left.is_unsettled || self.drained < workers).then(|| last.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(messages: &[Message]) -> Option<String> {
        let mut said = Said::default();
        messages.iter().for_each(|message| said.hear(message));
        said.unfinished(2)
    }

    fn left(records: u64, connections: u64, is_unsettled: bool) -> Message {
        Message::Left(Left {
            records,
            connections,
            is_unsettled,
        })
    }

    #[test]
    fn tells_what_all_workers_left_and_who_says_nothing() {
        let drained = || Message::Drained;
        assert_eq!(after(&[drained(), drained()]), None);
        // They were done before they heard that time was up.
        let done = [drained(), drained(), left(0, 0, false), left(0, 0, false)];
        assert_eq!(after(&done), None);
        let some = [left(2, 1, true), left(3, 0, true), drained(), drained()];
        assert_eq!(
            after(&some).unwrap(),
            "5 records not synced, 1 connection not closed"
        );
        let mark = [left(0, 0, true), left(0, 0, false), drained(), drained()];
        assert_eq!(
            after(&mark).unwrap(),
            "the last writes of streams or cursors not synced"
        );
        assert_eq!(
            after(&[left(1, 0, true)]).unwrap(),
            "1 record not synced, 1 worker without an answer"
        );
        assert_eq!(after(&[]).unwrap(), "2 workers without an answer");
    }
}
