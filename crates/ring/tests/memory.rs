//! Mirrors, buffers and regions on the real system.
#![cfg(all(target_os = "linux", not(loom), not(miri)))]

use std::io::ErrorKind;

use trunkline_ring::{Buffer, Mirror, Region};

const PAGE: usize = 4096;

#[test]
fn a_stretch_across_the_end_of_a_lap_is_one_slice() {
    let mut mirror = Mirror::new(PAGE).unwrap();
    let all: Vec<u8> = (0..PAGE).map(|i| (i * 31 % 251) as u8).collect();
    for shift in [0, 1, 8, PAGE / 2, PAGE - 1] {
        mirror.slice_mut(shift as u64, PAGE).copy_from_slice(&all);
        assert_eq!(mirror.slice(shift as u64, PAGE), all);
        for (start, &expected) in all.iter().enumerate() {
            assert_eq!(mirror.slice((shift + start) as u64, 1), [expected]);
            assert_eq!(mirror.slice((shift + start + PAGE) as u64, 1), [expected]);
        }
    }
}

#[test]
fn a_store_through_one_address_is_loaded_through_the_other_at_once() {
    let mut mirror = Mirror::new(PAGE).unwrap();
    for round in 0..1000u64 {
        mirror.slice_mut(PAGE as u64 - 8, 16)[8..].copy_from_slice(&round.to_le_bytes());
        assert_eq!(mirror.slice(0, 8), round.to_le_bytes());
        mirror
            .slice_mut(0, 8)
            .copy_from_slice(&(!round).to_le_bytes());
        assert_eq!(
            mirror.slice(PAGE as u64 - 8, 16)[8..],
            (!round).to_le_bytes()
        );
    }
}

#[test]
fn positions_may_exceed_32_bits_and_reach_the_end_of_64() {
    let mut mirror = Mirror::new(16 * PAGE).unwrap();
    let capacity = mirror.capacity() as u64;
    for lap in [
        1,
        u64::from(u32::MAX) / capacity,
        u64::from(u32::MAX) + 7,
        u64::MAX / capacity,
    ] {
        let position = (lap * capacity).wrapping_add(capacity - 3);
        mirror.slice_mut(position, 6).copy_from_slice(b"abcdef");
        assert_eq!(mirror.slice(position, 6), b"abcdef");
        assert_eq!(mirror.slice(capacity - 3, 6), b"abcdef");
    }
}

#[test]
fn refuses_a_capacity_that_is_not_a_power_of_two_or_not_whole_pages() {
    for bytes in [0, 1, 64, PAGE - 1, PAGE + 1, 3 * PAGE, usize::MAX, 1 << 63] {
        let error = Mirror::new(bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bytes}");
    }
    for bytes in [0, 1, PAGE + 1, usize::MAX, usize::MAX & !(PAGE - 1)] {
        let error = Buffer::new(bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bytes}");
    }
    assert_eq!(Region::heap(0).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(
        Region::shared(usize::MAX).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    for bytes in [1 << 44, 1 << 50, 1 << 61] {
        assert_eq!(
            Mirror::new(bytes).unwrap_err().kind(),
            ErrorKind::OutOfMemory,
            "no machine has {bytes} bytes"
        );
    }
}

#[test]
fn refuses_a_stretch_longer_than_the_capacity() {
    let mirror = Mirror::new(PAGE).unwrap();
    assert_eq!(mirror.slice(PAGE as u64 - 1, PAGE).len(), PAGE);
    assert!(std::panic::catch_unwind(|| mirror.slice(0, PAGE + 1).len()).is_err());

    let buffer = Buffer::new(PAGE).unwrap();
    assert_eq!(buffer.slice(PAGE, 0).len(), 0);
    assert!(std::panic::catch_unwind(|| buffer.slice(1, PAGE).len()).is_err());
    assert!(std::panic::catch_unwind(|| buffer.slice(usize::MAX, 2).len()).is_err());
}

#[test]
fn new_memory_is_zeroed_and_page_aligned() {
    let mirror = Mirror::new(4 * PAGE).unwrap();
    let buffer = Buffer::new(3 * PAGE).unwrap();
    let region = Region::shared(PAGE).unwrap();
    assert!(
        mirror
            .slice(0, 4 * PAGE)
            .iter()
            .chain(buffer.slice(0, 3 * PAGE))
            .all(|&byte| byte == 0)
    );
    assert_eq!(mirror.pin().as_ptr() as usize % PAGE, 0);
    assert_eq!(buffer.pin().as_ptr() as usize % PAGE, 0);
    assert_eq!(region.as_ptr() as usize % PAGE, 0);
}

#[test]
fn a_pinned_share_keeps_the_memory_mapped_after_its_owner() {
    let mut mirror = Mirror::new(PAGE).unwrap();
    mirror.slice_mut(0, 4).copy_from_slice(b"kept");
    let pinned = mirror.pin();
    let clone = pinned.clone();
    drop(mirror);
    drop(pinned);
    assert_eq!(clone.len(), 2 * PAGE);
    // SAFETY: the mapping lives as long as `clone`, and its owner, who could write, is gone.
    let read = unsafe { std::slice::from_raw_parts(clone.as_ptr().add(PAGE), 4) };
    assert_eq!(read, b"kept");
}

#[test]
fn no_page_fault_happens_after_construction() {
    let bytes = 1024 * PAGE;
    let mut mirror = Mirror::new(bytes).unwrap();
    let mut buffer = Buffer::new(bytes).unwrap();
    let region = Region::shared(bytes).unwrap();
    let before = minor_faults();
    mirror.slice_mut(0, bytes).fill(1);
    mirror.slice_mut(bytes as u64 / 2, bytes).fill(2);
    buffer.slice_mut(0, bytes).fill(3);
    // SAFETY: the region is ours alone and this long.
    unsafe { region.as_ptr().write_bytes(4, region.len()) };
    let faults = minor_faults() - before;
    assert!(
        faults < 16,
        "{faults} page faults while writing 4096 pages that were to be present"
    );
}

/// Minor faults of this thread so far, from the kernel's own statistics.
fn minor_faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    after_name.split(' ').nth(7).unwrap().parse().unwrap()
}
