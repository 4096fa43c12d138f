//! The README's commands, as they are pasted: line by line, in a directory where nothing else is.
//!
//! What is not as a newcomer has it: the program is there already, servers listen on ports of the system's choice, and
//! `bench` is short.

mod support;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::{Ran, finish, ran, send_signal};

const PATIENCE: Duration = Duration::from_secs(60);
const INSTALL: &str = "cargo install --path crates/server";
const LIVE: &str = "trunkline sub 'pkg.>' --raw --count";
const KILL: &str = "kill -9";
/// What the tour calls a large real log has at least so many.
const LINES: usize = 20_000;

#[test]
fn the_tour_works_as_pasted() {
    let section = section("Five minutes");
    let mut terminal = Terminal::new();
    let clone = terminal.names();
    let mut seen = Vec::new();
    let mut stored_before_the_kill = 0;
    for line in lines(&section) {
        let said = terminal.paste(line);
        let wanted = [
            ("trunkline sub", "cmp - cargo.log", "identical\n"),
            ("trunkline sub", "cmp - from100.log", "identical\n"),
            ("trunkline sub", "cmp - all.log", "identical\n"),
            ("head", "cmp - cut.log", "identical\n"),
            ("trunkline pub pkg.log", "", " records stored, "),
            ("trunkline request", "", "hi"),
            ("trunkline stream ls", "", "main "),
            ("trunkline bench", "", "delivered and checked"),
        ]
        .into_iter()
        .find(|(begin, part, _)| line.starts_with(begin) && line.contains(part))
        // Nothing has been published by then.
        .filter(|_| !line.starts_with(LIVE));
        if let Some((begin, part, wanted)) = wanted {
            assert!(said.contains(wanted), "$ {line}\n{said}");
            seen.push((begin, part));
        }
        if line == "wc -l cargo.log" {
            let lines = number_before(&said, " cargo.log");
            assert!(lines >= LINES, "the tour's log has {lines} lines only");
        }
        if line.contains(KILL) {
            stored_before_the_kill = number_before(&said, " records stored, ");
            assert!(stored_before_the_kill > 0, "$ {line}\n{said}");
        }
        if line.contains("wc -l cut.log") {
            let there = number_before(&said, " cut.log");
            let all = fs::read_to_string(terminal.path().join("cargo.log"));
            let all = all.unwrap().lines().count();
            assert!(
                (stored_before_the_kill..all).contains(&there),
                "{stored_before_the_kill} of {all} were acknowledged, {there} came"
            );
        }
    }
    // The live subscriber says what came when the publisher has ended.
    let live = terminal.live.take().expect("a live subscriber");
    let ended = finish(live, PATIENCE);
    assert_eq!(
        (ended.code, &*ended.out),
        (0, "identical\n"),
        "{}",
        ended.err
    );
    seen.sort_unstable();
    let times = |part| seen.iter().filter(|(_, of)| *of == part).count();
    assert_eq!(
        [
            "cmp - cargo.log",
            "cmp - from100.log",
            "cmp - all.log",
            "cmp - cut.log",
            ""
        ]
        .map(times),
        [1, 2, 1, 1, 5],
        "the tour has other commands now: {seen:?}"
    );
    assert!(stored_before_the_kill > 0, "nothing is killed");
    assert_eq!(
        terminal.names(),
        clone,
        "the tour leaves files in the clone"
    );
}

#[test]
fn streams_of_ones_own_work_as_pasted() {
    let section = section("Streams of your own");
    let mut terminal = Terminal::new();
    let clone = terminal.names();
    // The tour was here before, with its folder and its server.
    terminal.enter();
    terminal.paste("trunkline");
    let configuration = blocks(&section, "yaml").next().expect("a configuration");
    fs::write(terminal.path().join("trunkline.yaml"), configuration).unwrap();
    let mut said = String::new();
    for line in lines(&section) {
        said += &terminal.paste(line);
    }
    for wanted in [
        "trunkline.yaml is valid: 2 streams",
        "added audit",
        "removed audit",
        "orders: 0 records",
        "all intact",
    ] {
        assert!(said.contains(wanted), "no {wanted:?}: {said}");
    }
    assert_eq!(terminal.names(), clone, "it leaves files in the clone");
}

