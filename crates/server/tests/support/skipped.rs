//! Tests that this machine cannot run say so where somebody hears it.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;

/// Tells that the running test, or a part of it, is left out, and why. Runners do not show what a test prints that passes, and count it as passed:
/// `cargo xtask test` names a file for it, and tells at the end what is in there.
pub(crate) fn skipped(why: impl Display) {
    eprintln!("SKIPPED: {why}");
    let Some(path) = std::env::var_os("TRUNKLINE_SKIPPED") else {
        return;
    };
    let thread = std::thread::current();
    // A runner that has one thread, or one test, may have no thread for it; then the test was named on the command line.
    let named = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let test = match thread.name() {
        Some(name) if name != "main" => name.to_owned(),
        _ => named.unwrap_or_else(|| "a test".into()),
    };
    let line = format!("{}: {test}\t{why}\n", env!("CARGO_CRATE_NAME")).into_bytes();
    // One write: other tests append to the same file.
    let told = OpenOptions::new().create(true).append(true).open(&path);
    let told = told.and_then(|mut file| file.write_all(&line));
    told.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
