//! A copy of the sources in which bugs are planted, built quickly: little optimised, incrementally, and without the product's own
//! assertions, for what is measured are the tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::bug::Bug;
use crate::{Outcome, shell, workspace};

/// The copy; it is kept between runs, with what was built in it.
pub(super) struct Copy {
    tree: PathBuf,
}

impl Copy {
    /// Brings the copy up to date. Files that are the same are left alone, so that little is built anew.
    pub(super) fn new() -> Result<Self, String> {
        let tree = workspace::target_dir().join("planted/tree");
        for path in workspace::files()? {
            if !COPIED.iter().any(|start| path.starts_with(start)) {
                continue;
            }
            let source = workspace::root().join(&path);
            let mut bytes = fs::read(source).map_err(|error| error.to_string())?;
            if path == Path::new("Cargo.toml") {
                let text = String::from_utf8_lossy(&bytes);
                let lines = text
                    .lines()
                    .map(|line| match line.starts_with("members = ") {
                        true => MEMBERS,
                        false => line,
                    });
                bytes = lines
                    .flat_map(|line| [line, "\n"])
                    .collect::<String>()
                    .into_bytes();
            }
            let target = tree.join(&path);
            if let Some(folder) = target.parent() {
                fs::create_dir_all(folder).map_err(|error| error.to_string())?;
            }
            if fs::read(&target).ok().as_ref() != Some(&bytes) {
                fs::write(&target, bytes).map_err(|error| error.to_string())?;
            }
        }
        Ok(Self { tree })
    }

    /// Does something while a bug is in the copy.
    pub(super) fn planted<T>(
        &self,
        bug: &Bug,
        tried: impl FnOnce() -> Result<T, String>,
    ) -> Result<T, String> {
        let file = self.tree.join(&bug.file);
        let failed = |error| format!("{}: {error}", bug.file.display());
        let sound = fs::read_to_string(&file).map_err(failed)?;
        fs::write(&file, bug.plant(&sound)?).map_err(failed)?;
        let result = tried();
        fs::write(&file, sound).map_err(failed)?;
        result
    }

    /// Builds the simulation.
    pub(super) fn build(&self) -> Outcome {
        self.build_packages(&["sim"])
    }

    /// Builds the server and what tortures it.
    pub(super) fn build_server(&self) -> Outcome {
        self.build_packages(&["trunkline", "torture"])
    }

    fn build_packages(&self, packages: &[&str]) -> Outcome {
        let mut command = self.cargo(&["build"]);
        for package in packages {
            command.args(["--package", package]);
        }
        let output = finish(command)?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Runs so many seeds: the first that fails, and what it says.
    pub(super) fn simulate(&self, first: u64, seeds: u64) -> Result<Option<(u64, String)>, String> {
        let mut command = Command::new(self.target().join("release/sim"));
        command.args(["--no-shrink", "--seed", &first.to_string()]);
        command.args(["--seeds", &seeds.to_string()]);
        let output = finish(command)?;
        if output.status.success() {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let failure = text.lines().find_map(|line| {
            let (seed, said) = line.strip_prefix("sim: seed ")?.split_once(" failed: ")?;
            Some((seed.parse().ok()?, said.to_owned()))
        });
        failure
            .map(Some)
            .ok_or_else(|| format!("the simulation did not run: {text}"))
    }

    /// Tries every sequence of so many operations: what is said of the first that fails.
    pub(super) fn small_scope(&self, operations: u64) -> Result<Option<String>, String> {
        let mut command = Command::new(self.target().join("release/sim"));
        command.args(["--small-scope", &operations.to_string()]);
        let output = finish(command)?;
        if output.status.success() {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let found = text.lines().find_map(|line| {
            let (_, said) = line.strip_prefix("sim: ")?.split_once(" failed: ")?;
            Some(said.to_owned())
        });
        found
            .map(Some)
            .ok_or_else(|| format!("the small scope did not run: {text}"))
    }

    /// Tortures the server: what the torture says when it finds something.
    pub(super) fn torture(&self, words: &[&str]) -> Result<Option<String>, String> {
        let directory = self.tree.with_file_name("torture");
        fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
        let mut command = Command::new(self.target().join("release/torture"));
        command
            .arg("--server")
            .arg(self.target().join("release/trunkline"))
            .arg("--directory")
            .arg(&directory)
            .args(words);
        let output = finish(command)?;
        // What is kept for people to look at: here it was expected.
        let _ = fs::remove_dir_all(&directory);
        if output.status.success() {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&output.stderr);
        // Behind where and when: what was found.
        let found = text.lines().find_map(|line| {
            let at = FOUND.iter().filter_map(|word| line.find(*word)).min()?;
            Some(line[at..].to_owned())
        });
        found
            .map(Some)
            .ok_or_else(|| format!("the torture failed: {text}"))
    }

    /// Runs one test of a package: what it says when it fails.
    pub(super) fn test(&self, package: &str, name: &str) -> Result<Option<String>, String> {
        let arguments = ["test", "--package", package, "--tests", "--no-fail-fast"];
        let mut command = self.cargo(&arguments);
        command.args(["--", name]);
        let output = finish(command)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let ran = |verdict: &str| {
            text.lines()
                .any(|line| line.starts_with("test ") && line.ends_with(verdict))
        };
        if ran("... FAILED") {
            return Ok(Some("the test fails".into()));
        }
        if output.status.success() && ran("... ok") {
            return Ok(None);
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(format!("{package} has no test `{name}`\n{errors}"))
    }

    fn target(&self) -> PathBuf {
        self.tree.with_file_name("target")
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = shell::cargo(arguments);
        command
            .args(["--release", "--offline"])
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", self.target())
            .env("CARGO_TERM_COLOR", "never")
            .env("CARGO_INCREMENTAL", "1")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "64")
            // A bug may leave something unused.
            .env("RUSTFLAGS", "--cap-lints allow");
        command
    }
}

fn finish(mut command: Command) -> Result<Output, String> {
    command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())
}

/// What is copied.
const COPIED: [&str; 5] = ["crates", "sim", "torture", "Cargo.toml", "Cargo.lock"];
/// Whatever else is in the workspace is not.
const MEMBERS: &str = "members = [\"crates/*\", \"sim\", \"torture\"]";
/// What the torture's findings begin with.
const FOUND: [&str; 7] = [
    "LOST",
    "PHANTOM",
    "CHANGED",
    "TWICE",
    "the server does not start",
    "the server ended by itself",
    "a second server",
];
