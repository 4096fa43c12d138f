//! A record before it is published.

use trunkline_wire::AckLevel;

/// What is published, and how.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// What it is published to.
    pub subject: &'a str,
    /// User headers.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The bytes.
    pub payload: &'a [u8],
    /// What must be survived before it is acknowledged.
    pub level: AckLevel,
    /// The feature-flag word of bit routing.
    pub route_flags: u32,
    /// The producer's time, nanoseconds since 1970; the stream puts its own in its place.
    pub timestamp_ns: u64,
}

impl<'a> Publication<'a> {
    /// A record without headers, acknowledged at the stream's own level.
    pub const fn new(subject: &'a str, payload: &'a [u8]) -> Self {
        Self {
            subject,
            headers: &[],
            payload,
            level: AckLevel::Stream,
            route_flags: 0,
            timestamp_ns: 0,
        }
    }
}
