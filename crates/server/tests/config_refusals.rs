//! Every refusal of a configuration names its file, line and column, and says what to write instead.

use trunkline::config::File;
use trunkline::plan::{Flags, Machine, Plan};

fn machine() -> Machine {
    Machine {
        cpus: vec![0, 1, 2, 3],
        memory_bytes: 16 << 30,
    }
}

/// What `check` prints for the first problem, without the excerpt.
fn first(text: &str) -> String {
    all(text).into_iter().next().expect("a refusal")
}

fn all(text: &str) -> Vec<String> {
    let problems = match File::parse("t.yaml", text) {
        Err(problems) => problems,
        Ok(file) => match Plan::compute(Some(&file), &Flags::default(), &machine()) {
            Err(problems) => problems,
            Ok(plan) => panic!("accepted: {plan:#?}"),
        },
    };
    problems
        .0
        .iter()
        .map(|problem| format!("{}: {}", problem.place, problem.message))
        .collect()
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let found = first(text);
    assert!(
        found.starts_with(expected),
        "\n found: {found}\nwanted: {expected}"
    );
}

#[test]
fn unknown_keys_are_answered_with_the_nearest_and_with_all() {
    refused(
        "data: ./d\nlisten: ['127.0.0.1:0']\nworker: 2\n",
        "t.yaml:3:1: unknown key `worker`; did you mean `workers`?; valid here: listen, data, workers",
    );
    refused(
        "streams:\n  - name: a\n    subjects: ['a.>']\n    segement: 64MiB\n",
        "t.yaml:4:5: unknown key `segement`; did you mean `segment`?; valid here: name, subjects, storage",
    );
    refused(
        "limits:\n  max_recrod: 1MiB\n",
        "t.yaml:2:3: unknown key `max_recrod`; did you mean `max_record`?",
    );
    refused(
        "streams:\n- name: a\n  subjects: [a]\n  retention: {byte: 1GiB}\n",
        "t.yaml:4:15: unknown key `byte`; did you mean `bytes`?; valid here: bytes, age, records",
    );
    refused(
        "listen:\n- address: 127.0.0.1:0\n  secure: true\n",
        "t.yaml:3:3: unknown key `secure`; did you mean `insecure`?; valid here: address, insecure",
    );
}

#[test]
fn a_data_directory_without_a_name_is_refused() {
    refused(
        "idle: park\ndata: \"\"\n",
        "t.yaml:2:7: the data directory has no name; write a path, such as ./trunkline-data",
    );
}

#[test]
fn unknown_keys_are_told_together_with_each_other_and_with_wrong_values() {
    let found = all(
        "worker: 2\nidle: lazy\nlisteners:\n- 127.0.0.1:1\n# ours\nlimits:\n  call: 5\n  calls: many\n\
         streams:\n- nam: a\n  name: a\n  subjects: [a]\n  retain:\n    age: 1d\n  ack: durable\n",
    );
    let places: Vec<&str> = found
        .iter()
        .map(|line| line.split_once(" is ").unwrap_or((line, "")).0)
        .map(|line| line.split_once(';').unwrap_or((line, "")).0)
        .collect();
    assert_eq!(
        places,
        [
            "t.yaml:1:1: unknown key `worker`",
            "t.yaml:2:7: `lazy`",
            "t.yaml:3:1: unknown key `listeners`",
            "t.yaml:7:3: unknown key `call`",
            "t.yaml:8:10: `calls`",
            "t.yaml:10:3: unknown key `nam`",
            "t.yaml:13:3: unknown key `retain`",
            "t.yaml:15:8: `durable`",
        ],
        "{found:#?}"
    );
}

#[test]
fn what_an_unknown_key_leaves_behind_is_not_told_as_another_mistake() {
    for text in [
        "streams:\n- nam: a\n  subjects: [a]\n",
        "streams:\n- nam: a\n",
        "streams:\n- {nam: a, subjects: [a]}\n",
        "worker: 2\n",
        "# ours\nworker:\n  2\n",
        "limits:\n  call: 5\n",
        "idle: spin\nworker: |\n  a\n\n  b\n",
    ] {
        let found = all(text);
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
        assert!(found[0].contains("unknown key"), "{found:#?}");
    }
}

