//! The project's rules that a compiler does not check.
//!
//! Each rule is a function from the files of the repository to complaints. A complaint names the file and, where there is
//! one, the line; all rules run before the task fails.

mod arrows;
mod text;

use std::path::{Path, PathBuf};

use crate::{Outcome, planted, workspace};

/// The repository as the rules see it.
pub(crate) struct Tree {
    files: Vec<SourceFile>,
}

/// One file; `text` is absent when it is not UTF-8.
pub(crate) struct SourceFile {
    path: PathBuf,
    bytes: u64,
    text: Option<String>,
}

impl SourceFile {
    fn is_rust(&self) -> bool {
        self.path
            .extension()
            .is_some_and(|extension| extension == "rs")
    }

    /// The crate's folder name, for a file below `crates/NAME/src`.
    fn crate_source(&self) -> Option<&str> {
        let path = self.path.to_str()?.strip_prefix("crates/")?;
        let (name, rest) = path.split_once('/')?;
        rest.starts_with("src/").then_some(name)
    }

    /// The lines outside the test module at the end, counted from 1.
    fn lines_before_tests(&self) -> impl Iterator<Item = (usize, &str)> {
        let text = self.text.as_deref().unwrap_or_default();
        let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
        text[..end]
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line))
    }
}

/// Runs all rules.
pub(crate) fn run() -> Outcome {
    let tree = read()?;
    let mut complaints = Vec::new();
    arrows::check(&workspace::members()?, &mut complaints);
    text::check(&tree, &mut complaints);
    planted::check(&mut complaints);
    for file in text::long(&tree) {
        eprintln!("xtask: note: {file}");
    }
    if complaints.is_empty() {
        eprintln!("xtask: {} files keep the rules", tree.files.len());
        return Ok(());
    }
    Err(format!(
        "{} complaints:\n  {}",
        complaints.len(),
        complaints.join("\n  ")
    ))
}

fn read() -> Result<Tree, String> {
    let mut files = Vec::new();
    for path in workspace::files()? {
        let full = workspace::root().join(&path);
        let bytes = Path::metadata(&full)
            .map_err(|error| format!("{}: {error}", path.display()))?
            .len();
        files.push(SourceFile {
            text: std::fs::read_to_string(&full).ok(),
            path,
            bytes,
        });
    }
    Ok(Tree { files })
}
