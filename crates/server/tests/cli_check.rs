//! `check`, `plan` and what `serve` refuses before it starts.

mod support;

use std::fs;
use std::path::PathBuf;

use support::{run, trunkline};

/// A configuration file in a directory of its own.
fn config(text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trunkline.yaml");
    fs::write(&path, text).unwrap();
    (directory, path)
}

#[test]
fn a_valid_file_is_called_valid() {
    let (_directory, path) = config(
        "workers: 2\nstreams:\n- {name: a, subjects: ['a.>']}\n- {name: b, subjects: ['b.>']}\n",
    );
    let check = run(&["check", path.to_str().unwrap()]);
    assert_eq!(check.code, 0, "{}", check.err);
    assert!(
        check
            .out
            .ends_with("trunkline.yaml is valid: 2 streams, 1 listener, 2 workers\n"),
        "{}",
        check.out
    );
}

#[test]
fn a_mistake_is_shown_with_its_place_and_its_line() {
    let (_directory, path) =
        config("# orders\nstreams:\n- name: a\n  subjects: ['a.>']\n  retention: {bytes: 10GB}\n");
    let check = run(&["check", path.to_str().unwrap()]);
    assert_eq!(check.code, 3);
    assert_eq!(check.out, "");
    let expected = format!(
        "error: {}:5:22: `GB` is not a unit of a size; did you mean 10GiB? (units: B, KiB, MiB, GiB, TiB)\n  \
         5 |   retention: {{bytes: 10GB}}\n    |                      ^\n",
        path.display()
    );
    assert_eq!(check.err, expected);
}

#[test]
fn all_wrong_values_come_at_once() {
    let (_directory, path) = config(
        "listen: ['0.0.0.0:7400']\nstreams:\n- {name: a, subjects: ['a.>']}\n- {name: b, subjects: ['a.b']}\n",
    );
    let check = run(&["check", path.to_str().unwrap()]);
    let shown = path.display();
    assert!(
        check.err.contains(&format!(
            "{shown}:1:10: 0.0.0.0:7400 can be reached from other machines"
        )),
        "{}",
        check.err
    );
    let overlap = format!("{shown}:4:24: `a.b` overlaps `a.>` of stream a ({shown}:3:24)");
    assert!(check.err.contains(&overlap), "{}", check.err);
}

#[test]
fn the_verdict_can_be_json() {
    let (_directory, path) = config("idle: often\n");
    let check = run(&["check", path.to_str().unwrap(), "--json"]);
    assert_eq!((check.code, check.err.as_str()), (3, ""));
    let verdict = check.json();
    assert_eq!(verdict["valid"], false);
    let problem = &verdict["problems"][0];
    assert_eq!(
        (problem["line"].as_u64(), problem["column"].as_u64()),
        (Some(1), Some(7))
    );
    assert_eq!(problem["file"].as_str(), path.to_str());
    assert_eq!(problem["source"], "idle: often");
    let (_directory, path) = config("idle: spin\n");
    let check = run(&["check", path.to_str().unwrap(), "--json"]);
    assert_eq!(check.code, 0);
    assert_eq!(check.out, "{\"valid\":true,\"problems\":[]}\n");
}

#[test]
fn a_file_that_is_not_there_is_refused() {
    let check = run(&["check", "/nowhere/t.yaml"]);
    assert_eq!(check.code, 3);
    assert!(
        check
            .err
            .starts_with("error: /nowhere/t.yaml: cannot be read: No such file"),
        "{}",
        check.err
    );
}

#[test]
fn serve_refuses_what_check_refuses() {
    let (directory, path) = config("streams:\n- {name: a, subjects: ['a.>'], stroage: file}\n");
    let data = directory.path().join("data");
    let serve = run(&[
        "serve",
        "--config",
        path.to_str().unwrap(),
        "--data",
        data.to_str().unwrap(),
    ]);
    assert_eq!(serve.code, 3);
    assert!(
        serve
            .err
            .contains(":2:32: unknown key `stroage`; did you mean `storage`?"),
        "{}",
        serve.err
    );
    assert!(!data.exists());
}

