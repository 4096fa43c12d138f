//! Runs a plan.

use crate::plan::Plan;

/// Why a server stopped or did not start.
#[derive(Debug)]
pub struct Error(String);

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Runs the server until it is told to stop.
///
/// # Errors
/// The environment's refusals: addresses, files, the kernel.
pub fn run(plan: Plan) -> Result<(), Error> {
    Err(Error(format!(
        "{} workers are planned, but nothing runs them yet",
        plan.workers.len()
    )))
}
