//! What the server itself answers: calls to subjects that start with `$sys.`, in JSON.

use std::time::Duration;

use super::client::Client;
use crate::error::Error;

/// Asks the server about itself.
#[derive(Clone, Copy, Debug)]
pub struct Admin<'c> {
    client: &'c Client,
}

impl<'c> Admin<'c> {
    pub(super) fn new(client: &'c Client) -> Self {
        Self { client }
    }

    /// Calls `$sys.` followed by `what` with JSON, and returns the JSON that is answered.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn call(&self, what: &str, json: &[u8]) -> Result<Vec<u8>, Error> {
        self.client.request(&format!("$sys.{what}"), json, TIMEOUT)
    }
}

const TIMEOUT: Duration = Duration::from_secs(10);
