//! Structured logs on standard error.
//!
//! Text with colours on a terminal, text without elsewhere, or one JSON object for each line. The level is a word
//! (`error`, `warn`, `info`, `debug`, `trace`) or a filter such as `info,trunkline_reactor=debug`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one object for each line.
    Json,
}

/// Starts logging for the whole process.
///
/// # Errors
/// The filter cannot be read, or logging was started before.
pub fn start(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        format!("`{filter}` is not a log filter ({error}); write a level such as info or debug")
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            builder.with_ansi(colours).with_target(false).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| error.to_string())
}

/// The level when nobody says otherwise.
pub const DEFAULT_FILTER: &str = "info";
/// Environment variable with a level or a filter.
pub const FILTER_VARIABLE: &str = "TRUNKLINE_LOG";
