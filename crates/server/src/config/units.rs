//! Sizes and durations as people write them: `64MiB`, `10s`.
//!
//! Both need a unit, because `timeout: 10` says nothing about whether it means seconds; and sizes are powers of 1024
//! only, with the unit that says so.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A number of bytes, written as `512B`, `64KiB`, `8MiB`, `1GiB` or `2TiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// A length of time in nanoseconds, written as `250us`, `5ms`, `10s`, `5m`, `12h` or `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub u64);

impl Span {
    /// The same length as the standard library's type.
    #[must_use]
    pub const fn duration(self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0)
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, BYTE_UNITS, "a size", "64MiB").map(Self)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, SPAN_UNITS, "a duration", "10s").map(Self)
    }
}

/// Prints the largest unit that loses nothing below a tenth, e.g. `64MiB` or `1.5GiB`.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_largest(f, self.0, BYTE_UNITS)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_largest(f, self.0, SPAN_UNITS)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_str(Text("a size with a unit, such as 64MiB"))
            .and_then(finish)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_str(Text("a duration with a unit, such as 10s"))
            .and_then(finish)
    }
}

fn finish<T: FromStr<Err = String>, E: de::Error>(text: String) -> Result<T, E> {
    text.parse().map_err(E::custom)
}

/// Takes a scalar's text, whatever it looks like: `64` and `64MiB` are both a string here.
struct Text(&'static str);

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

fn parse(text: &str, units: &[(&str, u64)], what: &str, example: &str) -> Result<u64, String> {
    let names = || {
        units
            .iter()
            .map(|unit| unit.0)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = (&text[..split], text[split..].trim_start());
    if digits.is_empty() {
        return Err(format!(
            "`{text}` is not {what}; write a whole number and a unit, such as {example} (units: {})",
            names()
        ));
    }
    if unit.is_empty() {
        return Err(format!(
            "`{text}` has no unit; write {what} such as {example} (units: {})",
            names()
        ));
    }
    if unit.starts_with(['.', ',']) {
        return Err(format!(
            "`{text}` is not a whole number; write {what} such as {example}, in a smaller unit if need be (units: {})",
            names()
        ));
    }
    let Some(&(_, scale)) = units.iter().find(|known| known.0 == unit) else {
        let close = units
            .iter()
            .find(|known| known.0.eq_ignore_ascii_case(unit) || near(known.0, unit));
        let hint = close
            .map(|known| format!("; did you mean {digits}{}?", known.0))
            .unwrap_or_default();
        return Err(format!(
            "`{unit}` is not a unit of {what}{hint} (units: {})",
            names()
        ));
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(scale))
        .ok_or_else(|| {
            format!(
                "`{text}` is too large: at most {}{}",
                u64::MAX / scale,
                unit
            )
        })
}

/// `MB`, `M` and `Mi` for `MiB`; `sec` and `seconds` for `s`.
fn near(known: &str, written: &str) -> bool {
    let fold = |unit: &str| unit.to_ascii_lowercase().replace(['i', 'b'], "");
    if known.ends_with('B') {
        return !fold(written).is_empty() && fold(known) == fold(written);
    }
    const WORDS: [(&str, &str); 6] = [
        ("us", "mic"),
        ("ms", "mil"),
        ("s", "sec"),
        ("m", "min"),
        ("h", "ho"),
        ("d", "day"),
    ];
    WORDS
        .iter()
        .any(|(unit, word)| *unit == known && written.to_ascii_lowercase().starts_with(word))
}

fn write_largest(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    let (name, scale) = units
        .iter()
        .rev()
        .find(|unit| value >= unit.1)
        .unwrap_or(&units[0]);
    if value.is_multiple_of(*scale) {
        return write!(f, "{}{name}", value / scale);
    }
    write!(f, "{:.1}{name}", value as f64 / *scale as f64)
}

const BYTE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

const SPAN_UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024_with_their_unit() {
        assert_eq!("64MiB".parse(), Ok(Bytes(64 << 20)));
        assert_eq!("1 GiB".parse(), Ok(Bytes(1 << 30)));
        assert_eq!("7B".parse(), Ok(Bytes(7)));
    }

    #[test]
    fn a_wrong_unit_is_answered_with_the_right_one() {
        let refusal = |text: &str| text.parse::<Bytes>().unwrap_err();
        assert!(
            refusal("64MB").contains("did you mean 64MiB?"),
            "{}",
            refusal("64MB")
        );
        assert!(refusal("64").contains("has no unit"));
        assert!(refusal("lots").contains("is not a size"));
        assert!(refusal("99999999999999TiB").contains("too large"));
        assert!(refusal("5 parsecs").contains("units: B, KiB, MiB, GiB, TiB"));
        let refusal = |text: &str| text.parse::<Span>().unwrap_err();
        assert!(refusal("10 sec").contains("did you mean 10s?"));
        assert!(refusal("10").contains("has no unit"));
        assert!(refusal("-10s").contains("is not a duration"));
    }

    #[test]
    fn what_is_printed_reads_back() {
        for text in ["1B", "1023B", "64KiB", "8MiB", "1GiB", "3TiB"] {
            assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text);
        }
        for text in ["1ns", "250us", "5ms", "10s", "5m", "12h", "7d"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!(Bytes(3 << 19).to_string(), "1.5MiB");
    }
}