#[test]
fn unknown_choices_are_answered_with_the_valid_ones() {
    refused(
        "idle: spinn\n",
        "t.yaml:1:7: `spinn` is not a choice here; did you mean `spin`?; valid: spin, adaptive, park",
    );
    refused(
        "io: io_uring\nsynced_writes: direct\n",
        "t.yaml:2:16: `synced_writes: direct` needs threads to wait for the device, and io_uring's wait on the worker's own core, \
         where a commit takes ten times as long: use `io: auto` or `epoll`, or `synced_writes: buffered`",
    );
    refused(
        "io: uring\n",
        "t.yaml:1:5: `uring` is not a choice here; valid: auto, io_uring, epoll",
    );
    refused(
        "streams:\n- name: a\n  subjects: [a]\n  ack: durable\n",
        "t.yaml:4:8: `durable` is not a choice here; valid: received, stored, synced",
    );
    refused(
        "streams:\n- name: a\n  subjects: [a]\n  storage: disk\n",
        "t.yaml:4:12: `disk` is not a choice here; valid: file, memory",
    );
    refused(
        "workers: many\n",
        "t.yaml:1:10: `many` workers is not possible; write `auto` or a number from 1 to 64",
    );
    refused("workers: 0\n", "t.yaml:1:10: `0` workers is not possible");
    refused(
        "pin: all\n",
        "t.yaml:1:6: `all` says nothing about pinning; write `none`, `auto` or a list of CPU numbers",
    );
}

#[test]
fn wrong_units_are_answered_with_the_right_ones() {
    refused(
        "limits:\n  max_record: 1MB\n",
        "t.yaml:2:15: `MB` is not a unit of a size; did you mean 1MiB? (units: B, KiB, MiB, GiB, TiB)",
    );
    refused(
        "limits:\n  max_record: 1.5MiB\n",
        "t.yaml:2:15: `1.5MiB` is not a whole number; write a size such as 64MiB, in a smaller unit if need be (units: B, KiB, MiB, GiB, TiB)",
    );
    refused(
        "limits:\n  max_record: 1048576\n",
        "t.yaml:2:15: `1048576` has no unit; write a size such as 64MiB",
    );
    refused(
        "limits:\n  hello_timeout: 5seconds\n",
        "t.yaml:2:18: `seconds` is not a unit of a duration; did you mean 5s? (units: ns, us, ms, s, m, h, d)",
    );
    refused(
        "limits:\n  idle_timeout: 10MiB\n",
        "t.yaml:2:17: `MiB` is not a unit of a duration",
    );
    refused(
        "streams:\n- name: a\n  subjects: [a]\n  retention:\n    age: 1w\n",
        "t.yaml:5:10: `w` is not a unit of a duration",
    );
}

#[test]
fn values_outside_their_range_are_answered_with_the_range() {
    refused(
        "limits:\n  max_record: 1GiB\n",
        "t.yaml:2:15: max_record of 1GiB is not possible: from 128B to 16MiB",
    );
    refused(
        "limits:\n  connections: 0\n",
        "t.yaml:2:16: connections of 0 is not possible: from 1 to 1048576",
    );
    refused(
        "limits:\n  hello_timeout: 1ms\n",
        "t.yaml:2:18: hello_timeout of 1ms is not possible: from 100ms to 1m",
    );
    refused(
        "limits:\n  receive_pool: 5MiB\n",
        "t.yaml:2:17: a pool of 5MiB is not possible: use a power of two",
    );
    refused(
        "streams:\n- name: a\n  subjects: [a]\n  segment: 100B\n",
        "t.yaml:4:12: a segment of 100B is not possible: use a multiple of 64KiB from",
    );
    refused(
        "streams:\n- name: a\n  subjects: [a]\n  tail: 10MiB\n",
        "t.yaml:4:9: a tail of 10MiB is not possible: use a power of two from 4MiB (4 of the largest records) to 1GiB",
    );
    refused(
        "streams:\n- name: a\n  subjects: [a]\n  segment: 64MiB\n  retention: {bytes: 100MiB}\n",
        "t.yaml:5:22: 100MiB is less than 4 segments of 64MiB (256MiB): retention removes whole segments",
    );
    refused(
        "streams:\n- {name: a, subjects: [a], sync_interval: 1ns}\n",
        "t.yaml:2:43: a sync interval of 1ns",
    );
}

