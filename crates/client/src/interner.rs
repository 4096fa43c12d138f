//! The ids that this client gives to the subjects that it publishes to.

use std::collections::HashMap;

use trunkline_wire::{SubjectError, check_subject};

/// Numbers subjects densely from 0. The same over all connections of a client, which tells each server anew.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    ids: HashMap<Box<str>, u32>,
    names: Vec<Box<str>>,
    /// The id that was asked for last: most publishers keep to one subject for a while.
    last: usize,
    /// How many of them the current server was told.
    told: usize,
}

impl Interner {
    /// The id of `subject`, and whether the server must be told of it first.
    #[inline]
    pub(crate) fn intern(&mut self, subject: &str) -> Result<(u32, bool), SubjectError> {
        if let Some(name) = self.names.get(self.last)
            && **name == *subject
        {
            return Ok((self.last as u32, self.last >= self.told));
        }
        self.search(subject)
    }

    #[inline(never)]
    fn search(&mut self, subject: &str) -> Result<(u32, bool), SubjectError> {
        let id = match self.ids.get(subject) {
            Some(id) => *id,
            None => {
                check_subject(subject)?;
                let id = self.names.len() as u32;
                self.ids.insert(subject.into(), id);
                self.names.push(subject.into());
                id
            }
        };
        self.last = id as usize;
        Ok((id, self.last >= self.told))
    }

    /// The names that the server has not been told, with their ids.
    pub(crate) fn untold(&self) -> impl Iterator<Item = (u32, &str)> {
        self.names
            .iter()
            .enumerate()
            .skip(self.told)
            .map(|(id, name)| (id as u32, &**name))
    }

    /// The server knows all of them now.
    pub(crate) fn tell(&mut self) {
        self.told = self.names.len();
    }

    /// Another server, or the same one anew: it knows none.
    pub(crate) fn forget(&mut self) {
        self.told = 0;
    }
}
