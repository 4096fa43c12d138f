//! One pattern, and what it has in common with a subject or with another pattern.

use core::fmt;
use core::str::FromStr;

use trunkline_wire::subject::{Subject, SubjectError, check_pattern};

/// A legal pattern, owned. At most 255 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern {
    text: Box<str>,
    literal: bool,
}

impl Pattern {
    /// Takes `text` as a pattern.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn new(text: &str) -> Result<Self, SubjectError> {
        check_pattern(text)?;
        let literal = !text.split('.').any(|token| matches!(token, ANY | REST));
        Ok(Self {
            text: text.into(),
            literal,
        })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether there is no wildcard: it matches exactly the subject that reads the same.
    pub fn is_literal(&self) -> bool {
        self.literal
    }

    /// Whether the subject is one of the pattern's.
    pub fn matches(&self, subject: Subject<'_>) -> bool {
        self.matches_str(subject.as_str())
    }

    /// The same for a text that is known to be a legal subject, such as one that a log gave back.
    pub fn matches_str(&self, subject: &str) -> bool {
        if self.literal {
            *self.text == *subject
        } else {
            contains(&self.text, subject)
        }
    }

    /// Whether there is a subject that both patterns match.
    pub fn overlaps(&self, other: &Pattern) -> bool {
        if self.literal {
            return other.matches_str(&self.text);
        }
        let (mut ours, mut theirs) = (self.text.split('.'), other.text.split('.'));
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (None, Some(_)) | (Some(_), None) => return false,
                // `>` takes whatever the other one goes on with: at least one token on both sides is left.
                (Some(REST), Some(_)) | (Some(_), Some(REST)) => return true,
                (Some(ANY), Some(_)) | (Some(_), Some(ANY)) => {}
                (Some(our), Some(their)) if our == their => {}
                (Some(_), Some(_)) => return false,
            }
        }
    }

    /// Whether this pattern matches every subject that the other one matches.
    pub fn contains(&self, other: &Pattern) -> bool {
        contains(&self.text, &other.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl FromStr for Pattern {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        Self::new(text)
    }
}

/// Whether `outer` matches everything that `inner` matches. A subject is a pattern that matches itself only, so this is also
/// whether a pattern matches a subject.
fn contains(outer: &str, inner: &str) -> bool {
    let (mut outer, mut inner) = (outer.split('.'), inner.split('.'));
    loop {
        match (outer.next(), inner.next()) {
            (None, None) | (Some(REST), Some(_)) => return true,
            (None, Some(_)) | (Some(_), None) => return false,
            // One token is less than one or more.
            (Some(_), Some(REST)) => return false,
            (Some(ANY), Some(_)) => {}
            (Some(ours), Some(theirs)) if ours == theirs => {}
            (Some(_), Some(_)) => return false,
        }
    }
}

/// Stands for exactly one token.
pub(crate) const ANY: &str = "*";
/// Stands for one or more tokens, at the end.
pub(crate) const REST: &str = ">";
