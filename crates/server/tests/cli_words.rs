//! The command line itself: help, wrong arguments, exit codes, completions.

mod support;

use support::{run, trunkline};

const COMMANDS: [&str; 12] = [
    "serve",
    "pub",
    "sub",
    "request",
    "reply",
    "stream",
    "log",
    "bench",
    "check",
    "plan",
    "doctor",
    "completions",
];

/// The commands of commands.
const SUBCOMMANDS: [(&str, &str); 9] = [
    ("stream", "ls"),
    ("stream", "info"),
    ("stream", "add"),
    ("stream", "rm"),
    ("log", "verify"),
    ("log", "inspect"),
    ("log", "repair"),
    ("log", "export"),
    ("log", "doctor"),
];

/// Every command with its help, and `trunkline` without one.
fn helps() -> Vec<(String, String)> {
    helps_in(None)
}

/// The same on a terminal with so many columns.
fn helps_in(columns: Option<&str>) -> Vec<(String, String)> {
    let plain = COMMANDS.iter().map(|command| vec![*command]);
    let nested = SUBCOMMANDS
        .iter()
        .map(|(outer, inner)| vec![*outer, *inner]);
    let all = std::iter::once(vec![]).chain(plain).chain(nested);
    let all = all.map(|words| {
        let mut command = trunkline(&[&words[..], &["--help"]].concat());
        match columns {
            Some(columns) => command.env("COLUMNS", columns),
            None => command.env_remove("COLUMNS"),
        };
        let help = support::ran(command.output().unwrap());
        assert_eq!((help.code, &*help.err), (0, ""), "{words:?}");
        (words.join(" "), help.out)
    });
    all.collect()
}

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let help = run(&["--help"]);
    assert_eq!((help.code, help.err.as_str()), (0, ""));
    for command in COMMANDS {
        assert!(
            help.out
                .lines()
                .any(|line| line.trim_start().starts_with(command)),
            "{command}: {}",
            help.out
        );
    }
    assert!(help.out.contains("Exit codes:"), "{}", help.out);
    assert!(
        help.out.contains("  130  Ctrl-C before it was done"),
        "{}",
        help.out
    );
    assert!(
        help.out.contains("trunkline sub 'orders.>'"),
        "{}",
        help.out
    );
}

#[test]
fn every_command_has_examples_in_its_help() {
    for (command, help) in helps() {
        let examples = help.split_once("\nExamples:\n").map(|(_, after)| after);
        let example = format!("  trunkline {command}");
        assert!(
            examples.is_some_and(|examples| examples.contains(&example)),
            "{command}: {help}"
        );
    }
}

#[test]
fn no_command_is_left_out_here() {
    for (outer, listed) in [
        (&[][..], COMMANDS.to_vec()),
        (&["stream"], inner("stream")),
        (&["log"], inner("log")),
    ] {
        let help = run(&[outer, &["--help"]].concat()).out;
        let (_, commands) = help.split_once("Commands:\n").unwrap();
        let (commands, _) = commands.split_once("\n\n").unwrap();
        // What goes on on a further line is indented further.
        let named = commands.lines().filter(|line| !line.starts_with("   "));
        let named: Vec<&str> = named
            .map(|line| line.split_whitespace().next().unwrap())
            .filter(|name| *name != "help")
            .collect();
        assert_eq!(named, listed, "{help}");
    }
}

fn inner(command: &str) -> Vec<&'static str> {
    let inner = SUBCOMMANDS.iter().filter(|(outer, _)| *outer == command);
    inner.map(|(_, inner)| *inner).collect()
}

#[test]
fn the_text_of_a_help_fills_its_lines() {
    for (command, help) in helps() {
        let width = help.lines().map(str::len).max().unwrap();
        for (line, next) in help.lines().zip(help.lines().skip(1)) {
            let text = |line: &str| line.starts_with(|c: char| c.is_ascii_alphanumeric());
            let word = next.split_whitespace().next().unwrap_or_default();
            // Exit codes are a paragraph; what stands before a list is not.
            assert!(
                !text(line) || !text(next) || line.len() + 1 + word.len() > width.min(90),
                "{command} breaks off at `{line}`: {help}"
            );
        }
    }
}

#[test]
fn no_line_of_a_list_in_a_help_breaks() {
    for columns in ["80", "100", "110", "200"] {
        for (command, help) in helps_in(Some(columns)) {
            let (_, after) = help.split_once("\nExamples:\n").expect("it has examples");
            let lists = [
                Some(after),
                help.split_once("\nExit codes:\n").map(|(_, codes)| codes),
            ];
            for line in lists
                .into_iter()
                .flatten()
                .flat_map(|list| list.lines().take_while(|line| !line.is_empty()))
            {
                // What is left of a broken line is indented like an item.
                let item = line.strip_prefix("  ").unwrap_or_default();
                let goes_on = item.starts_with("  ");
                let begins =
                    item.starts_with("trunkline") || item.starts_with(|c: char| c.is_ascii_digit());
                assert!(
                    goes_on || begins,
                    "{command}, {columns} columns: `{line}` in {help}"
                );
            }
        }
    }
}

