//! `cargo +nightly fuzz run stream`: the body is in the simulation, where its tests run it, too.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sim::damaged_stream(bytes));
