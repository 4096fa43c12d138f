//! What every comparison below `bench/` needs, so that each is only its rows and its peers.
//!
//! | module | |
//! |---|---|
//! | [`row`] | who does the same work, under which terms, and what is to be reached |
//! | [`contest`] | samples of all contenders of a row in turn |
//! | [`sample`] | one run of one contender: figures, histogram, and what the machine did meanwhile |
//! | [`place`] | how far the cores were apart |
//! | [`figure`] | what can be measured, its unit, and which way is better |
//! | [`results`] | JSON lines: what a run leaves behind, and what it goes on from |
//! | [`summary`] | medians with the smallest and the largest, and what became of bars |
//! | [`cores`] | pinning, and how far two cores are apart |
//! | [`server`] | a peer's process: started, watched, ended |
//! | [`installed`] | peers that are no crates: where their programs and libraries are |
//! | [`flushes`] | how often a device was told to keep what it has |
//! | [`limits`] | what the system allows a process |
//! | [`payload`] | messages that can be checked |
//! | [`latency`] | HDR histograms as text |
//! | [`machine`] | where it was measured |
//! | [`versions`] | versions of peers that are crates |
//! | [`options`] | the command line of a group |
#![forbid(unsafe_code)]

pub mod contest;
pub mod cores;
pub mod figure;
pub mod flushes;
pub mod installed;
pub mod interrupt;
pub mod latency;
pub mod limits;
pub mod machine;
pub mod options;
pub mod payload;
pub mod place;
pub mod results;
pub mod row;
pub mod sample;
pub mod server;
pub mod summary;
pub mod versions;

pub use figure::Figure;
pub use latency::Latency;
pub use options::Options;
pub use place::Place;
pub use row::{Bar, Contender, Row};
pub use sample::Sample;

/// Why a sample, or a group, cannot be had: a sentence.
pub type Failure = String;
