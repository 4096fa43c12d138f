//! Clients at work on one server until it is gone.

use std::sync::atomic::AtomicU64;
use std::thread::ScopedJoinHandle;

use crate::publisher::{Published, Publisher};
use crate::watcher::{self, Seen};

/// What came of it.
#[derive(Debug)]
pub(crate) struct Work {
    /// By client.
    pub(crate) published: Vec<(u16, Published)>,
    pub(crate) watched: Vec<Seen>,
}

/// Lets all clients work until `end` has ended the server. `flushes` is what a device has flushed so far; `end` can ask whether all publishers
/// have come to their end before it.
///
/// # Errors
/// What `end` says, or what a client found wrong.
pub(crate) fn work<T>(
    publishers: &mut [Publisher],
    address: &str,
    flushes: &AtomicU64,
    end: impl FnOnce(&dyn Fn() -> bool) -> Result<T, String>,
) -> Result<(Work, T), String> {
    let disk_fails = publishers.iter().any(Publisher::is_until_refused);
    let (published, watched, ended) = std::thread::scope(|scope| {
        let publishing: Vec<_> = publishers
            .iter_mut()
            .map(|publisher| {
                scope.spawn(move || (publisher.client(), publisher.run(address, flushes)))
            })
            .collect();
        let watching = scope.spawn(move || watcher::watch(address, flushes, disk_fails));
        let ended = end(&|| publishing.iter().all(ScopedJoinHandle::is_finished));
        let published: Vec<_> = publishing.into_iter().map(join).collect();
        (published, join(watching), ended)
    });
    let ended = ended?;
    let mut work = Work {
        published: Vec::new(),
        watched: Vec::new(),
    };
    for (client, published) in published {
        work.published.push((client, published?));
    }
    work.watched = watched?;
    Ok((work, ended))
}

fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
