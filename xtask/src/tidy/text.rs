//! Rules that read the files.

use super::{SourceFile, Tree};
use crate::workspace;

/// Runs all of them.
pub(super) fn check(tree: &Tree, complaints: &mut Vec<String>) {
    for file in &tree.files {
        stray(file, complaints);
        registry_hosts(file, complaints);
        if file.is_rust() {
            leftovers(file, complaints);
            unsafe_code(file, complaints);
            deterministic(file, complaints);
            module_doc(file, complaints);
        } else {
            whitespace(file, complaints);
            links(file, complaints);
        }
    }
    forbids_unsafe(tree, complaints);
    decisions(tree, complaints);
}

/// Files that have grown past the point where one noun is likely.
pub(super) fn long(tree: &Tree) -> Vec<String> {
    let lines = |file: &SourceFile| file.text.as_deref().map_or(0, |text| text.lines().count());
    let rust = tree.files.iter().filter(|file| file.is_rust());
    rust.filter(|file| lines(file) > LONG_FILE_LINES)
        .map(|file| format!("{} has {} lines", file.path.display(), lines(file)))
        .collect()
}

/// Crates whose unsafe code is part of the design; every other one forbids it. `wire` has one checksum kernel.
const UNSAFE_CRATES: [&str; 2] = ["ring", "reactor"];
const UNSAFE_FILE: &str = "crates/wire/src/crc.rs";

fn forbids_unsafe(tree: &Tree, complaints: &mut Vec<String>) {
    for file in &tree.files {
        let Some(name) = file.crate_source() else {
            continue;
        };
        if !file.path.ends_with("src/lib.rs") || UNSAFE_CRATES.contains(&name) {
            continue;
        }
        let word = if name == "wire" { "deny" } else { "forbid" };
        let attribute = format!("#![{word}(unsafe_code)]");
        if !file
            .text
            .as_deref()
            .unwrap_or_default()
            .contains(&attribute)
        {
            complaints.push(format!("{}: lacks {attribute}", file.path.display()));
        }
    }
}

fn unsafe_code(file: &SourceFile, complaints: &mut Vec<String>) {
    let Some(name) = file.crate_source() else {
        return;
    };
    if UNSAFE_CRATES.contains(&name) || file.path.ends_with(UNSAFE_FILE) {
        return;
    }
    for (line, text) in file.lines_before_tests() {
        if text.contains("allow(unsafe_code)") && !text.contains("mod crc") {
            complaints.push(format!(
                "{}:{line}: allows unsafe code",
                file.path.display()
            ));
        }
    }
}

/// Clippy refuses most of these too, but not in every configuration that exists.
fn leftovers(file: &SourceFile, complaints: &mut Vec<String>) {
    // The words are split, so that this file keeps its own rule.
    let marks = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("db", "g!("),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("#[ign", "ore"),
        concat!("should_", "panic"),
    ];
    for (index, line) in file.text.as_deref().unwrap_or_default().lines().enumerate() {
        for mark in marks.iter().filter(|mark| line.contains(**mark)) {
            complaints.push(format!(
                "{}:{}: leftover `{mark}`",
                file.path.display(),
                index + 1
            ));
        }
    }
}

/// The crates that give the same outputs for the same inputs and `now`: no clock, no files, no sockets, no threads.
const DETERMINISTIC: [&str; 4] = ["wire", "log", "route", "broker"];

fn deterministic(file: &SourceFile, complaints: &mut Vec<String>) {
    if !file
        .crate_source()
        .is_some_and(|name| DETERMINISTIC.contains(&name))
    {
        return;
    }
    let worlds = [
        "Instant::now",
        "SystemTime",
        "std::fs",
        "std::net",
        "thread::spawn",
        "std::env",
    ];
    for (line, text) in file.lines_before_tests() {
        let code = text.split("//").next().unwrap_or_default();
        for world in worlds.iter().filter(|world| code.contains(**world)) {
            let path = file.path.display();
            complaints.push(format!(
                "{path}:{line}: `{world}` in a crate that does no I/O"
            ));
        }
    }
}

/// A module doc is a door: every source file of a crate says what it owns.
fn module_doc(file: &SourceFile, complaints: &mut Vec<String>) {
    let text = file.text.as_deref().unwrap_or_default();
    if file.crate_source().is_some() && !text.starts_with("//!") {
        complaints.push(format!(
            "{}: does not start with a module doc",
            file.path.display()
        ));
    }
}

