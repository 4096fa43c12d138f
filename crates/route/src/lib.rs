//! Subjects, patterns and the tables that match them.
//!
//! A **subject** is a dotted name, a **pattern** is a subject in which `*` stands for exactly one token and `>`, as the last
//! token, for one or more: NATS' meaning. Which texts are legal is decided by [`trunkline_wire::subject`]; this crate decides
//! what matches what. Nothing here allocates while it matches.
//!
//! | | |
//! |---|---|
//! | [`Pattern::matches`] | whether a subject is one of the pattern's |
//! | [`Pattern::overlaps`] | whether two patterns have a subject in common: a subscription may get records of a stream |
//! | [`Pattern::contains`] | whether one pattern has all subjects of another: the stream's runs need no look inside |
//! | [`Table`] | which of many patterns a subject matches |
//!
//! ```
//! use trunkline_route::{Pattern, Subject, Table};
//!
//! let orders = Pattern::new("orders.*.new")?;
//! assert!(orders.matches(Subject::new("orders.eu.new")?));
//! assert!(orders.overlaps(&Pattern::new("orders.eu.>")?));
//! assert!(Pattern::new("orders.>")?.contains(&orders));
//!
//! let mut table = Table::new();
//! table.insert(&orders, "new orders");
//! table.insert(&Pattern::new(">")?, "all");
//! let mut found = Vec::new();
//! table.each(Subject::new("orders.eu.new")?, |value| found.push(*value));
//! assert_eq!(found.len(), 2);
//! # Ok::<(), trunkline_route::SubjectError>(())
//! ```
#![forbid(unsafe_code)]

mod pattern;
mod table;

pub use pattern::Pattern;
pub use table::Table;
pub use trunkline_wire::subject::{SUBJECT_BYTES_MAX, Subject, SubjectError};
