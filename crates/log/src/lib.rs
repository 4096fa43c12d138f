//! One stream's durable log: tail, segments, recovery, readers, retention.