#[test]
fn settings_of_files_are_refused_in_memory() {
    let memory =
        |key: &str| format!("streams:\n- name: a\n  subjects: [a]\n  storage: memory\n  {key}\n");
    refused(
        &memory("segment: 64MiB"),
        "t.yaml:5:12: `segment` belongs to storage `file`",
    );
    refused(
        &memory("sync_interval: 1s"),
        "t.yaml:5:18: `sync_interval` belongs to storage `file`",
    );
    refused(
        &memory("ack: synced"),
        "t.yaml:5:8: `synced` is not possible in memory, where nothing survives",
    );
    refused(
        &memory("retention: {bytes: 1GiB}"),
        "t.yaml:5:22: `bytes` belongs to storage `file`",
    );
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    refused(
        "streams:\n- subjects: [a]\n",
        "t.yaml:2:3: `name` is missing",
    );
    refused("streams:\n- name: a\n", "t.yaml:2:3: `subjects` is missing");
    refused("data: a\ndata: b\n", "t.yaml:2:1: `data` is written twice");
    refused("data: [\n", "t.yaml:1:7: ");
    refused("data: 'a\n", "t.yaml:2:1: ");
    refused(
        "workers: 1\n\tidle: x\n",
        "t.yaml:1:10: while scanning a plain scalar, found a tab",
    );
}

#[test]
fn a_list_is_asked_for_with_what_was_written_in_it() {
    refused(
        "listen: 127.0.0.1:7400 # ours\n",
        "t.yaml:1:9: `listen` is a list: [127.0.0.1:7400]",
    );
    refused(
        "streams:\n- name: a\n  subjects: \"a.>\"\n",
        "t.yaml:3:13: `subjects` is a list: [\"a.>\"]",
    );
    refused(
        "streams:\n- {name: a, subjects: a.>}\n",
        "t.yaml:2:23: `subjects` is a list: [a.>]",
    );
    let streams = "`streams` is a list: [{name: orders, subjects: [orders.>]}]";
    refused("streams: {}\n", &format!("t.yaml:1:10: {streams}"));
    refused("streams: orders\n", &format!("t.yaml:1:10: {streams}"));
    refused("streams:\n  name: a\n", &format!("t.yaml:2:3: {streams}"));
    refused(
        "listen:\n  address: 127.0.0.1:0\n",
        "t.yaml:2:3: `listen` is a list: [127.0.0.1:7400]",
    );
}

#[test]
fn keys_with_values_are_asked_for_with_what_was_written_as_one() {
    let retention =
        |written: &str| format!("streams:\n- name: a\n  subjects: [a]\n  retention: {written}\n");
    for (written, key) in [("1GiB", "bytes"), ("30d", "age"), ("1000", "records")] {
        refused(
            &retention(written),
            &format!("t.yaml:4:14: `retention` is keys with values: {{{key}: {written}}}"),
        );
    }
    refused(
        &retention("[1GiB]"),
        "t.yaml:4:14: `retention` is keys with values: {bytes: 1GiB, age: 7d}",
    );
    refused(
        "limits: 7\n",
        "t.yaml:1:9: `limits` is keys with values: {max_record: 1MiB}",
    );
    refused(
        "streams: [orders]\n",
        "t.yaml:1:11: this is keys with values: {name: orders, subjects: [orders.>]}",
    );
    refused(
        "streams:\n- orders\n",
        "t.yaml:2:3: this is keys with values: {name: orders, subjects: [orders.>]}",
    );
    refused(
        "limits:\n- calls: 1\n",
        "t.yaml:2:3: `limits` is keys with values: {max_record: 1MiB}",
    );
    refused(
        "# mine\njust text\n",
        "t.yaml:2:1: keys with values are expected here, such as `data: ./trunkline-data`",
    );
}

#[test]
fn one_value_is_asked_for_where_there_are_several_or_none() {
    refused(
        "data: [a]\n",
        "t.yaml:1:7: `data` takes one value, not a list",
    );
    refused(
        "workers:\n- 1\n",
        "t.yaml:2:3: `workers` takes one value, not a list",
    );
    refused(
        "idle: [spin]\n",
        "t.yaml:1:7: `idle` takes one value, not a list",
    );
    refused(
        "limits:\n  max_record: {bytes: 1MiB}\n",
        "t.yaml:2:15: `max_record` takes one value, not keys with values",
    );
    refused(
        "streams:\n- {name: , subjects: [a]}\n",
        "t.yaml:2:8: `name` takes one value, and there is none",
    );
}

