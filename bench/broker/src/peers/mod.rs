//! The brokers.

pub mod mosquitto;
pub mod nats;
mod own;
pub mod plain;
pub mod redis;
pub mod relay;
mod resp;
mod store;
pub mod trunkline;

use crate::rows::field::Program;

/// Those that are to be looked for.
pub const PROGRAMS: [Program; 3] = [nats::PROGRAM, redis::PROGRAM, mosquitto::PROGRAM];