#[test]
fn what_is_installed_is_what_was_tested() {
    let section = section("Five minutes");
    let install = lines(&section).find(|line| line.starts_with(INSTALL));
    let install = install.expect("the tour installs the program before it uses it");
    assert!(install.contains(" --locked"), "{install}");
}

/// A directory that looks like a fresh clone, and what runs in it.
struct Terminal {
    clone: tempfile::TempDir,
    /// Where its lines run: in the clone, then in the tour's folder.
    folder: PathBuf,
    /// What is no part of the clone: the program, and what servers say.
    aside: tempfile::TempDir,
    server: Option<Child>,
    address: String,
    /// The subscriber that was there before.
    live: Option<Child>,
    others: Vec<Child>,
}

impl Terminal {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clone = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for entry in fs::read_dir(clone.canonicalize().unwrap()).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            // Not what a clone has not, and a newcomer may have made: builds, a server's data and configuration.
            let made = name == "target" || name == "trunkline-data" || name == "trunkline.yaml";
            if !made {
                symlink(entry.path(), directory.path().join(name)).unwrap();
            }
        }
        let aside = tempfile::tempdir().unwrap();
        let program = aside.path().join("trunkline");
        fs::write(&program, WRAPPER).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self {
            folder: directory.path().to_owned(),
            clone: directory,
            aside,
            server: None,
            address: String::new(),
            live: None,
            others: Vec::new(),
        }
    }

    fn path(&self) -> &Path {
        &self.folder
    }

    /// What git would see in the clone.
    fn names(&self) -> BTreeSet<OsString> {
        let names = fs::read_dir(self.clone.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name());
        names.filter(|name| name != "target").collect()
    }

    /// Goes where the tour goes.
    fn enter(&mut self) {
        let section = section("Five minutes");
        let line = lines(&section).find(|line| line.contains("cd ")).unwrap();
        self.paste(line);
        assert_ne!(self.path(), self.clone.path());
    }

    /// Does what a newcomer does with a line, and returns what it printed.
    fn paste(&mut self, line: &str) -> String {
        match line {
            "trunkline" | "trunkline serve --config trunkline.yaml" => {
                // The text says to end the one before.
                if self.server.is_some() {
                    self.stop_server();
                }
                self.serve(line)
            }
            _ if line.starts_with(INSTALL) => String::new(),
            _ if line.contains("cd ") => {
                let ran = self.run(&format!("{line} && pwd"));
                assert_eq!(ran.code, 0, "$ {line}\n{}", ran.err);
                self.folder = PathBuf::from(ran.out.trim_end());
                String::new()
            }
            _ if line.starts_with(LIVE) => {
                let child = self.piped(line).spawn().unwrap();
                self.live = Some(child);
                self.wait_for_a_subscriber(line);
                String::new()
            }
            _ if line.contains(KILL) => {
                let ran = self.run(line);
                assert_eq!(ran.code, 4, "$ {line}\n{}{}", ran.out, ran.err);
                let mut killed = self.server.take().unwrap();
                assert_eq!(killed.wait().unwrap().signal(), Some(9));
                ran.out + &ran.err
            }
            "trunkline sub 'pkg.>'" => self.watch(line),
            _ if line.starts_with("trunkline reply") => {
                let mut command = self.shell(&format!("exec {line}"));
                command.stdout(Stdio::null()).stderr(Stdio::null());
                let child = command.spawn().unwrap();
                self.others.push(child);
                String::new()
            }
            _ if line.starts_with("trunkline request") => self.ask(line),
            _ => {
                let ran = self.run(line);
                assert_eq!(ran.code, 0, "$ {line}\n{}{}", ran.out, ran.err);
                ran.out + &ran.err
            }
        }
    }

    fn serve(&mut self, line: &str) -> String {
        let ready = self.aside.path().join("ready");
        let _ = fs::remove_file(&ready);
        let log = fs::File::create(self.aside.path().join("log")).unwrap();
        let mut command = self.shell(&format!("exec {line}"));
        let mut child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let end = Instant::now() + PATIENCE;
        while !ready.exists() {
            let ended = child.try_wait().unwrap();
            let log = fs::read_to_string(self.aside.path().join("log")).unwrap();
            assert!(ended.is_none() && Instant::now() < end, "$ {line}\n{log}");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.address = fs::read_to_string(&ready).unwrap().trim().to_owned();
        self.server = Some(child);
        String::new()
    }

    /// `Ctrl-C`.
    fn stop_server(&mut self) {
        let server = self.server.take().unwrap();
        send_signal(server.id(), "INT");
        let ended = finish(server, PATIENCE);
        assert_eq!(ended.code, 0, "{}", ended.err);
    }

    /// A subscriber that waits for more, until `Ctrl-C`.
    fn watch(&self, line: &str) -> String {
        let child = self.piped(&format!("exec {line}")).spawn().unwrap();
        self.wait_for_a_subscriber(line);
        send_signal(child.id(), "INT");
        let ended = finish(child, PATIENCE);
        assert_eq!(ended.code, 0, "$ {line}\n{}", ended.err);
        ended.out
    }

    fn wait_for_a_subscriber(&self, line: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let info = self.run("trunkline stream info main --json");
            let info = info.json();
            if info["subscribers"] == 1 {
                break;
            }
            assert!(Instant::now() < end, "$ {line}\n{info}");
        }
    }

    /// Asks until the one that answers has got as far as to listen.
    fn ask(&self, line: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let ran = self.run(line);
            if !ran.err.contains("nobody listens") || Instant::now() > end {
                assert_eq!(ran.code, 0, "$ {line}\n{}", ran.err);
                return ran.out;
            }
        }
    }

    fn run(&self, line: &str) -> Ran {
        ran(self.piped(line).output().unwrap())
    }

    fn piped(&self, line: &str) -> Command {
        let mut command = self.shell(line);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A line in a shell. Begun with `exec`, the program takes the shell's place, so that signals reach it.
    fn shell(&self, line: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("sh");
        command
            .args(["-c", line])
            .current_dir(self.path())
            .stdin(Stdio::null())
            .env("PATH", format!("{}:{path}", self.aside.path().display()))
            .env("PROGRAM", env!("CARGO_BIN_EXE_trunkline"))
            .env("READY", self.aside.path().join("ready"))
            .env("ADDRESS", &self.address)
            .env_remove("TRUNKLINE_SERVER")
            .env_remove("TRUNKLINE_LOG");
        command
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let others = self.others.iter_mut().chain(&mut self.live);
        for child in others.chain(&mut self.server) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A section of the README, without its heading.
fn section(title: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = fs::read_to_string(path).unwrap();
    let (_, rest) = readme
        .split_once(&format!("\n## {title}\n"))
        .unwrap_or_else(|| panic!("the README has no section {title}"));
    rest.split("\n## ").next().unwrap().to_owned()
}

/// The commands of a section.
fn lines(section: &str) -> impl Iterator<Item = &str> {
    blocks(section, "sh").flat_map(str::lines)
}

/// The number in front of some words.
fn number_before(said: &str, words: &str) -> usize {
    let before = said.split(words).next().unwrap_or_default();
    let number = before.split_whitespace().next_back().unwrap_or_default();
    number
        .replace(',', "")
        .parse()
        .unwrap_or_else(|_| panic!("{said}"))
}

/// The blocks of a language in a section.
fn blocks<'a>(section: &'a str, language: &str) -> impl Iterator<Item = &'a str> {
    let begin = format!("```{language}\n");
    let mut rest = section;
    std::iter::from_fn(move || {
        let (_, block) = rest.split_once(&begin)?;
        let (block, behind) = block.split_once("```").expect("a block has an end");
        rest = behind;
        Some(block)
    })
}

const WRAPPER: &str = r#"#!/bin/sh
case "$1" in
"" | serve) exec "$PROGRAM" "$@" --listen 127.0.0.1:0 --ready-file "$READY" ;;
bench) exec "$PROGRAM" "$@" --records 20k --rate 1k --time 100ms ;;
*) TRUNKLINE_SERVER=$ADDRESS exec "$PROGRAM" "$@" ;;
esac
"#;
