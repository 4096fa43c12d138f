//! The Trunkline server and its command line.
//!
//! [`config`] is what the user wrote, [`plan`] what was computed from it, [`serve`] what runs. Nothing after the plan
//! sees the configuration, and nothing below this crate reads a file to configure itself.
#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod doctor;
pub mod logging;
pub mod plan;
pub mod serve;
pub mod storage;
pub mod system;
