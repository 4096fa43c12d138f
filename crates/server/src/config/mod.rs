//! What the user wrote: a YAML file and the flags beside it.
//!
//! [`Config`] holds the words of the file with their places and no decision at all; [`Plan`](crate::plan::Plan) is
//! computed from it, and nothing else reads it. Unknown keys, wrong units and values of another kind are refused here,
//! with file, line, column and the valid choices; whatever needs two settings to be judged is judged by the plan.
//!
//! ```
//! use trunkline::config::File;
//!
//! let text = "streams:\n  - name: orders\n    subjects: ['orders.>']\n    segement: 64MiB\n";
//! let problems = File::parse("trunkline.yaml", text).unwrap_err();
//! assert!(problems.to_string().starts_with("trunkline.yaml:4:5: unknown key `segement`; did you mean `segment`?"));
//! ```

mod problem;
mod schema;
mod suggest;
mod units;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_saphyr::{DuplicateKeyPolicy, Error, Location, Spanned};

pub use problem::{Place, Problem, Problems};
pub use schema::{
    Ack, Config, Idle, Io, Limits, Listener, Pin, Retention, Storage, Stream, Visible, Workers,
};
pub use suggest::closest;
pub use units::{Bytes, Span};

/// A configuration file: its name, its text and what the text says.
#[derive(Debug, Clone)]
pub struct File<T = Config> {
    /// The file as the user named it; for messages.
    pub name: PathBuf,
    /// The whole text, for showing the line that a message is about.
    pub text: String,
    /// What it says.
    pub config: T,
}

impl File {
    /// Reads and parses a file.
    ///
    /// # Errors
    /// One problem: the file cannot be read, or the first thing in it that cannot be understood.
    pub fn read(path: &Path) -> Result<Self, Problems> {
        let refuse = |message: String| {
            let place = Place::File {
                file: path.to_owned(),
                line: 0,
                column: 0,
            };
            Problems(vec![Problem {
                place,
                message,
                source: None,
            }])
        };
        let length = std::fs::metadata(path)
            .map_err(|error| refuse(format!("cannot be read: {error}")))?
            .len();
        if length > MAX_FILE_BYTES {
            return Err(refuse(format!(
                "has {length} bytes; a configuration has at most {MAX_FILE_BYTES}"
            )));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| refuse(format!("cannot be read: {error}")))?;
        Self::parse(path, &text)
    }

    /// Parses text that came from `name`. An empty text is the default configuration.
    ///
    /// # Errors
    /// One problem: the first thing that cannot be understood.
    pub fn parse(name: impl Into<PathBuf>, text: &str) -> Result<Self, Problems> {
        let empty = text
            .lines()
            .all(|line| matches!(line.trim_start().chars().next(), None | Some('#')));
        if empty {
            return Ok(Self {
                name: name.into(),
                text: text.to_owned(),
                config: Config::default(),
            });
        }
        parse(name.into(), text)
    }
}

impl File<Stream> {
    /// Parses the description of one stream, as an entry of `streams` says it; JSON is YAML too.
    ///
    /// # Errors
    /// One problem: the first thing that cannot be understood.
    pub fn parse_stream(name: impl Into<PathBuf>, text: &str) -> Result<Self, Problems> {
        parse(name.into(), text)
    }
}

impl<T> File<T> {
    /// A problem at a place of this file.
    pub(crate) fn problem(&self, location: Location, message: String) -> Problem {
        let (line, column) = (location.line(), location.column());
        let source = usize::try_from(line)
            .ok()
            .and_then(|line| line.checked_sub(1));
        let source = source
            .and_then(|index| self.text.lines().nth(index))
            .map(str::to_owned);
        Problem {
            place: Place::File {
                file: self.name.clone(),
                line,
                column,
            },
            message,
            source,
        }
    }

    /// A problem with a value of this file.
    pub(crate) fn problem_at<V>(&self, value: &Spanned<V>, message: String) -> Problem {
        self.problem(value.referenced, message)
    }
}

fn parse<T: DeserializeOwned>(name: PathBuf, text: &str) -> Result<File<T>, Problems> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options(text, options) {
        Ok(config) => Ok(File {
            name,
            text: text.to_owned(),
            config,
        }),
        Err(error) => {
            let (location, message) = explain(&error);
            let file = File {
                name,
                text: text.to_owned(),
                config: (),
            };
            Err(Problems(vec![file.problem(location, message)]))
        }
    }
}

/// The parser's error in our words.
fn explain(error: &Error) -> (Location, String) {
    let location = error.location().unwrap_or(Location::UNKNOWN);
    let message = match error.without_snippet() {
        Error::SerdeUnknownField {
            field, expected, ..
        } => {
            format!(
                "unknown key `{field}`{}; valid here: {}",
                hint(field, expected),
                expected.join(", ")
            )
        }
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => {
            format!(
                "`{variant}` is not a choice here{}; valid: {}",
                hint(variant, expected),
                expected.join(", ")
            )
        }
        Error::SerdeMissingField { field, .. } => format!("`{field}` is missing"),
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("`{key}` is written twice"),
        Error::SerdeInvalidType {
            unexpected,
            expected,
            ..
        }
        | Error::SerdeInvalidValue {
            unexpected,
            expected,
            ..
        } => {
            format!("found {unexpected}, expected {expected}")
        }
        Error::InvalidScalar { ty, .. } => format!("expected a value of type {ty}"),
        Error::InvalidBooleanStrict { .. } => "expected `true` or `false`".to_owned(),
        Error::Unexpected { expected, .. } => format!("expected {expected}"),
        Error::Message { msg, .. } => msg.clone(),
        Error::AliasError {
            error, locations, ..
        } => return (locations.reference_location, explain(error).1),
        // What remains is YAML syntax, in the parser's words without its own rendering of the place.
        other => strip_place(&other.to_string()),
    };
    (location, message)
}

fn hint(written: &str, known: &[&'static str]) -> String {
    closest(written, known.iter().copied())
        .map(|word| format!("; did you mean `{word}`?"))
        .unwrap_or_default()
}

/// Cuts the parser's own ` at line 3, column 5` off, which we print in front.
fn strip_place(message: &str) -> String {
    let first = message.lines().next().unwrap_or(message);
    let cut = first.find(" at line ").unwrap_or(first.len());
    first[..cut].to_owned()
}

/// A configuration of a hundred streams has 20 KiB.
const MAX_FILE_BYTES: u64 = 1 << 20;
