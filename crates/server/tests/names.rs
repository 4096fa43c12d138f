//! The names of directories are worth what is in them: each is synced where it stands before anything counts on it.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use support::Server;

#[test]
fn every_directory_that_is_made_is_synced_where_its_name_stands() {
    let tried = Command::new("strace").args(["-D", "true"]).output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        eprintln!("SKIPPED: there is no strace here to see what is synced");
        return;
    }
    let trace = tempfile::NamedTempFile::new().unwrap();
    let config = "streams:\n- {name: main, subjects: ['>'], segment: 4MiB, tail: 4MiB}\n";
    let mut server = Server::inside(config, |_, serve| {
        let mut outer = Command::new("strace");
        outer
            .args(["-D", "-f", "-y", "-qq", "-e", "trace=?mkdir,mkdirat,fsync"])
            .arg("-o")
            .arg(trace.path())
            .arg(serve.get_program())
            .args(serve.get_args())
            .stdin(Stdio::null());
        outer
    });
    let data = server.data();
    server.end("TERM");
    let trace = fs::read_to_string(trace.path()).unwrap();
    let calls: Vec<&str> = trace.lines().collect();
    let mut made = Vec::new();
    for (at, call) in calls.iter().enumerate() {
        let is_made = call.contains("mkdir") && call.ends_with("= 0");
        let Some(path) = call.split('"').nth(1).filter(|_| is_made) else {
            continue;
        };
        let above = Path::new(path).parent().unwrap();
        let folder = format!("<{}>)", above.display());
        let is_sync = |call: &&str| {
            call.contains("fsync(") && call.contains(&folder) && call.ends_with("= 0")
        };
        assert!(
            calls[at..].iter().any(is_sync),
            "{path} is made, {} is not synced:\n{trace}",
            above.display()
        );
        made.push(path);
    }
    for name in ["", "streams", "streams/main", "cursors", "cursors/0"] {
        let path = data.join(name);
        let path = path.to_str().unwrap().trim_end_matches('/');
        assert!(made.contains(&path), "{path} of {made:?}");
    }
}
