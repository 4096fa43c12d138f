//! Peers that are no crates: where their programs and their libraries are.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A program: where a variable says, in the folder of peers, or on the path.
pub fn find_program(variable: &str, name: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Some(PathBuf::from(path));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    below(&["bin", "usr/bin", "usr/sbin"])
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// A shared library, `libNAME.so`, with whatever version follows that: where a variable says, in the folder of peers, or where
/// systems keep them.
pub fn find_library(variable: &str, name: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Some(PathBuf::from(path));
    }
    let own = format!("usr/lib/{}", triple());
    let system = [
        Path::new("/usr/local/lib").to_owned(),
        Path::new("/").join(&own),
        "/usr/lib64".into(),
        "/usr/lib".into(),
    ];
    below(&[&own, "usr/lib", "lib"])
        .into_iter()
        .chain(system)
        .find_map(|folder| library_in(&folder, name))
}

/// The library of this name in a folder; the one without a version, where there are several.
fn library_in(folder: &Path, name: &str) -> Option<PathBuf> {
    let is_it = |file: &str| {
        file.strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let files = std::fs::read_dir(folder).ok()?.flatten();
    files
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|file| is_it(&file.to_string_lossy()))
        })
        .min()
}

/// A command for a program of the folder of peers, which finds its libraries there.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some(root) = std::env::var_os(FOLDER).filter(|root| program.starts_with(root)) {
        command.env(
            "LD_LIBRARY_PATH",
            Path::new(&root).join("usr/lib").join(triple()),
        );
    }
    command
}

/// The first line that a program prints when asked for its version.
pub fn version(program: &Path, argument: &str) -> Option<String> {
    let output = command(program).arg(argument).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines()
        .find(|line| !line.trim().is_empty())
        .map(|line| line.trim().to_owned())
}

/// Folders in the folder of peers, if there is one.
fn below(folders: &[&str]) -> Vec<PathBuf> {
    let root = std::env::var_os(FOLDER).map(PathBuf::from);
    root.map_or_else(Vec::new, |root| {
        folders.iter().map(|folder| root.join(folder)).collect()
    })
}

/// How Debian calls this machine.
fn triple() -> String {
    format!("{}-linux-gnu", std::env::consts::ARCH)
}

/// The variable that names the folder into which peers were installed.
pub const FOLDER: &str = "TRUNKLINE_BENCH_PEERS";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_found_in_whatever_version_and_no_other_one_is_taken_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str| std::fs::write(folder.path().join(name), "").unwrap();
        make("libx.sound");
        make("liby.so.1");
        assert_eq!(library_in(folder.path(), "libx.so"), None);
        make("libx.so.7.8.3");
        make("libx.so.7.8");
        assert_eq!(
            library_in(folder.path(), "libx.so"),
            Some(folder.path().join("libx.so.7.8"))
        );
        assert_eq!(library_in(&folder.path().join("nothing"), "libx.so"), None);
    }
}
