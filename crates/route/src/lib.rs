//! Subjects, patterns and the tables that match them.
