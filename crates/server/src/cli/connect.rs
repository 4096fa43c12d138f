//! What every command that talks to a server shares.

use clap::Args;

use super::exit::Failure;
use crate::plan::{DEFAULT_ADDRESS, SERVER_VARIABLE};

/// Which server.
#[derive(Debug, Clone, Args)]
pub(super) struct Target {
    /// The server's address
    #[arg(long, short, value_name = "HOST:PORT", env = SERVER_VARIABLE, default_value = DEFAULT_ADDRESS)]
    pub(super) server: String,
}

impl Target {
    pub(super) fn connect(&self) -> Result<std::convert::Infallible, Failure> {
        Err(Failure::Connection(format!(
            "cannot connect to {}: not built yet",
            self.server
        )))
    }
}
