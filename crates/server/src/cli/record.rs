//! A record as a line of JSON.

use std::collections::BTreeMap;

use serde::Serialize;
use trunkline_wire::headers::Headers;

use super::output::{base64, time};

/// What `sub --json` and `log export` print.
#[derive(Serialize)]
pub(super) struct Record<'a> {
    stream: &'a str,
    sequence: u64,
    time: String,
    subject: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    /// For payloads that are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

impl<'a> Record<'a> {
    /// `at` is the sequence and the time in nanoseconds since 1970.
    pub(super) fn new(
        stream: &'a str,
        subject: &'a str,
        at: (u64, u64),
        headers: Headers<'_>,
        payload: &'a [u8],
    ) -> Self {
        let text = std::str::from_utf8(payload).ok();
        let headers = headers
            .iter()
            .map(|(key, value)| (key.to_owned(), String::from_utf8_lossy(value).into_owned()));
        Self {
            stream,
            sequence: at.0,
            time: time(at.1),
            subject,
            headers: headers.collect(),
            payload: text,
            payload_base64: text.is_none().then(|| base64(payload)),
        }
    }
}
