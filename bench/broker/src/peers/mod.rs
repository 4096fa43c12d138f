//! The brokers.

pub mod mosquitto;
pub mod nats;
pub mod plain;
pub mod redis;
mod resp;
pub mod trunkline;
