//! A shard from outside: what goes in, what sessions get.
#![allow(unreachable_pub, reason = "one crate of tests")]

mod barrier;
mod call;
mod credit;
mod cursor;
mod deliver;
mod gap;
mod group;
mod model;
mod parts;
mod pattern;
mod policy;
mod publish;
mod start;
mod stream;
mod unopened;
mod volatile;
mod world;
