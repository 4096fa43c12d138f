//! Values of flags that are more than a word or a number.

use std::str::FromStr;
use std::time::SystemTime;

use jiff::Timestamp;
use trunkline_client::AckLevel;

use crate::config::Span;

/// Where a subscription starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// The next record.
    New,
    /// The oldest record that is held.
    First,
    /// The newest record that is held.
    Last,
    /// This sequence.
    Sequence(u64),
    /// The first record at or after this time, in nanoseconds since 1970.
    Time(u64),
    /// The first record that is not older.
    Ago(Span),
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "new" => return Ok(Self::New),
            "first" => return Ok(Self::First),
            "last" => return Ok(Self::Last),
            _ => {}
        }
        if let Some(sequence) = text.strip_prefix("seq:") {
            let parsed = sequence
                .parse()
                .map_err(|_| format!("`{sequence}` is not a sequence number"));
            return parsed.map(Self::Sequence);
        }
        if let Some(time) = text.strip_prefix("time:") {
            let time: Timestamp = time.parse().map_err(|error| {
                format!("`{time}` is not a time ({error}); write it like 2026-11-21T08:00:00Z")
            })?;
            return match u64::try_from(time.as_nanosecond()) {
                Ok(ns) => Ok(Self::Time(ns)),
                Err(_) if time < Timestamp::UNIX_EPOCH => Err("that is before 1970".to_owned()),
                Err(_) => Err(format!(
                    "that is after {LAST_TIME}, the last time that a record can have"
                )),
            };
        }
        if let Some(age) = text.strip_prefix('-') {
            return age.parse().map(Self::Ago);
        }
        Err(format!(
            "`{text}` is not a place to start; write first, last, new, seq:N, time:2026-11-21T08:00:00Z or -10m"
        ))
    }
}

/// Records per second: `5000`, `20k` or `1.5M`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rate(pub(super) f64);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match scaled(text.trim_end_matches("/s")) {
            Some(rate) if rate >= RATE_MIN => Ok(Self(rate)),
            Some(rate) if rate > 0.0 => Err(format!(
                "`{text}` is too slow; the least is one record a day, 0.00002 a second"
            )),
            _ => Err(format!(
                "`{text}` is not a rate; write records per second, such as 5000, 20k or 1.5M"
            )),
        }
    }
}

/// Records: `5000`, `20k` or `1.5M`; at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Records(pub(super) u64);

impl FromStr for Records {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match scaled(text) {
            Some(count) if count >= 1.0 && count.fract() == 0.0 && count < 1e18 => {
                Ok(Self(count as u64))
            }
            _ => Err(format!(
                "`{text}` is not a number of records; write 1 or more, such as 5000, 20k or 1.5M"
            )),
        }
    }
}

/// A number that may end in `k` or `M`.
fn scaled(text: &str) -> Option<f64> {
    let (number, scale) = match text.strip_suffix(['k', 'K']) {
        Some(number) => (number, 1e3),
        None => text
            .strip_suffix('M')
            .map_or((text, 1.0), |number| (number, 1e6)),
    };
    let number = number.parse::<f64>().ok()? * scale;
    number.is_finite().then_some(number)
}

/// A time that something may take: not none at all.
pub(super) fn some_time(text: &str) -> Result<Span, String> {
    match text.parse()? {
        Span(0) => {
            Err("nothing is done in no time; write a time such as 500ms, 5s or 1m".to_owned())
        }
        time => Ok(time),
    }
}

/// A time that a call may take.
pub(super) fn call_time(text: &str) -> Result<Span, String> {
    match some_time(text)? {
        time if time > CALL_TIME_MAX => Err(format!(
            "the server gives up on a call after {CALL_TIME_MAX}; write a time of up to that, such as 500ms or 5s"
        )),
        time => Ok(time),
    }
}

/// A level of acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum AckWord {
    /// In the server's memory
    Received,
    /// Written: survives a kill of the server
    Stored,
    /// On the device: survives a power cut
    Synced,
}

impl AckWord {
    pub(super) fn level(self) -> AckLevel {
        match self {
            Self::Received => AckLevel::Received,
            Self::Stored => AckLevel::Stored,
            Self::Synced => AckLevel::Synced,
        }
    }
}

