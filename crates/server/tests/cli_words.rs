//! The command line itself: help, wrong arguments, exit codes, completions.

mod support;

use support::{run, trunkline};

const COMMANDS: [&str; 11] = [
    "serve",
    "pub",
    "sub",
    "request",
    "reply",
    "stream",
    "bench",
    "check",
    "plan",
    "doctor",
    "completions",
];

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
    for command in COMMANDS {
        let help = run(&[command, "--help"]);
        assert_eq!(help.code, 0, "{command}");
        let example = format!("  trunkline {command}");
        assert!(
            help.out.contains("Examples:") && help.out.contains(&example),
            "{command}: {}",
            help.out
        );
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
    assert!(run(&["stream", "ls", "--help"]).out.contains("--json"));
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
