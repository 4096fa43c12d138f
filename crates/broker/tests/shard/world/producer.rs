//! A session that publishes: what its records look like.

use std::collections::HashMap;

use trunkline_wire::record;
use trunkline_wire::{Kind, Stamp};

/// Of a publishing session: its numbers for subjects and records.
#[derive(Default)]
pub struct Producer {
    subjects: HashMap<String, u32>,
    next_sequence: u64,
}

impl Producer {
    /// A run of one record for each of `records` (subject and body), definitions first where the session has not sent them.
    pub fn run(&mut self, records: &[(&str, &[u8])]) -> Vec<u8> {
        let mut run = Vec::new();
        for (subject, body) in records {
            let next = self.subjects.len() as u32;
            let id = match self.subjects.get(*subject) {
                Some(id) => *id,
                None => {
                    self.subjects.insert((*subject).into(), next);
                    push(
                        &mut run,
                        &Stamp {
                            kind: Kind::Definition,
                            subject_id: next,
                            ..Stamp::DATA
                        },
                        subject.as_bytes(),
                    );
                    next
                }
            };
            self.next_sequence += 1;
            let stamp = Stamp {
                subject_id: id,
                sequence: self.next_sequence,
                ..Stamp::DATA
            };
            push(&mut run, &stamp, body);
        }
        run
    }
}

pub fn push(run: &mut Vec<u8>, stamp: &Stamp, body: &[u8]) {
    let start = run.len();
    run.resize(start + record::body_record_bytes(body.len()), 0);
    record::encode(&mut run[start..], stamp, body).unwrap();
}
