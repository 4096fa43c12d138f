//! HDR histograms, and their form in results.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

use crate::{Failure, Figure};

/// Times from 1 ns to a minute, to three digits. Its form in results is the compressed V2 encoding of HDR histograms in
/// base64, which other tools for such histograms read too.
#[derive(Clone, Debug)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("these bounds are possible"))
    }
}

impl Latency {
    pub fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns.max(1));
    }

    pub fn record_n(&mut self, ns: u64, count: u64) {
        self.0.saturating_record_n(ns.max(1), count);
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Adds all that another one holds.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    pub fn quantile_ns(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }

    /// The percentiles that tables show.
    pub fn figures(&self) -> [(Figure, f64); 6] {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e3;
        [
            (Figure::P50Us, at(0.5)),
            (Figure::P90Us, at(0.9)),
            (Figure::P99Us, at(0.99)),
            (Figure::P999Us, at(0.999)),
            (Figure::P9999Us, at(0.9999)),
            (Figure::MaxUs, self.0.max() as f64 / 1e3),
        ]
    }

    pub fn encode(&self) -> String {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.0, &mut bytes)
            .expect("memory takes all");
        BASE64.encode(bytes)
    }

    /// # Errors
    /// When the text is no histogram.
    pub fn decode(text: &str) -> Result<Self, Failure> {
        let bytes = BASE64
            .decode(text)
            .map_err(|error| format!("histogram: {error}"))?;
        let read = Deserializer::new().deserialize(&mut &bytes[..]);
        let mut own = Self::default();
        let read: Histogram<u64> = read.map_err(|error| format!("histogram: {error}"))?;
        own.0
            .add(read)
            .map_err(|error| format!("histogram: {error}"))?;
        Ok(own)
    }
}

impl Serialize for Latency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.encode())
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::decode(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_being_written() {
        let mut latency = Latency::default();
        for ns in 1..=10_000 {
            latency.record(ns * 100);
        }
        let back = Latency::decode(&latency.encode()).unwrap();
        assert_eq!(back.count(), 10_000);
        assert_eq!(back.quantile_ns(0.99), latency.quantile_ns(0.99));
        assert!(Latency::decode("nothing").is_err());
    }
}
