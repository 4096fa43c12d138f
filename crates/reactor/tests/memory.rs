//! A reactor's bounds are large and its memory is small: pools and tables take what was used.

mod machine;

use trunkline_reactor::{AnyReactor, Config, IoBackend};

#[test]
fn an_idle_reactor_takes_less_than_a_megabyte_and_a_half_of_its_pools_and_tables() {
    takes_little(IoBackend::Epoll);
    if machine::has_io_uring() {
        takes_little(IoBackend::IoUring);
    }
}

fn takes_little(backend: IoBackend) {
    let before = resident_bytes();
    let reactor = AnyReactor::new(backend, &Config::default()).unwrap();
    let taken = resident_bytes().saturating_sub(before);
    assert!(taken < 3 << 19, "{backend}: {taken} bytes");
    drop(reactor);
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm
        .split_ascii_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    pages * 4096
}
