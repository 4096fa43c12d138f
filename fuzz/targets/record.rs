//! `cargo +nightly fuzz run record`: the body is in the crate, where its tests run it, too.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| trunkline_wire::fuzz::record(bytes));
