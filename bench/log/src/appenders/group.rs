//! Group commit: whoever comes first does the work for all who came meanwhile.

use std::sync::{Condvar, Mutex, MutexGuard};

use bench_harness::Failure;

/// Turns of a store that is used by one thread at a time.
pub struct Group<S> {
    state: Mutex<State<S>>,
    done: Condvar,
}

struct State<S> {
    /// `None` while the leader has it.
    store: Option<S>,
    /// Records that came, by those who wait, and how many there were before them.
    arrived: Vec<Vec<u8>>,
    accepted: u64,
    /// How many are done.
    done: u64,
    failed: Option<Failure>,
}

impl<S> Group<S> {
    pub fn new(store: S) -> Self {
        let state = State {
            store: Some(store),
            arrived: Vec::new(),
            accepted: 0,
            done: 0,
            failed: None,
        };
        Self {
            state: Mutex::new(state),
            done: Condvar::new(),
        }
    }

    /// Adds a record, and returns when a call of `commit` that got it has ended.
    pub fn append(
        &self,
        record: &[u8],
        commit: impl Fn(&mut S, &[Vec<u8>]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut state = self.lock();
        state.arrived.push(record.to_vec());
        state.accepted += 1;
        let own = state.accepted;
        loop {
            if let Some(why) = &state.failed {
                return Err(why.clone());
            }
            if state.done >= own {
                return Ok(());
            }
            match state.store.take() {
                None => state = self.done.wait(state).expect("nobody panics with it"),
                Some(mut store) => {
                    let (batch, upto) = (std::mem::take(&mut state.arrived), state.accepted);
                    drop(state);
                    let committed = commit(&mut store, &batch);
                    state = self.lock();
                    state.store = Some(store);
                    match committed {
                        Ok(()) => state.done = upto,
                        Err(why) => state.failed = Some(why),
                    }
                    self.done.notify_all();
                }
            }
        }
    }

    /// The store, when nobody uses it any more.
    pub fn into_store(self) -> S {
        let state = self.state.into_inner().expect("nobody panics with it");
        state.store.expect("nobody uses it any more")
    }

    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().expect("nobody panics with it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_committed_once_and_batches_form() {
        let group = Group::new((0u64, 0u64));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let commit = |(records, commits): &mut (u64, u64), batch: &[Vec<u8>]| {
                            *records += batch.len() as u64;
                            *commits += 1;
                            std::thread::yield_now();
                            Ok(())
                        };
                        group.append(b"x", commit).unwrap();
                    }
                });
            }
        });
        let (records, commits) = group.into_store();
        assert_eq!(records, 800);
        assert!(commits <= 800);
    }

    #[test]
    fn a_failure_reaches_those_who_wait() {
        let group = Group::new(());
        assert_eq!(
            group.append(b"x", |(), _| Err("the disk is full".into())),
            Err("the disk is full".into())
        );
    }
}
