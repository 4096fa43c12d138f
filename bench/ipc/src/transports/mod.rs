//! The ways.

pub mod iceoryx;
pub mod stream;
