//! What a configuration becomes: the defaults, the flags over the file, and the sum of the worst-case memory.

use std::path::{Path, PathBuf};

use trunkline::config::{File, Workers};
use trunkline::plan::{
    Ack, Flags, Idle, Io, Machine, Plan, Storage, StreamPlan, SyncedWrites, Visible,
};

fn machine(cpus: u32) -> Machine {
    Machine {
        cpus: (0..cpus).collect(),
        memory_bytes: 16 << 30,
    }
}

#[track_caller]
fn plan(text: &str, flags: &Flags) -> Plan {
    let file = File::parse("t.yaml", text).unwrap_or_else(|problems| panic!("{problems}"));
    Plan::compute(Some(&file), flags, &machine(4)).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn without_a_file_there_is_one_durable_stream_on_the_loopback_address() {
    let plan = Plan::compute(None, &Flags::default(), &machine(2)).unwrap();
    assert_eq!(plan.data_dir, Path::new("trunkline-data"));
    assert_eq!(plan.listeners.len(), 1);
    assert_eq!(plan.listeners[0].address.to_string(), "127.0.0.1:7400");
    assert_eq!((plan.workers.len(), plan.workers[0].cpu), (1, None));
    assert_eq!((plan.idle, plan.io), (Idle::Adaptive, Io::Auto));
    assert_eq!(plan.synced_writes, SyncedWrites::Buffered);
    let [main] = &plan.streams[..] else {
        panic!("{:?}", plan.streams)
    };
    assert_eq!(
        (main.name.as_str(), &main.subjects[..]),
        ("main", &[">".to_owned()][..])
    );
    assert_eq!(
        (main.storage, main.ack, main.visible),
        (Storage::File, Ack::Stored, Visible::Ack)
    );
    assert_eq!(main.retention.bytes, Some(1 << 30));
    assert_eq!((main.segment_bytes, main.tail_bytes), (64 << 20, 8 << 20));
    assert_eq!(plan.limits.max_record_bytes, 1 << 20);
}

#[test]
fn an_empty_file_is_the_defaults() {
    for text in ["", "\n# nothing\n"] {
        let empty = plan(text, &Flags::default());
        let none = Plan::compute(None, &Flags::default(), &machine(4)).unwrap();
        assert_eq!(
            Plan {
                config_file: None,
                ..empty
            },
            none
        );
    }
}

#[test]
fn every_key_arrives_in_the_plan() {
    let plan = plan(
        "listen:\n- 127.0.0.1:7401\n- {address: '0.0.0.0:7402', insecure: true}\ndata: /var/lib/t\nworkers: 3\n\
         pin: [3, 1, 0]\nidle: spin\nio: epoll\nsynced_writes: direct\n\
         limits:\n  max_record: 64KiB\n  max_frame: 1MiB\n  connections: 10\n  hello_timeout: 2s\n\
         streams:\n- name: orders\n  subjects: ['orders.>', 'trades.*']\n  ack: synced\n  visible: received\n  \
         retention: {bytes: 10GiB, age: 7d, records: 1000000}\n  segment: 16MiB\n  tail: 4MiB\n  sync_interval: 250ms\n\
         - name: ticks\n  subjects: [ticks]\n  storage: memory\n",
        &Flags::default(),
    );
    assert_eq!(plan.config_file.as_deref(), Some(Path::new("t.yaml")));
    assert_eq!(plan.data_dir, Path::new("/var/lib/t"));
    assert_eq!(
        plan.listeners.iter().map(|l| l.exposed).collect::<Vec<_>>(),
        [false, true]
    );
    assert_eq!(
        plan.workers.iter().map(|w| w.cpu).collect::<Vec<_>>(),
        [Some(3), Some(1), Some(0)]
    );
    assert_eq!((plan.idle, plan.io), (Idle::Spin, Io::Epoll));
    assert_eq!(plan.synced_writes, SyncedWrites::Direct);
    assert_eq!(
        (plan.limits.max_record_bytes, plan.limits.max_frame_bytes),
        (64 << 10, 1 << 20)
    );
    assert_eq!(
        (plan.limits.connections, plan.limits.hello_timeout_ns),
        (10, 2_000_000_000)
    );
    let [orders, ticks] = &plan.streams[..] else {
        panic!()
    };
    assert_eq!(
        (orders.ack, orders.visible),
        (Ack::Synced, Visible::Received)
    );
    assert_eq!(orders.retention.age_ns, Some(7 * 86_400_000_000_000));
    assert_eq!(
        (orders.retention.bytes, orders.retention.records),
        (Some(10 << 30), Some(1_000_000))
    );
    assert_eq!(
        (orders.segment_bytes, orders.tail_bytes),
        (16 << 20, 4 << 20)
    );
    assert_eq!(orders.sync_interval_ns, 250_000_000);
    assert!(orders.worker < 3);
    assert_eq!(
        (ticks.storage, ticks.ack, ticks.tail_bytes),
        (Storage::Memory, Ack::Received, 64 << 20)
    );
}

#[test]
fn flags_win_over_the_file() {
    let flags = Flags {
        data: Some(PathBuf::from("/tmp/other")),
        listen: vec!["localhost:0".to_owned()],
        insecure_listen: false,
        ready_file: None,
        workers: Some(Workers::Count(2)),
        idle: Some(Idle::Park),
        io: Some(Io::IoUring),
    };
    let plan = plan(
        "data: /d\nlisten: ['127.0.0.1:1']\nworkers: 1\nidle: spin\nio: epoll\n",
        &flags,
    );
    assert_eq!(plan.data_dir, Path::new("/tmp/other"));
    assert_eq!(plan.listeners[0].address.to_string(), "127.0.0.1:0");
    assert_eq!(
        (plan.workers.len(), plan.idle, plan.io),
        (2, Idle::Park, Io::IoUring)
    );
}

#[test]
fn the_flag_allows_exposed_addresses_of_the_file_too() {
    let flags = Flags {
        insecure_listen: true,
        ..Flags::default()
    };
    assert!(plan("listen: ['0.0.0.0:7400']\n", &flags).listeners[0].exposed);
    assert!(!plan("listen: ['127.9.9.9:7400', '[::1]:7400']\n", &flags).listeners[0].exposed);
}

#[test]
fn pin_auto_gives_each_worker_a_cpu_of_its_own() {
    let cpus: Vec<_> = plan("pin: auto\nworkers: 4\n", &Flags::default())
        .workers
        .iter()
        .map(|w| w.cpu)
        .collect();
    assert_eq!(cpus, [Some(0), Some(1), Some(2), Some(3)]);
    assert_eq!(plan("pin: [2]\n", &Flags::default()).workers.len(), 1);
}

#[test]
fn small_retention_gets_small_segments() {
    let text = "streams:\n- {name: a, subjects: [a], retention: {bytes: 64MiB}}\n";
    assert_eq!(
        plan(text, &Flags::default()).streams[0].segment_bytes,
        16 << 20
    );
}

#[test]
fn large_segments_get_a_larger_retention() {
    let text = "streams:\n- {name: a, subjects: [a], segment: 1GiB}\n";
    assert_eq!(
        plan(text, &Flags::default()).streams[0].retention.bytes,
        Some(4 << 30)
    );
}

#[test]
fn large_records_get_a_larger_tail() {
    let plan = plan("limits: {max_record: 16MiB}\n", &Flags::default());
    assert_eq!(plan.streams[0].tail_bytes, 64 << 20);
    assert_eq!(plan.streams[0].segment_bytes, 64 << 20);
    assert!(plan.limits.max_frame_bytes > plan.limits.max_record_bytes);
}

#[test]
fn a_file_may_have_no_stream_at_all() {
    assert!(plan("streams: []\n", &Flags::default()).streams.is_empty());
}

#[test]
fn the_worst_case_is_the_sum_of_its_terms() {
    let plan = Plan::compute(None, &Flags::default(), &machine(2)).unwrap();
    let terms = plan.memory();
    assert_eq!(
        terms.iter().map(|term| term.bytes).sum::<u64>(),
        plan.memory_bytes()
    );
    assert!(
        terms
            .iter()
            .all(|term| term.bytes == term.count * term.each_bytes)
    );
    assert!(
        terms
            .iter()
            .any(|term| term.name == "tail of stream main" && term.bytes == 8 << 20)
    );
    // An idle server has 40 MB at most.
    assert!(
        plan.memory_at_start_bytes() < 40_000_000,
        "{}",
        plan.memory_at_start_bytes()
    );
}

#[test]
fn a_connection_has_room_for_the_names_of_its_subjects() {
    let bytes = |subjects: &str| {
        let plan = plan(
            &format!("limits: {{session_subjects: {subjects}}}\n"),
            &Flags::default(),
        );
        let shard = plan.shard_limits();
        let (_, all) = shard.terms()[1];
        let mut terms = plan.memory().into_iter();
        let term = terms.find(|term| term.name == "subjects of sessions (broker)");
        assert_eq!(term.unwrap().each_bytes, all);
        shard.session_subject_bytes
    };
    assert_eq!(bytes("4096"), 4096 * 64);
    assert_eq!(bytes("100000"), 100_000 * 64);
    // The longest name fits, and a few of them.
    assert_eq!(bytes("1"), 4096);
}

#[test]
fn a_stream_added_at_run_time_is_computed_as_one_of_the_file() {
    let limits = Plan::compute(None, &Flags::default(), &machine(2))
        .unwrap()
        .limits;
    let json =
        r#"{"name": "a", "subjects": ["a.>"], "ack": "synced", "retention": {"bytes": "2GiB"}}"#;
    let added = StreamPlan::from_text(json, &limits, 2).unwrap();
    let file = plan(
        "workers: 2\nstreams:\n- {name: a, subjects: ['a.>'], ack: synced, retention: {bytes: 2GiB}}\n",
        &Flags::default(),
    );
    assert_eq!(added, file.streams[0]);
    let refused =
        StreamPlan::from_text(r#"{"name": "a", "subject": "a"}"#, &limits, 2).unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("stream:1:15: unknown key `subject`"),
        "{refused}"
    );
}

#[test]
fn every_stream_of_a_plan_is_one_that_the_log_accepts() {
    for record in ["128B", "64KiB", "1MiB", "16MiB"] {
        for stream in [
            "",
            ", storage: memory",
            ", retention: {bytes: 256MiB}",
            ", retention: {age: 1s, records: 1}",
            ", segment: 1GiB, tail: 1GiB",
            ", segment: 64MiB, tail: 64MiB, sync_interval: 1ms, ack: synced",
        ] {
            let text = format!(
                "limits: {{max_record: {record}}}\nstreams:\n- {{name: a, subjects: [a]{stream}}}\n"
            );
            let plan = plan(&text, &Flags::default());
            let log = plan.streams[0].log_config(&plan.limits, 0);
            log.check()
                .unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }
}