#[test]
fn an_exposed_address_is_refused_without_the_flag_that_says_so() {
    for arguments in [
        &["serve", "--listen", "0.0.0.0:0"][..],
        &["--listen", "0.0.0.0:0"],
    ] {
        let serve = run(arguments);
        assert_eq!(serve.code, 3);
        assert!(serve.err.contains("--listen: 0.0.0.0:0 can be reached from other machines, and there is no authentication yet"), "{}", serve.err);
        assert!(
            serve
                .err
                .contains("give --insecure-listen if that is what you want"),
            "{}",
            serve.err
        );
    }
    let plan = run(&["plan", "--listen", "0.0.0.0:0", "--insecure-listen"]);
    assert_eq!(plan.code, 0, "{}", plan.err);
    assert!(
        plan.out
            .contains("0.0.0.0:0  (other machines can reach it; no authentication)"),
        "{}",
        plan.out
    );
}

#[test]
fn an_address_that_is_given_twice_is_refused_before_the_system_does() {
    for (addresses, why) in [
        (["127.0.0.1:7400"; 2], "127.0.0.1:7400 is listed twice"),
        (
            ["127.0.0.1:7400", "0.0.0.0:7400"],
            "0.0.0.0:7400 overlaps 127.0.0.1:7400: one of them is enough",
        ),
    ] {
        let [one, other] = addresses;
        let flags = ["--listen", one, "--listen", other, "--insecure-listen"];
        let plan = run(&[&["plan"], &flags[..]].concat());
        assert_eq!(plan.code, 3, "{}", plan.out);
        assert_eq!(plan.err, format!("error: --listen: {why}\n"));
    }
    // The system chooses another port for each.
    let any = ["plan", "--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"];
    assert_eq!(run(&any).code, 0);
}

#[test]
fn the_plan_prints_every_stream_and_every_term_of_the_memory() {
    let (_directory, path) = config(
        "workers: 2\nstreams:\n- {name: orders, subjects: ['orders.>'], ack: synced, retention: {bytes: 8GiB, age: 7d}}\n\
         - {name: ticks, subjects: [ticks], storage: memory, tail: 16MiB}\n",
    );
    let plan = run(&["plan", "--config", path.to_str().unwrap()]);
    assert_eq!(plan.code, 0, "{}", plan.err);
    let line = |start: &str| {
        plan.out
            .lines()
            .find(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("{start}: {}", plan.out))
    };
    for word in [
        "orders.>", "file", "synced", "8GiB, 7d", "64MiB", "8MiB", "1s",
    ] {
        assert!(line("orders").contains(word), "{word}: {}", line("orders"));
    }
    assert!(line("ticks").contains("memory"), "{}", plan.out);
    assert!(
        line("tail of stream ticks").contains("16MiB"),
        "{}",
        plan.out
    );
    for term in [
        "receive buffers",
        "split records of connections",
        "subscriptions (broker)",
        "mesh",
        "program",
        "sum",
    ] {
        line(term);
    }
}

#[test]
fn the_plan_can_be_json_whose_terms_add_up() {
    let plan = run(&["plan", "--json", "--data", "/srv/t", "--workers", "3"]);
    let plan = plan.json();
    assert_eq!(plan["data_dir"], "/srv/t");
    assert_eq!(plan["workers"].as_array().unwrap().len(), 3);
    assert_eq!(plan["streams"][0]["name"], "main");
    let sum: u64 = plan["memory"]
        .as_array()
        .unwrap()
        .iter()
        .map(|term| term["bytes"].as_u64().unwrap())
        .sum();
    assert_eq!(plan["memory_bytes"].as_u64(), Some(sum));
}

#[test]
fn a_log_filter_that_cannot_be_read_is_a_wrong_command_line() {
    let directory = tempfile::tempdir().unwrap();
    let serve = trunkline(&["serve", "--listen", "127.0.0.1:0", "--log", "info=loud=x"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    let serve = support::ran(serve);
    assert_eq!(serve.code, 2, "{}", serve.err);
    assert!(serve.err.contains("is not a log filter"), "{}", serve.err);
}
