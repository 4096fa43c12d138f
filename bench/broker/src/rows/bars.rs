//! What is to be reached.

use bench_harness::{Bar, Figure};

use crate::load::Wait;

pub fn throughput_bars(bytes: usize) -> Vec<Bar> {
    let name = "trunkline stored, adaptive";
    let (times, rate) = match bytes {
        64 => (3.0, 10e6),
        1024 => (2.0, 2e6),
        _ => return Vec::new(),
    };
    let mut bars = vec![
        Bar::times(name, Figure::PerSecond, times, NATS),
        Bar::value(name, Figure::PerSecond, rate),
        Bar::times(name, Figure::CpuUs, 0.35, NATS),
    ];
    if bytes == 64 {
        bars.push(Bar::value(name, Figure::CpuUs, 0.10));
    }
    bars
}

pub fn latency_bars(wait: Wait) -> Vec<Bar> {
    let both = |name: &str, bar: &dyn Fn(&str, Figure) -> Bar| {
        [bar(name, Figure::P50Us), bar(name, Figure::P99Us)]
    };
    let times = |factor: f64| move |name: &str, figure| Bar::times(name, figure, factor, NATS);
    let mut bars = Vec::new();
    if wait == Wait::Spin {
        let (early, stored) = (
            "trunkline stored, visible when received, spin",
            "trunkline stored, spin",
        );
        bars.extend([
            Bar::value(early, Figure::P50Us, 9.0),
            Bar::value(early, Figure::P99Us, 15.0),
        ]);
        bars.extend([
            Bar::value(stored, Figure::P50Us, 13.0),
            Bar::value(stored, Figure::P99Us, 25.0),
        ]);
    }
    bars.extend(both("trunkline stored, adaptive", &times(1.0)));
    bars.extend(both("trunkline stored, park", &times(0.7)));
    bars
}

pub fn ack_bars(window: u64, wait: Wait) -> Vec<Bar> {
    let name = "trunkline stored, adaptive";
    let jetstream = Bar::times(name, Figure::PerSecond, 5.0, "JetStream, page cache, parks");
    if window > 1 {
        return vec![Bar::value(name, Figure::PerSecond, 4e6), jetstream];
    }
    let echo = Bar::times(
        "trunkline stored, park",
        Figure::P50Us,
        1.6,
        "plain echo, parks",
    );
    let mut bars = vec![jetstream, echo];
    if wait == Wait::Spin {
        bars.push(Bar::times(
            "trunkline stored, spin",
            Figure::P50Us,
            1.6,
            "plain echo, spins",
        ));
    }
    bars
}

const NATS: &str = "NATS core, not stored, parks";
