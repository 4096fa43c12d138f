//! The stores.

pub mod fjall;
mod group;
pub mod okaywal;
pub mod plain;
pub mod redb;
pub mod rocksdb;
pub mod trunkline;
