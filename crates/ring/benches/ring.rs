//! The parts of the rings on one thread. Across cores, and against peers: `bench/rings`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use trunkline_ring::wait::Signal;
use trunkline_ring::{Mirror, broadcast, bytes, mpmc, mpsc, spsc};

fn typed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("push and pop u64");
    group.throughput(Throughput::Elements(1));
    let (mut producer, mut consumer) = spsc::RingBuffer::<u64, 1024>::channel();
    group.bench_function("spsc", |bench| {
        bench.iter(|| (producer.push(black_box(1)).is_ok(), consumer.pop()));
    });
    let (mut producer, mut consumer) = mpsc::channel::<u64>(1024).expect("memory");
    group.bench_function("mpsc", |bench| {
        bench.iter(|| (producer.push(black_box(1)).is_ok(), consumer.pop()));
    });
    let (producer, consumer) = mpmc::channel::<u64>(1024).expect("memory");
    group.bench_function("mpmc", |bench| {
        bench.iter(|| (producer.push(black_box(1)).is_ok(), consumer.pop()));
    });
    let (mut sender, mut receiver) = broadcast::channel::<u64>(1024).expect("memory");
    group.bench_function("broadcast", |bench| {
        bench.iter(|| {
            sender.send(black_box(1));
            receiver.receive()
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("batches of 64 u64");
    group.throughput(Throughput::Elements(64));
    let (mut producer, mut consumer) = spsc::RingBuffer::<u64, 1024>::channel();
    group.bench_function("spsc", |bench| {
        let mut batch = [7u64; 64];
        bench.iter(|| {
            (
                producer.push_slice(black_box(&batch)),
                consumer.pop_into(&mut batch),
            )
        });
    });
    group.finish();
}

fn messages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bytes, 64 B messages");
    let (mut producer, mut consumer) = bytes::channel(1 << 16).expect("memory");
    let message = [7u8; 64];
    group.throughput(Throughput::Elements(1));
    group.bench_function("one", |bench| {
        bench.iter(|| {
            producer.push(black_box(&message));
            consumer.read(|message| {
                black_box(message[0]);
            })
        });
    });
    group.throughput(Throughput::Elements(64));
    group.bench_function("64 staged", |bench| {
        bench.iter(|| {
            for _ in 0..64 {
                let mut claim = producer.claim(64).expect("room");
                claim.copy_from_slice(black_box(&message));
                claim.stage();
            }
            producer.publish();
            consumer.read(|message| {
                black_box(message[0]);
            })
        });
    });
    group.finish();
}

fn memory(criterion: &mut Criterion) {
    let mut mirror = Mirror::new(1 << 16).expect("memory");
    let mut position = 0;
    criterion.bench_function("copy 64 B into a mirror", |bench| {
        let message = [7u8; 64];
        bench.iter(|| {
            mirror
                .slice_mut(position, 64)
                .copy_from_slice(black_box(&message));
            position += 64;
        });
    });
    let signal = Signal::new();
    criterion.bench_function("notify nobody", |bench| bench.iter(|| signal.notify()));
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = typed, messages, memory
}
criterion_main!(benches);
