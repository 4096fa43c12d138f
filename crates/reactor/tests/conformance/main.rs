//! One suite for every back-end: what is said about [`trunkline_reactor::Reactor`] holds whichever does the work.

mod bed;
mod files;
#[path = "../machine/mod.rs"]
mod machine;
mod receiving;
mod sending;
mod sockets;
mod time_and_threads;
