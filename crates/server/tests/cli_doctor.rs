//! `doctor`: it measures, it reports, it leaves nothing behind.

mod support;

use std::fs;

use support::run;

#[test]
fn the_report_has_every_part_and_the_disk_is_left_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("not/yet/there");
    let doctor = run(&["doctor", "--data", data.to_str().unwrap(), "--json"]);
    assert_eq!(doctor.code, 0, "{}", doctor.err);
    let report = doctor.json();
    assert!(report["cpu"]["cpus"].as_u64().unwrap() >= 1);
    assert!(report["clock"]["read_ns"].as_u64().unwrap() < 1_000_000);
    assert!(
        report["io"]["auto"] == "epoll" || report["io"]["auto"] == "io_uring",
        "{}",
        report["io"]
    );
    assert_eq!(
        report["io"]["io_uring"].as_bool().unwrap(),
        report["io"]["refused"].is_null()
    );
    let methods = report["disk"]["methods"].as_array().unwrap();
    assert!(
        methods
            .iter()
            .any(|method| method["ns_p50"].as_u64().is_some_and(|ns| ns > 0)),
        "{methods:?}"
    );
    for method in methods {
        assert!(
            method["ns_p50"].is_u64() != method["refused"].is_string(),
            "{method}"
        );
    }
    let levels: Vec<&str> = report["levels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|level| level["level"].as_str().unwrap())
        .collect();
    assert_eq!(levels, ["received", "stored", "synced"]);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn people_read_what_each_ack_level_means_here() {
    let directory = tempfile::tempdir().unwrap();
    let doctor = run(&["doctor", "--data", directory.path().to_str().unwrap()]);
    assert_eq!(doctor.code, 0, "{}", doctor.err);
    for word in [
        "processor",
        "topology",
        "clock",
        "wake-up",
        "io_uring",
        "ACK LEVEL",
        "stored",
        "synced",
        "fdatasync",
    ] {
        assert!(doctor.out.contains(word), "{word}: {}", doctor.out);
    }
}

#[test]
fn the_disk_alone_is_measured_and_what_the_server_does_is_held_against_the_fastest() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let doctor = run(&["log", "doctor", "--data", data, "--json"]);
    assert_eq!(doctor.code, 0, "{}", doctor.err);
    let report = doctor.json();
    let methods = report["disk"]["methods"].as_array().unwrap();
    let time = |which: &str| {
        let mut methods = methods.iter();
        let method = methods.find(|method| method["name"] == report["disk"][which]);
        method.expect("one of them")["ns_p50"].as_u64().unwrap()
    };
    let least = methods
        .iter()
        .filter_map(|method| method["ns_p50"].as_u64());
    assert_eq!(Some(time("fastest")), least.min(), "{report}");
    assert!(time("picked") >= time("fastest"), "{report}");
    // What is said is what was measured.
    let median = |name: &str, which: &str| {
        let method = methods.iter().find(|method| method["name"] == name);
        method.expect("it is tried")[which].as_u64()
    };
    let (buffered, direct) = ("buffered write, fdatasync", "O_DIRECT write with RWF_DSYNC");
    let clearly_faster = median(direct, "ns_p50")
        .is_some_and(|direct| median(buffered, "ns_p50").unwrap() as f64 >= 1.15 * direct as f64)
        && median(direct, "large_ns_p50") <= median(buffered, "large_ns_p50");
    let (pick, method) = match clearly_faster {
        true => ("direct", direct),
        false => ("buffered", buffered),
    };
    assert_eq!(report["disk"]["pick"], pick, "{report}");
    assert_eq!(report["disk"]["picked"], method, "{report}");
    let levels = report["levels"].as_array().unwrap();
    let synced = levels.iter().find(|own| own["level"] == "synced").unwrap();
    let costs = synced["costs"].as_str().unwrap();
    let both = " by default, ";
    assert_eq!(
        costs.contains(both),
        median(direct, "ns_p50").is_some(),
        "{costs}"
    );
    let why = report["disk"]["why"].as_str().unwrap();
    assert!(why.contains("for 64 KiB"), "{why}");
    assert!(report["cpu"].is_null(), "{report}");
    assert_eq!(report["levels"].as_array().unwrap().len(), 3);
    let text = run(&["log", "doctor", "--data", data]).out;
    assert!(text.contains("pick         synced_writes: "), "{text}");
    assert!(
        text.contains("ACK LEVEL") && !text.contains("processor"),
        "{text}"
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_file_is_no_data_directory() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    for command in [&["doctor"][..], &["log", "doctor"]] {
        let refused = run(&[command, &["--data", file.to_str().unwrap()]].concat());
        assert_eq!(refused.code, 6, "{}", refused.out);
        assert!(
            refused.err.contains("file is not a directory: name"),
            "{}",
            refused.err
        );
    }
}
