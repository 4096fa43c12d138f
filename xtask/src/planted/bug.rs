//! A planted bug: a file that says what the bug is, where it goes, and who must catch it.
//!
//! ```text
//! a write that wrote a part counts as whole
//! file: crates/log/src/writer.rs
//! seed: 9
//! <<<<
//! the text that is replaced; it is in the file exactly once
//! ====
//! what takes its place
//! >>>>
//! ```
//!
//! `seed: N` is where the simulation is known to catch it: that seed is tried first, then the others. It may be left out.
//! `layer: small scope` is for one that needs so rare a moment that only trying everything finds it.
//! `test: PACKAGE NAME` is for a bug that the simulation cannot see, and names the test that must fail; `layer: torture` and
//! `layer: power loss` are for one that shows only when the real server is killed, or the power of its file system fails.

use std::fs;
use std::path::{Path, PathBuf};

/// What is planted, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bug {
    pub(super) name: String,
    /// In a sentence.
    pub(super) what: String,
    /// Relative to the root.
    pub(super) file: PathBuf,
    pub(super) old: String,
    pub(super) new: String,
    pub(super) layer: Layer,
}

/// Who must catch it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Layer {
    Simulation {
        seed: Option<u64>,
    },
    /// Every sequence of a few operations.
    SmallScope,
    Test {
        package: String,
        name: String,
    },
    /// Kills of the real server.
    Torture,
    /// Power that fails under it.
    PowerLoss,
}

/// The bugs of a folder whose names contain `filter`, in order.
pub(super) fn read(folder: &Path, filter: &str) -> Result<Vec<Bug>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    let mut bugs = Vec::new();
    for path in paths {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if name.contains(filter) {
            let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
            let bug =
                parse(&name, &text).map_err(|error| format!("{}: {error}", path.display()))?;
            bugs.push(bug);
        }
    }
    Ok(bugs)
}

impl Bug {
    /// The file with the bug in it.
    pub(super) fn plant(&self, sound: &str) -> Result<String, String> {
        let places = sound.matches(&self.old).count();
        if places != 1 {
            let (name, file) = (&self.name, self.file.display());
            return Err(format!(
                "planted bug {name}: its text is {places} times in {file}: plant it anew"
            ));
        }
        Ok(sound.replace(&self.old, &self.new))
    }
}

fn parse(name: &str, text: &str) -> Result<Bug, String> {
    let not_one = "is not a planted bug: it has no `<<<<`, `====` and `>>>>`";
    let (head, rest) = text.split_once("\n<<<<\n").ok_or(not_one)?;
    let (old, rest) = rest.split_once("\n====\n").ok_or(not_one)?;
    let (new, _) = rest.split_once("\n>>>>").ok_or(not_one)?;
    let mut lines = head.lines();
    let what = lines.next().unwrap_or_default().to_owned();
    let mut file = None;
    let mut layer = Layer::Simulation { seed: None };
    for line in lines {
        match line.split_once(": ") {
            Some(("file", path)) => file = Some(PathBuf::from(path)),
            Some(("seed", seed)) => {
                let seed = seed.parse().map_err(|_| format!("`{seed}` is no seed"))?;
                layer = Layer::Simulation { seed: Some(seed) };
            }
            Some(("test", words)) => {
                let (package, name) = words.split_once(' ').ok_or("a test is PACKAGE NAME")?;
                layer = Layer::Test {
                    package: package.into(),
                    name: name.into(),
                };
            }
            Some(("layer", "small scope")) => layer = Layer::SmallScope,
            Some(("layer", "torture")) => layer = Layer::Torture,
            Some(("layer", "power loss")) => layer = Layer::PowerLoss,
            _ => return Err(format!("`{line}` says nothing about a planted bug")),
        }
    }
    Ok(Bug {
        name: name.into(),
        what,
        file: file.ok_or("it names no file")?,
        old: old.into(),
        new: new.into(),
        layer,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "acks lie\nfile: a.rs\nseed: 7\n<<<<\n    stored\n====\n    received\n>>>>\n";

    #[test]
    fn a_bug_replaces_its_text_where_it_is_there_once() {
        let bug = parse("lie", TEXT).unwrap();
        assert_eq!(bug.what, "acks lie");
        assert_eq!(bug.layer, Layer::Simulation { seed: Some(7) });
        assert_eq!(bug.plant("a\n    stored\nb").unwrap(), "a\n    received\nb");
    }

    #[test]
    fn a_bug_says_who_must_catch_it() {
        let layer = |text: &str| parse("lie", &TEXT.replace("seed: 7", text)).map(|bug| bug.layer);
        assert_eq!(layer("layer: torture"), Ok(Layer::Torture));
        assert_eq!(layer("layer: power loss"), Ok(Layer::PowerLoss));
        assert_eq!(layer("layer: small scope"), Ok(Layer::SmallScope));
        assert!(layer("layer: luck").is_err());
        let test = Layer::Test {
            package: "log".into(),
            name: "a_test".into(),
        };
        assert_eq!(layer("test: log a_test"), Ok(test));
    }

    #[test]
    fn a_bug_whose_place_is_gone_or_not_the_only_one_is_refused() {
        let bug = parse("lie", TEXT).unwrap();
        assert!(bug.plant("nothing").is_err());
        assert!(bug.plant("    stored\n    stored\n").is_err());
    }

    #[test]
    fn a_file_with_another_field_is_refused() {
        assert!(parse("lie", &TEXT.replace("seed: 7", "sead: 7")).is_err());
        assert!(parse("lie", &TEXT.replace("====", "===")).is_err());
    }
}
