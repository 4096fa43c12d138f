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
mod shape;
mod suggest;
mod units;

use std::path::{Path, PathBuf};

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_saphyr::{DuplicateKeyPolicy, Error, Location, Spanned};

pub use problem::{Place, Problem, Problems};
pub use schema::{
    Ack, Config, Idle, Io, Limits, Listener, Pin, Retention, Storage, Stream, SyncedWrites,
    Visible, WORKERS_MAX, Workers,
};
use shape::Value;
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
    /// The file cannot be read; or what cannot be understood in it, as [`Self::parse`] says it.
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
    /// What cannot be understood: every value and every unknown key.
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
    /// What cannot be understood: every value and every unknown key.
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

/// Reads a text; where values or keys are refused, all of them. The parser stops at the first, so the text is read again without that one.
fn parse<T: DeserializeOwned>(name: PathBuf, text: &str) -> Result<File<T>, Problems> {
    let mut refusals: Vec<Refusal> = Vec::new();
    // Where it is no YAML, nothing more can be told.
    let is_yaml = |text: &str| read::<IgnoredAny>(text).is_ok();
    let mut left = text.to_owned();
    loop {
        let error = match read(&left) {
            Ok(config) if refusals.is_empty() => {
                let text = left;
                return Ok(File { name, text, config });
            }
            Ok(_) => break,
            Err(error) => error,
        };
        let refusal = Refusal::of(&error, text);
        if refusal.what == What::Whole && refusals.iter().any(|other| other.what == What::Key) {
            // Perhaps nothing else than that a key is missing which was written wrong.
            break;
        }
        let place = (refusal.location.line(), refusal.location.column());
        let before = refusals
            .last()
            .map(|last| (last.location.line(), last.location.column()));
        if before >= Some(place) {
            break;
        }
        let without = match refusal.what {
            What::Value => Value::at(&left, refusal.location).left_out(),
            What::Key => shape::without_key(&left, refusal.location),
            What::Whole => None,
        };
        refusals.push(refusal);
        let goes_on = refusals.len() < PROBLEMS_MAX && is_yaml(text);
        match without.filter(|without| goes_on && is_yaml(without)) {
            Some(without) => left = without,
            None => break,
        }
    }
    let file = File {
        name,
        text: text.to_owned(),
        config: (),
    };
    let problems = refusals.into_iter();
    Err(Problems(
        problems
            .map(|refusal| file.problem(refusal.location, refusal.message))
            .collect(),
    ))
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options)
}

/// The parser's error in our words.
struct Refusal {
    location: Location,
    message: String,
    what: What,
}

/// What a refusal is about: without a value or a key, the text can be judged further.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Value,
    /// One that is not known here.
    Key,
    Whole,
}

impl Refusal {
    fn of(error: &Error, text: &str) -> Self {
        let location = error.location().unwrap_or(Location::UNKNOWN);
        let value = Value::at(text, location);
        let mut what = What::Value;
        let message = match error.without_snippet() {
            Error::SerdeUnknownVariant {
                variant, expected, ..
            } => format!(
                "`{variant}` is not a choice here{}; valid: {}",
                hint(variant, expected),
                expected.join(", ")
            ),
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
                format!("found {}, expected {expected}", found(unexpected))
            }
            Error::InvalidScalar { ty, .. } => value.is_no_number(ty),
            Error::InvalidBooleanStrict { .. } => value.is_no_boolean(),
            Error::Unexpected {
                expected: "sequence start",
                ..
            } => value.is_no_list(),
            Error::Unexpected {
                expected: "mapping start",
                ..
            } => value.is_no_mapping(),
            Error::Unexpected {
                expected: "string scalar" | "scalar",
                ..
            }
            | Error::ExternallyTaggedEnumExpectedScalarOrMapping { .. }
            | Error::UnexpectedValueForUnitEnumVariant { .. } => value.is_no_scalar(),
            Error::NullIntoString { .. } => value.is_missing(),
            Error::Message { msg, .. } => msg.clone(),
            Error::AliasError {
                error, locations, ..
            } => {
                return Self {
                    location: locations.reference_location,
                    ..Self::of(error, text)
                };
            }
            other => {
                what = match other {
                    Error::SerdeUnknownField { .. } => What::Key,
                    _ => What::Whole,
                };
                of_the_whole(other)
            }
        };
        Self {
            location,
            message,
            what,
        }
    }
}

/// What is wrong with more than one value.
fn of_the_whole(error: &Error) -> String {
    match error {
        Error::SerdeUnknownField {
            field, expected, ..
        } => format!(
            "unknown key `{field}`{}; valid here: {}",
            hint(field, expected),
            expected.join(", ")
        ),
        Error::SerdeMissingField { field, .. } => format!("`{field}` is missing"),
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("`{key}` is written twice"),
        Error::MultipleDocuments { .. } => {
            "a second document begins here: a configuration is one, without `---` between its keys"
                .to_owned()
        }
        Error::Eof { .. } => "the text ends where a value is expected".to_owned(),
        // What remains is YAML syntax, in the parser's words without its own rendering of the place.
        other => strip_place(&other.to_string()),
    }
}

/// The words of serde for what was found, in those of a user.
fn found(unexpected: &str) -> &str {
    match unexpected {
        "sequence" => "a list",
        "map" => "keys with values",
        "unit value" => "nothing",
        other => other,
    }
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

/// More than anybody reads at once.
const PROBLEMS_MAX: usize = 32;

/// A configuration of a hundred streams has 20 KiB.
const MAX_FILE_BYTES: u64 = 1 << 20;
