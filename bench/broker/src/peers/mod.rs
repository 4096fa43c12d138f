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