/// The word for a level.
pub(super) fn level_word(level: AckLevel) -> &'static str {
    match level {
        AckLevel::Stream => "acknowledged",
        AckLevel::Received => "received",
        AckLevel::Stored => "stored",
        AckLevel::Synced => "synced",
    }
}

/// Now, in nanoseconds since 1970.
pub(super) fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

/// One record a day, or some more.
const RATE_MIN: f64 = 0.00002;
/// How long a server waits for the answer to a call at most.
const CALL_TIME_MAX: Span = Span(60_000_000_000);
/// Records carry nanoseconds since 1970 in 64 bits.
const LAST_TIME: &str = "2554-07-21T23:34:33Z";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_to_start_are_words_numbers_times_and_ages() {
        assert_eq!("first".parse(), Ok(From::First));
        assert_eq!("seq:42".parse(), Ok(From::Sequence(42)));
        assert_eq!(
            "time:1970-01-01T00:00:01Z".parse(),
            Ok(From::Time(1_000_000_000))
        );
        assert_eq!(
            "time:1970-01-01T02:00:01+02:00".parse(),
            Ok(From::Time(1_000_000_000))
        );
        assert_eq!("-10m".parse(), Ok(From::Ago(Span(600_000_000_000))));
        for refused in [
            "",
            "seq:",
            "seq:-1",
            "time:yesterday",
            "-10",
            "10m",
            "oldest",
            "time:1969-01-01T00:00:00Z",
        ] {
            assert!(refused.parse::<From>().is_err(), "{refused}");
        }
    }

    #[test]
    fn a_time_that_no_record_can_have_is_refused_with_the_last_one() {
        assert_eq!(
            "time:2554-07-21T23:34:33Z".parse(),
            Ok(From::Time(18_446_744_073_000_000_000))
        );
        for after in ["2554-07-21T23:34:34Z", "2999-01-01T00:00:00Z"] {
            let refusal = format!("time:{after}").parse::<From>().unwrap_err();
            assert!(
                refusal.starts_with("that is after 2554-07-21T23:34:33Z"),
                "{refusal}"
            );
        }
        let refusal = "time:1969-12-31T23:59:59Z".parse::<From>().unwrap_err();
        assert_eq!(refusal, "that is before 1970");
    }

    #[test]
    fn numbers_of_records_are_whole_and_not_zero() {
        assert_eq!("1".parse(), Ok(Records(1)));
        assert_eq!("20k".parse(), Ok(Records(20_000)));
        assert_eq!("1.5M".parse(), Ok(Records(1_500_000)));
        for refused in ["0", "0.5", "-1", "1.5", "20k/s", "many", "1e30"] {
            let refusal = refused.parse::<Records>().unwrap_err();
            assert!(
                refusal.contains("is not a number of records; write 1 or more"),
                "{refusal}"
            );
        }
    }

    #[test]
    fn no_time_is_refused() {
        assert_eq!(some_time("1ns"), Ok(Span(1)));
        for refused in ["0s", "0ns", "0h"] {
            let refusal = some_time(refused).unwrap_err();
            assert!(refusal.contains("write a time such as"), "{refusal}");
        }
    }

    #[test]
    fn a_call_takes_no_longer_than_its_server_waits() {
        for taken in ["1ns", "5s", "1m", "60s"] {
            assert!(call_time(taken).is_ok(), "{taken}");
        }
        assert!(call_time("0s").is_err());
        for refused in ["61s", "10m"] {
            let refusal = call_time(refused).unwrap_err();
            assert!(refusal.contains("gives up on a call after 1m"), "{refusal}");
        }
    }

    #[test]
    fn rates_may_have_a_thousand_or_a_million() {
        assert_eq!("5000".parse(), Ok(Rate(5000.0)));
        assert_eq!("20k/s".parse(), Ok(Rate(20_000.0)));
        assert_eq!("1.5M".parse(), Ok(Rate(1_500_000.0)));
        for refused in ["0", "-1", "fast", "k", "inf", "NaN"] {
            assert!(refused.parse::<Rate>().is_err(), "{refused}");
        }
        // The pause between two records is a time that can be waited for.
        assert_eq!("0.00002".parse(), Ok(Rate(0.00002)));
        for slow in ["1e-20", "1e-300", "0.00001"] {
            let refusal = slow.parse::<Rate>().unwrap_err();
            assert!(refusal.contains("one record a day"), "{refusal}");
        }
    }
}
