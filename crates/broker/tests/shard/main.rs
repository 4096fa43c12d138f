//! A shard from outside: what goes in, what sessions get.
#![allow(unreachable_pub, reason = "one crate of tests")]

mod barrier;
mod call;
mod cursor;
mod deliver;
mod group;
mod model;
mod policy;
mod publish;
mod world;
