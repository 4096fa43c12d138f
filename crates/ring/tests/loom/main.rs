//! Every interleaving of small models, with the orderings that the code asks for and no stronger.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p trunkline-ring --test loom --release`
#![cfg(loom)]

mod broadcast;
mod bytes;
mod many;
mod spsc;
mod wait;

/// Runs `model` under loom with a bound on preemptions: three find what two threads can do wrong
/// in a few operations, and keep the whole suite within a minute.
fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}
