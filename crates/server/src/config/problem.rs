//! What is wrong with a configuration, and where.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// Where a setting was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Place {
    /// In a file; line and column count from 1.
    File {
        /// The file as the user named it.
        file: PathBuf,
        /// The line, from 1; 0 when the whole file is meant.
        line: u64,
        /// The column in characters, from 1.
        column: u64,
    },
    /// On the command line.
    Flag {
        /// The flag with its dashes.
        flag: &'static str,
    },
}

/// One thing that is wrong, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where it was written.
    #[serde(flatten)]
    pub place: Place,
    /// What is wrong and which choices there are; lower case, no final dot.
    pub message: String,
    /// The line of the file, for showing it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// Everything that is wrong with one configuration, in the order of the file. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line: 0, .. } => write!(f, "{}", file.display()),
            Self::File { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            Self::Flag { flag } => f.write_str(flag),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        let (Some(source), Place::File { line, column, .. }) = (&self.source, &self.place) else {
            return Ok(());
        };
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        let (shown, before) = around(source, *column);
        // Tabs are kept so that the mark stands under its character however wide a tab is shown.
        let indent: String = shown
            .chars()
            .take(before)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        write!(f, "\n  {number} | {shown}\n  {margin} | {indent}^")
    }
}

/// A line as it is shown, and how many characters of that are in front of the column. Of a long one, what is around the column.
fn around(line: &str, column: u64) -> (Cow<'_, str>, usize) {
    let before = usize::try_from(column.saturating_sub(1)).unwrap_or(0);
    let length = line.chars().count();
    if length <= SHOWN_MAX {
        return (line.into(), before);
    }
    let start = before.min(length).saturating_sub(SHOWN_MAX / 2);
    let end = length.min(start + SHOWN_MAX);
    let part: String = line.chars().skip(start).take(SHOWN_MAX).collect();
    let (cut, more) = (
        if start > 0 { "…" } else { "" },
        if end < length { "…" } else { "" },
    );
    (
        format!("{cut}{part}{more}").into(),
        before - start + cut.chars().count(),
    )
}

/// Characters of a line that are shown.
const SHOWN_MAX: usize = 120;

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