#[test]
fn numbers_and_truth_are_asked_for_by_what_they_are() {
    refused(
        "limits:\n  connections: many\n",
        "t.yaml:2:16: `connections` is a whole number up to 4294967295, not `many`",
    );
    refused(
        "limits:\n  calls: -5\n",
        "t.yaml:2:10: `calls` is a whole number up to 4294967295, not `-5`",
    );
    refused(
        "listen:\n- {address: '127.0.0.1:0', insecure: yes}\n",
        "t.yaml:2:38: `insecure` is `true` or `false`, not `yes`",
    );
}

#[test]
fn a_second_document_is_refused_as_what_it_is() {
    refused(
        "data: a\n---\nworkers: 1\n",
        "t.yaml:3:1: a second document begins here: a configuration is one, without `---` between its keys",
    );
}

#[test]
fn every_value_that_cannot_be_read_is_reported() {
    let found = all(
        "workers: two\nidle: lazy\nio: foo # no\nlisten: x\nlimits: {calls: many, max_record: 1MB}\n",
    );
    let places: Vec<&str> = found
        .iter()
        .map(|line| line.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        places,
        [
            "t.yaml:1:10",
            "t.yaml:2:7",
            "t.yaml:3:5",
            "t.yaml:4:9",
            "t.yaml:5:17",
            "t.yaml:5:35"
        ],
        "{found:#?}"
    );
    // A text that is no YAML is not judged beyond its first mistake.
    let found = all("workers: two\nidle: lazy\ndata: [\n");
    assert_eq!(found.len(), 1, "{found:#?}");
    // Not one for each line of a file that is something else.
    let many = "- {name: a, subjects: 7}\n".repeat(100);
    assert_eq!(all(&format!("streams:\n{many}")).len(), 32);
}

#[test]
fn a_long_line_is_shown_around_the_mistake() {
    let text = format!(
        "limits: {{{}connections: many{}}}\n",
        " ".repeat(3000),
        " ".repeat(2000)
    );
    let shown = File::parse("t.yaml", &text).unwrap_err().to_string();
    let [message, line, mark] = shown.lines().collect::<Vec<_>>()[..] else {
        panic!("{shown}")
    };
    assert!(
        message.starts_with("t.yaml:1:3023: `connections` is"),
        "{shown}"
    );
    assert!(
        line.starts_with("  1 | …") && line.ends_with('…') && line.chars().count() < 140,
        "{shown}"
    );
    let marked: String = line
        .chars()
        .skip(mark.chars().count() - 1)
        .take(4)
        .collect();
    assert_eq!(marked, "many", "{shown}");
}

#[test]
fn a_listener_that_other_machines_reach_is_refused_with_the_reason() {
    refused(
        "listen:\n- 0.0.0.0:7400\n",
        "t.yaml:2:3: 0.0.0.0:7400 can be reached from other machines, and there is no authentication yet",
    );
    refused(
        "listen: ['[::]:7400']\n",
        "t.yaml:1:10: [::]:7400 can be reached from other machines",
    );
    refused(
        "listen:\n- {address: '192.0.2.1:7400'}\n",
        "t.yaml:2:3: 192.0.2.1:7400 can be reached",
    );
    refused(
        "listen: [here]\n",
        "t.yaml:1:10: `here` is not an address: write IP:PORT, such as 127.0.0.1:7400",
    );
    refused(
        "listen: ['127.0.0.1:1', '127.0.0.1:1']\n",
        "t.yaml:1:25: 127.0.0.1:1 is listed twice",
    );
    refused(
        "data: d\nlisten: []\n",
        "t.yaml:2:9: `listen` is empty; leave it out to listen on 127.0.0.1:7400",
    );
}

#[test]
fn pins_must_name_one_usable_cpu_for_each_worker() {
    refused(
        "workers: 2\npin: [0]\n",
        "t.yaml:2:6: 1 CPUs are listed for 2 workers; list one for each",
    );
    refused(
        "pin: [0, 9]\n",
        "t.yaml:1:6: this process may not run on CPU 9; usable: 0, 1, 2, 3",
    );
    refused("pin: [1, 1]\n", "t.yaml:1:6: CPU 1 is listed twice");
    refused(
        "workers: 8\npin: auto\n",
        "t.yaml:2:6: 8 workers cannot have a CPU each: this process may use 4",
    );
}