#[test]
fn every_command_with_a_result_can_print_it_as_json() {
    for command in [
        "pub", "sub", "request", "reply", "bench", "check", "plan", "doctor",
    ] {
        let help = run(&[command, "--help"]).out;
        assert!(help.contains("--json"), "{command}: {help}");
    }
    for (outer, inner) in SUBCOMMANDS {
        // An export is lines of JSON by itself.
        let help = run(&[outer, inner, "--help"]).out;
        let printed = help.contains("--json") || (outer, inner) == ("log", "export");
        assert!(printed, "{outer} {inner}: {help}");
    }
}

#[test]
fn a_wrong_command_line_ends_with_2_and_a_hint() {
    let wrong = run(&["subs", "a"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("'sub'"), "{}", wrong.err);
    let wrong = run(&["sub", "a", "--form", "first"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("'--from'"), "{}", wrong.err);
    let wrong = run(&["sub"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("<PATTERN>"), "{}", wrong.err);
}

#[test]
fn a_failure_is_json_where_the_result_would_be() {
    let nobody = ["--server", "127.0.0.1:1", "--json"];
    for words in [
        &["request", "a", "x"][..],
        &["stream", "info", "main"],
        &["stream", "rm", "main", "--yes"],
        &["pub", "a", "x"],
        &["sub", "a"],
        &["bench", "--only", "acks"],
    ] {
        let failed = run(&[words, &nobody].concat());
        assert_eq!((failed.code, &*failed.out), (4, ""), "{words:?}");
        let told: serde_json::Value = serde_json::from_str(&failed.err)
            .unwrap_or_else(|error| panic!("{words:?}: {error}: {}", failed.err));
        assert_eq!(told["code"].as_i64(), Some(4), "{told}");
        let error = told["error"].as_str().unwrap();
        assert!(
            error.starts_with("cannot connect to 127.0.0.1:1: "),
            "{error}"
        );
        let failed = run(&[words, &nobody[..2]].concat());
        assert_eq!(failed.err, format!("error: {error}\n"), "{words:?}");
    }
    // A payload that looks like the flag is none.
    let failed = run(&["pub", "a", "--server", "127.0.0.1:1", "--", "--json"]);
    assert!(failed.err.starts_with("error: "), "{}", failed.err);
}

#[test]
fn what_takes_no_time_or_counts_nothing_is_refused_with_what_is_valid() {
    for (words, says) in [
        (
            &["bench", "--records", "0"][..],
            "`0` is not a number of records; write 1 or more, such as 5000, 20k or 1.5M",
        ),
        (
            &["bench", "--time", "0s"],
            "nothing is done in no time; write a time such as 500ms, 5s or 1m",
        ),
        (
            &["request", "a", "x", "--timeout", "0s"],
            "write a time such as",
        ),
        (
            &["pub", "a", "x", "--timeout", "0s"],
            "write a time such as",
        ),
        (&["sub", "a", "--timeout", "0s"], "write a time such as"),
    ] {
        let wrong = run(words);
        assert_eq!(wrong.code, 2, "{words:?}: {}", wrong.err);
        assert!(wrong.err.contains(says), "{words:?}: {}", wrong.err);
    }
}

#[test]
fn a_place_to_start_may_begin_with_a_dash() {
    // Nobody listens on this port: the command line was understood, which is what is asked here.
    for from in [
        "first",
        "last",
        "new",
        "seq:7",
        "time:2026-11-21T08:00:00Z",
        "-10m",
    ] {
        let sub = run(&[
            "sub",
            "a",
            "--from",
            from,
            "--server",
            "127.0.0.1:1",
            "--count",
            "1",
        ]);
        assert_eq!(sub.code, 4, "{from}: {}", sub.err);
    }
    let wrong = run(&["sub", "a", "--from", "-10"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("`10` has no unit"), "{}", wrong.err);
    let wrong = run(&["sub", "a", "--from", "yesterday"]);
    assert!(
        wrong.err.contains("write first, last, new, seq:N, time:"),
        "{}",
        wrong.err
    );
}

#[test]
fn the_server_may_be_named_by_the_environment() {
    let sub = trunkline(&["sub", "a", "--count", "1"])
        .env("TRUNKLINE_SERVER", "127.0.0.1:1")
        .output()
        .unwrap();
    let sub = support::ran(sub);
    assert_eq!(sub.code, 4);
    assert!(
        sub.err
            .starts_with("error: cannot connect to 127.0.0.1:1: "),
        "{}",
        sub.err
    );
}

#[test]
fn completions_are_scripts_that_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]);
        assert_eq!(script.code, 0, "{}", script.err);
        assert!(
            script.out.contains("doctor") && script.out.contains("insecure-listen"),
            "{shell}"
        );
    }
}

#[test]
fn the_version_is_the_packages() {
    assert_eq!(
        run(&["--version"]).out,
        format!("trunkline {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    use std::process::Stdio;
    let mut child = trunkline(&["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = support::ran(child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
}
