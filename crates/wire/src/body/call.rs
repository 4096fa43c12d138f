//! Calls.

use crate::field::{Fields, Malformed, Out};

/// A call to whoever answers the subject; the frame's sequence is the correlation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RpcCall<'a> {
    /// How long the caller waits.
    pub timeout_ms: u32,
    /// Who is to answer.
    pub subject: &'a str,
    /// What is asked.
    pub payload: &'a [u8],
}

impl<'a> RpcCall<'a> {
    /// Reads the body of an RpcCall frame.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(body);
        let timeout_ms = fields.u32("timeout_ms")?;
        let subject = fields.text("subject")?;
        Ok(Self {
            timeout_ms,
            subject,
            payload: fields.rest(),
        })
    }

    pub(super) fn fields<'o>(&self, out: Out<'o>) -> Out<'o> {
        out.u32(self.timeout_ms)
            .text(self.subject)
            .bytes(self.payload)
    }
}