fn whitespace(file: &SourceFile, complaints: &mut Vec<String>) {
    let Some(text) = &file.text else { return };
    if ["lock", "txt", "log"]
        .iter()
        .any(|kind| file.path.extension().is_some_and(|own| own == *kind))
    {
        return;
    }
    for (index, line) in text.lines().enumerate() {
        if line.ends_with([' ', '\t', '\r']) {
            complaints.push(format!(
                "{}:{}: white space at the end",
                file.path.display(),
                index + 1
            ));
        }
    }
}

/// Where packages come from is the business of whoever builds: mirrors and offline builds must work.
fn registry_hosts(file: &SourceFile, complaints: &mut Vec<String>) {
    // Lock files name the registry by its canonical address, wherever packages really come from.
    if file.path.ends_with("Cargo.lock") {
        return;
    }
    let hosts = [
        concat!("crates", ".io"),
        concat!("pypi", ".org"),
        concat!("npmjs", ".org"),
        concat!("npmjs", ".com"),
        concat!("debian", ".org"),
        concat!("proxy.", "golang"),
    ];
    for (index, line) in file.text.as_deref().unwrap_or_default().lines().enumerate() {
        for host in hosts.iter().filter(|host| line.contains(**host)) {
            complaints.push(format!(
                "{}:{}: names the host {host}",
                file.path.display(),
                index + 1
            ));
        }
    }
}

fn stray(file: &SourceFile, complaints: &mut Vec<String>) {
    let path = file.path.display();
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    let left = [
        ".orig",
        ".rej",
        ".swp",
        ".bak",
        ".tmp",
        "~",
        ".profraw",
        ".DS_Store",
        ".pending-snap",
    ];
    if left.iter().any(|ending| name.ends_with(ending)) || name == "core" {
        complaints.push(format!("{path}: looks like a leftover"));
    }
    if file.bytes > LARGE_FILE_BYTES {
        complaints.push(format!(
            "{path}: has {} bytes; large files do not belong here",
            file.bytes
        ));
    }
    let depth = file.path.components().count();
    if depth == 1 && !ROOT_FILES.contains(&&*name) {
        complaints.push(format!("{path}: is not one of the root's files"));
    }
    let first = file
        .path
        .components()
        .next()
        .map(|part| part.as_os_str().to_string_lossy());
    if depth > 1 && !ROOT_FOLDERS.contains(&&*first.unwrap_or_default()) {
        complaints.push(format!("{path}: is not in one of the root's folders"));
    }
}

/// What a page links to in the repository is there.
fn links(file: &SourceFile, complaints: &mut Vec<String>) {
    let page = file.path.extension().is_some_and(|own| own == "md");
    let (true, Some(text)) = (page, file.text.as_deref()) else {
        return;
    };
    let folder = workspace::root().join(&file.path);
    for (index, line) in text.lines().enumerate() {
        let targets = line.split("](").skip(1);
        let targets = targets.filter_map(|rest| rest.split([')', '#']).next());
        for target in targets.filter(|own| !own.is_empty() && !own.contains("://")) {
            if !folder.with_file_name(target).exists() {
                complaints.push(format!(
                    "{}:{}: links to {target}, which is not there",
                    file.path.display(),
                    index + 1
                ));
            }
        }
    }
}

/// `docs/decision/NNNN-title.md`, each number once, each with what was decided and what follows.
fn decisions(tree: &Tree, complaints: &mut Vec<String>) {
    let mut numbers = Vec::new();
    for file in &tree.files {
        let Ok(name) = file.path.strip_prefix("docs/decision") else {
            continue;
        };
        let name = name.to_string_lossy();
        let number = name.split('-').next().unwrap_or_default();
        if number.len() != 4
            || !number.bytes().all(|b| b.is_ascii_digit())
            || !name.ends_with(".md")
        {
            complaints.push(format!(
                "{}: is not called NNNN-title.md",
                file.path.display()
            ));
        } else if numbers.contains(&number.to_owned()) {
            complaints.push(format!(
                "{}: the number {number} is taken",
                file.path.display()
            ));
        }
        numbers.push(number.to_owned());
    }
}

const LONG_FILE_LINES: usize = 700;
const LARGE_FILE_BYTES: u64 = 2 << 20;
const ROOT_FOLDERS: [&str; 10] = [
    ".cargo", ".ci", "bench", "crates", "docs", "fuzz", "sim", "torture", "xtask", "examples",
];
const ROOT_FILES: [&str; 17] = [
    ".gitattributes",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "EVIDENCE.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "SECURITY.md",
    "clippy.toml",
    "deny.toml",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "trunkline.example.yaml",
];
