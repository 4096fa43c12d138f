//! Rings between workers: one single-producer ring per ordered pair, and a wake only for a worker that is parked.
//!
//! ```text
//!              to 0   to 1   outside
//! from 0        -      ring   ring        a worker's end holds its row of producers and its column of consumers;
//! from 1       ring     -     ring        the last row and column belong to a thread that is no worker (the control plane)
//! outside      ring   ring     -
//! ```
//! Messages go out as they are sent; wakes are collected until [`MeshEnd::flush`], so a turn wakes each worker at most once.

use std::io;

use trunkline_ring::spsc::{DynamicConsumer, DynamicProducer, channel};

use crate::waker::Waker;

/// One thread's end of the mesh.
pub struct MeshEnd<M: 'static> {
    index: usize,
    links: Vec<Option<Link<M>>>,
    /// Where the next look begins, so that no sender starves the others.
    first: usize,
}

struct Link<M: 'static> {
    to: DynamicProducer<M>,
    from: DynamicConsumer<M>,
    waker: Option<Waker>,
    needs_wake: bool,
}

/// The ends of a mesh of `wakers.len()` workers and one outside thread, which comes last.
///
/// # Errors
/// `InvalidInput` when `capacity` (messages per pair) is not a power of two; otherwise what the system answered.
pub fn mesh<M: Send + 'static>(wakers: &[Waker], capacity: usize) -> io::Result<Vec<MeshEnd<M>>> {
    let ends = wakers.len() + 1;
    let mut mesh: Vec<MeshEnd<M>> = (0..ends)
        .map(|index| MeshEnd {
            index,
            links: (0..ends).map(|_| None).collect(),
            first: 0,
        })
        .collect();
    for left in 0..ends {
        for right in left + 1..ends {
            let (to_right, from_left) = channel(capacity)?;
            let (to_left, from_right) = channel(capacity)?;
            mesh[left].links[right] = Some(Link::new(to_right, from_right, wakers.get(right)));
            mesh[right].links[left] = Some(Link::new(to_left, from_left, wakers.get(left)));
        }
    }
    Ok(mesh)
}

impl<M: 'static> MeshEnd<M> {
    /// This end's own number.
    pub fn index(&self) -> usize {
        self.index
    }

    /// How many workers there are; the outside end has this number.
    pub fn workers(&self) -> usize {
        self.links.len() - 1
    }

    /// Sends to another end.
    ///
    /// # Errors
    /// The message, when that ring is full, or when there is no such end, or it is this one.
    #[inline]
    pub fn send(&mut self, to: usize, message: M) -> Result<(), M> {
        let Some(Some(link)) = self.links.get_mut(to) else {
            return Err(message);
        };
        link.needs_wake = true;
        link.to.push(message).map_err(|full| full.0)
    }

    /// Wakes those that were sent to since the last flush.
    pub fn flush(&mut self) {
        for link in self
            .links
            .iter_mut()
            .flatten()
            .filter(|link| link.needs_wake)
        {
            link.needs_wake = false;
            if let Some(waker) = &link.waker {
                waker.wake();
            }
        }
    }

    /// Takes up to `limit` messages from each other end; `take` gets the sender's number. Returns how many.
    pub fn receive(&mut self, limit: usize, mut take: impl FnMut(usize, M)) -> usize {
        let ends = self.links.len();
        let mut count = 0;
        for turn in 0..ends {
            let from = (self.first + turn) % ends;
            if let Some(link) = &mut self.links[from] {
                count += link.from.pop_each(limit, |message| take(from, message));
            }
        }
        self.first = (self.first + 1) % ends;
        count
    }
}

impl<M: 'static> Link<M> {
    fn new(to: DynamicProducer<M>, from: DynamicConsumer<M>, waker: Option<&Waker>) -> Self {
        Self {
            to,
            from,
            waker: waker.cloned(),
            needs_wake: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(workers: usize) -> Vec<MeshEnd<(usize, u64)>> {
        let wakers: Vec<Waker> = (0..workers).map(|_| Waker::new().unwrap()).collect();
        mesh(&wakers, 4).unwrap()
    }

    #[test]
    fn every_end_reaches_every_other_end_and_not_itself() {
        let mut ends = ends(3);
        for (from, end) in ends.iter_mut().enumerate() {
            for to in 0..4 {
                assert_eq!(end.send(to, (from, 7)).is_ok(), from != to);
            }
            assert!(end.send(4, (from, 7)).is_err());
        }
        for (to, end) in ends.iter_mut().enumerate() {
            let mut senders = Vec::new();
            assert_eq!(
                end.receive(8, |from, (said, _)| senders.push((from, said))),
                3
            );
            senders.sort_unstable();
            assert_eq!(
                senders,
                (0..4)
                    .filter(|from| *from != to)
                    .map(|from| (from, from))
                    .collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn a_full_ring_gives_the_message_back() {
        let mut ends = ends(1);
        for n in 0..4 {
            ends[1].send(0, (1, n)).unwrap();
        }
        assert_eq!(ends[1].send(0, (1, 4)), Err((1, 4)));
    }

    #[test]
    fn a_message_to_a_parked_worker_wakes_it_once_per_flush() {
        let waker = Waker::new().unwrap();
        let mut ends: Vec<MeshEnd<(usize, u64)>> = mesh(std::slice::from_ref(&waker), 4).unwrap();
        assert!(waker.try_park());
        ends[1].send(0, (1, 0)).unwrap();
        ends[1].send(0, (1, 1)).unwrap();
        ends[1].flush();
        ends[1].flush();
        let mut rings = [0; 8];
        rustix::io::read(&waker, &mut rings).unwrap();
        assert_eq!(u64::from_ne_bytes(rings), 1);
    }
    #[test]
    fn a_worker_that_is_awake_is_told_without_a_system_call() {
        let waker = Waker::new().unwrap();
        let mut ends: Vec<MeshEnd<(usize, u64)>> = mesh(std::slice::from_ref(&waker), 4).unwrap();
        let rings = || {
            let mut rings = [0; 8];
            rustix::io::read(&waker, &mut rings).map(|_| u64::from_ne_bytes(rings))
        };
        for n in 0..3 {
            ends[1].send(0, (1, n)).unwrap();
            ends[1].flush();
        }
        assert_eq!(rings(), Err(rustix::io::Errno::AGAIN));
        // It looks before it sleeps, and does not sleep.
        assert!(!waker.try_park());
        // Back from a sleep, it is awake again.
        assert!(waker.try_park());
        waker.unpark();
        ends[1].send(0, (1, 3)).unwrap();
        ends[1].flush();
        assert_eq!(rings(), Err(rustix::io::Errno::AGAIN));
    }
}
