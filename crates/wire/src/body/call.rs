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

/// Instead of an answer: what a frame with [`FAILED`](crate::FrameFlags::FAILED) carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure<'a> {
    /// What went wrong, as a number of the responder's choice.
    pub code: u32,
    /// What went wrong, for people.
    pub message: &'a str,
}

impl<'a> Failure<'a> {
    /// Reads the body of an RpcResponse frame that says that the responder failed.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(body);
        let failure = Self {
            code: fields.u32("code")?,
            message: fields.text("message")?,
        };
        fields.finish(failure)
    }

    pub(super) fn fields<'o>(&self, out: Out<'o>) -> Out<'o> {
        out.u32(self.code).text(self.message)
    }
}
