//! The log against disks in memory and real ones.

mod appends;
mod corruption;
mod crashes;
mod damage;
#[path = "../support/dir_files.rs"]
mod dir_files;
mod extracts;
mod faults;
mod full;
mod golden;
mod live;
mod readers;
mod real_files;
mod repair;
mod reports;
mod retention;
mod verdicts;
mod verification;
mod world;
