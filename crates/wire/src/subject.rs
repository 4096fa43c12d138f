//! Subjects and patterns: whether a text is one. What matches what belongs to `route`.

use core::fmt;

/// Longest subject or pattern, in bytes.
pub const SUBJECT_BYTES_MAX: usize = 255;

/// A text that is a legal subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject<'a>(&'a str);

impl<'a> Subject<'a> {
    /// Takes `text` as a subject.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn new(text: &'a str) -> Result<Self, SubjectError> {
        check_subject(text).map(|()| Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

/// A text that is a legal pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern<'a>(&'a str);

impl<'a> Pattern<'a> {
    /// Takes `text` as a pattern.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn new(text: &'a str) -> Result<Self, SubjectError> {
        check_pattern(text).map(|()| Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

/// Whether `text` is a legal subject.
///
/// # Errors
/// The rule that it breaks.
pub fn check_subject(text: &str) -> Result<(), SubjectError> {
    check(text, false)
}

/// Whether `text` is a legal pattern: a subject in which `*` may stand for one token, and `>` at the end for the rest.
///
/// # Errors
/// The rule that it breaks.
pub fn check_pattern(text: &str) -> Result<(), SubjectError> {
    check(text, true)
}

fn check(text: &str, wildcards: bool) -> Result<(), SubjectError> {
    if text.is_empty() {
        return Err(SubjectError::Empty);
    }
    if text.len() > SUBJECT_BYTES_MAX {
        return Err(SubjectError::TooLong { bytes: text.len() });
    }
    if let Some((offset, character)) = text.char_indices().find(|(_, c)| !is_legal(*c)) {
        return Err(SubjectError::Character { offset, character });
    }
    let mut offset = 0;
    for token in text.split('.') {
        let end = offset + token.len();
        match token {
            "" => return Err(SubjectError::EmptyToken { offset }),
            "*" | ">" if !wildcards => return Err(SubjectError::Wildcard { offset }),
            ">" if end != text.len() => return Err(SubjectError::RestNotLast { offset }),
            _ => {}
        }
        offset = end + 1;
    }
    Ok(())
}

fn is_legal(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_graphic()
    } else {
        !c.is_control() && !c.is_whitespace()
    }
}

/// The rule that a subject or pattern breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectError {
    /// It is empty.
    Empty,
    /// It is longer than [`SUBJECT_BYTES_MAX`].
    TooLong {
        /// Its bytes.
        bytes: usize,
    },
    /// It has a space or something that cannot be printed.
    Character {
        /// Byte at which it is.
        offset: usize,
        /// The character.
        character: char,
    },
    /// It starts or ends with a dot, or has two in a row.
    EmptyToken {
        /// Byte at which the token should be.
        offset: usize,
    },
    /// A subject has `*` or `>` as a token.
    Wildcard {
        /// Byte at which it is.
        offset: usize,
    },
    /// A pattern has `>` before its end.
    RestNotLast {
        /// Byte at which it is.
        offset: usize,
    },
}

impl fmt::Display for SubjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "subject is empty"),
            Self::TooLong { bytes } => write!(
                f,
                "subject has {bytes} bytes, at most {SUBJECT_BYTES_MAX} are allowed"
            ),
            Self::Character { offset, character } => {
                write!(
                    f,
                    "subject has {character:?} at byte {offset}: only printable characters without spaces are allowed"
                )
            }
            Self::EmptyToken { offset } => {
                write!(
                    f,
                    "subject has an empty token at byte {offset}: tokens are separated by single dots"
                )
            }
            Self::Wildcard { offset } => {
                write!(
                    f,
                    "subject has a wildcard at byte {offset}: `*` and `>` are for subscriptions"
                )
            }
            Self::RestNotLast { offset } => write!(
                f,
                "pattern has `>` at byte {offset}: it must be the last token"
            ),
        }
    }
}

impl core::error::Error for SubjectError {}
