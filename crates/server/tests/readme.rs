//! The README's commands, as they are pasted: line by line, in a directory where nothing else is.
//!
//! What is not as a newcomer has it: servers listen on ports of the system's choice, and `bench` is short.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::{Ran, finish, ran, send_signal};

const PATIENCE: Duration = Duration::from_secs(60);
const READ_AGAIN: &str = "trunkline sub 'pkg.>' --from first --raw";

#[test]
fn the_tour_works_as_pasted() {
    let section = section("Five minutes");
    let lines: Vec<&str> = blocks(&section, "sh").flat_map(str::lines).collect();
    let mut terminal = Terminal::new();
    let mut seen = Vec::new();
    for line in &lines {
        let said = terminal.paste(line);
        let (begin, wanted) = [
            ("trunkline pub pkg.log", " records stored, "),
            (READ_AGAIN, "identical\n"),
            ("trunkline request", "hi"),
            ("trunkline stream ls", "main "),
            ("trunkline bench", "delivered and checked"),
        ]
        .into_iter()
        .find(|(begin, _)| line.starts_with(begin))
        .unwrap_or_default();
        assert!(said.contains(wanted), "$ {line}\n{said}");
        seen.push(begin);
    }
    seen.retain(|begin| !begin.is_empty());
    assert_eq!(seen.len(), 5, "the tour has other commands now: {lines:?}");

    // Kill the server with `kill -9`, start it again, and read once more.
    terminal.server.take().unwrap().kill().unwrap();
    terminal.paste("trunkline");
    let again = lines.iter().find(|line| line.starts_with(READ_AGAIN));
    let said = terminal.paste(again.unwrap());
    assert!(said.contains("identical\n"), "{said}");
}

#[test]
fn streams_of_ones_own_work_as_pasted() {
    let section = section("Streams of your own");
    let mut terminal = Terminal::new();
    // The tour's server was here before.
    terminal.paste("trunkline");
    let configuration = blocks(&section, "yaml").next().expect("a configuration");
    fs::write(terminal.path().join("trunkline.yaml"), configuration).unwrap();
    terminal.stop_server();
    let mut said = String::new();
    for line in blocks(&section, "sh").flat_map(str::lines) {
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
}

/// A directory that looks like a fresh clone, and what runs in it.
struct Terminal {
    directory: tempfile::TempDir,
    server: Option<Child>,
    address: String,
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
        let programs = directory.path().join("programs");
        fs::create_dir(&programs).unwrap();
        let program = programs.join("trunkline");
        fs::write(&program, WRAPPER).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self {
            directory,
            server: None,
            address: String::new(),
            others: Vec::new(),
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Does what a newcomer does with a line, and returns what it printed.
    fn paste(&mut self, line: &str) -> String {
        match line {
            "trunkline" | "trunkline serve --config trunkline.yaml" => self.serve(line),
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
        let ready = self.path().join("ready");
        let _ = fs::remove_file(&ready);
        let log = fs::File::create(self.path().join("log")).unwrap();
        let mut command = self.shell(&format!("exec {line}"));
        let mut child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let end = Instant::now() + PATIENCE;
        while !ready.exists() {
            let ended = child.try_wait().unwrap();
            let log = fs::read_to_string(self.path().join("log")).unwrap();
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
        let end = Instant::now() + PATIENCE;
        loop {
            let info = self.run("trunkline stream info main --json");
            let info = info.json();
            if info["subscribers"] == 1 {
                break;
            }
            assert!(Instant::now() < end, "$ {line}\n{info}");
        }
        send_signal(child.id(), "INT");
        let ended = finish(child, PATIENCE);
        assert_eq!(ended.code, 0, "$ {line}\n{}", ended.err);
        ended.out
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
            .env("PATH", format!("{}/programs:{path}", self.path().display()))
            .env("PROGRAM", env!("CARGO_BIN_EXE_trunkline"))
            .env("READY", self.path().join("ready"))
            .env("ADDRESS", &self.address)
            .env_remove("TRUNKLINE_SERVER")
            .env_remove("TRUNKLINE_LOG");
        command
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        for child in self.others.iter_mut().chain(&mut self.server) {
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