#[test]
fn names_and_subjects_are_checked() {
    refused(
        "streams:\n- {name: 'a/b', subjects: [a]}\n",
        "t.yaml:2:10: `a/b` cannot name a stream",
    );
    refused(
        "streams:\n- {name: '', subjects: [a]}\n",
        "t.yaml:2:10: `` cannot name a stream",
    );
    refused(
        "streams:\n- {name: a, subjects: []}\n",
        "t.yaml:2:10: the stream captures no subject",
    );
    refused(
        "streams:\n- {name: a, subjects: [a]}\n- {name: a, subjects: [b]}\n",
        "t.yaml:3:10: `a` names the stream of line 2 already",
    );
}

#[test]
fn all_problems_of_value_are_reported_in_the_order_of_the_file() {
    let found = all(
        "listen: [here]\nlimits:\n  connections: 0\nstreams:\n- {name: 'x y', subjects: [a], tail: 1B}\n",
    );
    let lines: Vec<&str> = found
        .iter()
        .map(|line| line.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        lines,
        ["t.yaml:1:10", "t.yaml:3:16", "t.yaml:5:10", "t.yaml:5:38"]
    );
}

#[test]
fn an_excerpt_shows_the_line_with_a_mark_under_the_character() {
    let problems = File::parse("t.yaml", "workers: 1 #\tof\nstreams: [ {nam: x} ]").unwrap_err();
    let text = problems.to_string();
    assert!(
        text.ends_with("\n  2 | streams: [ {nam: x} ]\n    |             ^"),
        "{text}"
    );
    let problems = File::parse("t.yaml", "idle: often\n").unwrap_err();
    assert!(
        problems
            .to_string()
            .ends_with("\n  1 | idle: often\n    |       ^"),
        "{problems}"
    );
}

#[test]
fn a_flag_is_named_where_a_flag_is_wrong() {
    let flags = Flags {
        listen: vec!["0.0.0.0:1".to_owned(), "x".to_owned()],
        data: Some(std::path::PathBuf::new()),
        ..Flags::default()
    };
    let problems = Plan::compute(None, &flags, &machine()).unwrap_err();
    let text = problems.to_string();
    assert!(
        text.starts_with("--data: the data directory has no name; write a path"),
        "{text}"
    );
    assert!(
        text.contains("\n--listen: 0.0.0.0:1 can be reached from other machines"),
        "{text}"
    );
    assert!(text.contains("give --insecure-listen"), "{text}");
    assert!(text.contains("\n--listen: `x` is not an address"), "{text}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let problems = File::read(std::path::Path::new("/nowhere/t.yaml")).unwrap_err();
    assert!(
        problems
            .to_string()
            .starts_with("/nowhere/t.yaml: cannot be read: "),
        "{problems}"
    );
}

#[test]
fn overlapping_streams_are_refused_with_both_places() {
    refused(
        "streams:\n- name: orders\n  subjects: [a.x, 'orders.>']\n- name: eu\n  subjects: [b, 'orders.eu.*']\n",
        "t.yaml:5:17: `orders.eu.*` overlaps `orders.>` of stream orders (t.yaml:3:19): a subject belongs to one stream",
    );
    refused(
        "streams:\n- {name: a, subjects: ['>']}\n- {name: b, subjects: [x]}\n",
        "t.yaml:3:24: `x` overlaps `>` of stream a (t.yaml:2:24)",
    );
}

#[test]
fn patterns_are_checked_as_the_wire_checks_them() {
    refused(
        "streams:\n- {name: a, subjects: ['a..b']}\n",
        "t.yaml:2:24: `a..b` is not a pattern: ",
    );
    refused(
        "streams:\n- {name: a, subjects: ['a.>.b']}\n",
        "t.yaml:2:24: `a.>.b` is not a pattern: ",
    );
    refused(
        "streams:\n- {name: a, subjects: ['a b']}\n",
        "t.yaml:2:24: `a b` is not a pattern: ",
    );
}
