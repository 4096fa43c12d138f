//! The log against disks in memory and real ones.

mod appends;
mod crashes;
mod damage;
mod world;
