//! Rings, mapped regions, counters and waits: every byte that two threads or two processes share.
