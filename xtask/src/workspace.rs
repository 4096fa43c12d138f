//! What cargo and git know of the workspace.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::shell;

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies below the root")
}

/// Where cargo builds; loom and others build in folders below it.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The triple of the machine that builds.
pub(crate) fn host() -> Result<String, String> {
    let text = shell::output(Command::new("rustc").arg("-vV")).ok_or("rustc -vV failed")?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .ok_or_else(|| "rustc -vV says no host".into())
}

/// `cargo metadata` without the dependencies.
pub(crate) fn members() -> Result<Vec<Value>, String> {
    packages(&["--no-deps"])
}

/// All packages that this machine's build takes part of, ours among them.
pub(crate) fn packages(arguments: &[&str]) -> Result<Vec<Value>, String> {
    let mut command = shell::cargo(&["metadata", "--format-version", "1", "--locked"]);
    let text = shell::output(command.args(arguments))
        .ok_or("cargo metadata failed; is Cargo.lock up to date?")?;
    let metadata: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    metadata["packages"]
        .as_array()
        .cloned()
        .ok_or_else(|| "no packages in the metadata".into())
}

/// The files that git tracks or would track, relative to the root.
pub(crate) fn files() -> Result<Vec<PathBuf>, String> {
    let arguments = [
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ];
    let text = shell::output(Command::new("git").args(arguments).current_dir(root()))
        .ok_or("git ls-files failed; tidy needs a git checkout")?;
    let exists = |path: &PathBuf| root().join(path).is_file();
    Ok(text
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .filter(exists)
        .collect())
}
