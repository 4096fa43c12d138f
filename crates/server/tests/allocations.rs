//! After warm-up the assembled server allocates nothing for a record: received over TCP, stored in a file, delivered to a subscriber and
//! acknowledged, by one worker and by two.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use trunkline::config::File;
use trunkline::plan::{Flags, Machine, Plan};
use trunkline::serve::Server;
use trunkline_client::{Connection, ConnectionOptions, Event, PublishError, Subscription};

/// Counts the allocations of all threads but those that are the test's.
struct Counting;

thread_local! {
    static OURS: Cell<bool> = const { Cell::new(false) };
}

static ARMED: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// Where the first was.
static FIRST: Mutex<String> = Mutex::new(String::new());

fn count() {
    // A thread that ends has no locals any more; it is not a worker then.
    let counts = ARMED.load(Ordering::Relaxed) && OURS.try_with(|ours| !ours.get()) == Ok(true);
    if counts && ALLOCATIONS.fetch_add(1, Ordering::Relaxed) == 0 {
        OURS.set(true);
        let place = Backtrace::force_capture().to_string();
        *FIRST.lock().unwrap_or_else(PoisonError::into_inner) = place;
        OURS.set(false);
    }
}

// SAFETY: everything is passed on to the system's allocator; counting touches nothing that it gave out.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's obligations are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's obligations are the system allocator's.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's obligations are the system allocator's.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A server in this process, whose streams have segments that last for the whole test: a new one is prepared by a job, which is
/// allocated once for many thousand records.
fn serve(directory: &std::path::Path, workers: usize, ack: &str) -> Server {
    let text = format!(
        "workers: {workers}\nlimits: {{max_record: 64KiB}}\nstreams:\n\
         - {{name: main, subjects: ['a.>'], ack: {ack}, segment: 256MiB, tail: 4MiB, retention: {{bytes: 1GiB}}}}\n"
    );
    let file = File::parse("t.yaml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    let flags = Flags {
        listen: vec!["127.0.0.1:0".to_owned()],
        data: Some(directory.to_owned()),
        ..Flags::default()
    };
    let machine = Machine {
        cpus: (0..2).collect(),
        memory_bytes: 16 << 30,
    };
    let plan = Plan::compute(Some(&file), &flags, &machine);
    Server::start(plan.unwrap_or_else(|problems| panic!("{problems}"))).unwrap()
}

/// Publishes on one connection and receives on the other until every record is acknowledged and delivered.
fn pass(publisher: &mut Connection, subscriber: &mut Connection, records: u64, window: u64) {
    let end = Instant::now() + Duration::from_secs(60);
    let (mut sent, mut delivered) = (0, 0);
    let payload = [7; 64];
    while delivered < records || publisher.in_flight() > 0 {
        while sent < records && publisher.in_flight() < window {
            match publisher.publish("a.b", &payload) {
                Ok(_) => sent += 1,
                Err(PublishError::Full) => break,
                Err(error) => panic!("{error}"),
            }
        }
        publisher.flush().unwrap();
        let acks = publisher.poll(|event| match event {
            Event::Refused { error, .. } | Event::Notice(error) => panic!("{error:?}"),
            _ => {}
        });
        let deliveries =
            subscriber.poll(|event| delivered += u64::from(matches!(event, Event::Record { .. })));
        subscriber.flush().unwrap();
        if acks.unwrap() + deliveries.unwrap() == 0 {
            std::thread::yield_now();
        }
        assert!(
            Instant::now() < end,
            "{delivered} of {records} records came"
        );
    }
    assert_eq!(delivered, records);
}

#[test]
fn the_server_allocates_nothing_for_a_record_after_warm_up() {
    OURS.set(true);
    for (workers, ack, pairs) in [(1, "stored", 1), (2, "stored", 5), (1, "synced", 1)] {
        let directory = tempfile::tempdir().unwrap();
        let server = serve(directory.path(), workers, ack);
        let address = server.addresses()[0].to_string();
        let connect = || Connection::connect(&address, &ConnectionOptions::default()).unwrap();
        // With several workers, connections are at any of them; the stream is at one.
        for _ in 0..pairs {
            let (mut publisher, mut subscriber) = (connect(), connect());
            subscriber.subscribe(&Subscription::new("a.>")).unwrap();
            let mut opened = false;
            while !opened {
                subscriber.flush().unwrap();
                let heard = subscriber.poll(|event| opened |= matches!(event, Event::Done { .. }));
                heard.unwrap();
            }
            for (records, window) in WARM_UP {
                pass(&mut publisher, &mut subscriber, records, window);
            }
            let mut counts = Vec::new();
            while counts.len() < ROUNDS_MAX && counts.last() != Some(&0) {
                ARMED.store(true, Ordering::SeqCst);
                for (records, window) in ROUND {
                    pass(&mut publisher, &mut subscriber, records, window);
                }
                ARMED.store(false, Ordering::SeqCst);
                counts.push(ALLOCATIONS.swap(0, Ordering::SeqCst));
            }
            let first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
            let (last, rare) = (counts.last(), counts.iter().all(|count| *count < RARE));
            assert!(
                last == Some(&0) && rare,
                "{workers} workers, {ack}: {counts:?} allocations in rounds of {ROUND:?} records; the last first one:\n{first}"
            );
        }
        server.stop().unwrap();
    }
}

/// Records, and the publisher's window.
const WARM_UP: [(u64, u64); 3] = [(5_000, 1000), (50, 1), (5_000, 1000)];
const ROUND: [(u64, u64); 2] = [(10_000, 1000), (50, 1)];
/// A round may meet what happens a few times in a server's life: the pool of threads that sync starts its threads when it needs
/// them.
const ROUNDS_MAX: usize = 5;
const RARE: u64 = 100;
