//! The brokers.

pub mod mosquitto;
pub mod nats;
pub mod plain;
pub mod redis;
pub mod relay;
mod resp;
mod store;
pub mod trunkline;
