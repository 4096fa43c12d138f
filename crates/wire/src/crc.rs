//! CRC32C (Castagnoli): the checksum of records.
//!
//! Two kernels with identical results. Short input runs through the processor's own CRC instruction, a word at a time,
//! fused with the copy where there is one; long input through `crc-fast`, which folds many words at once but costs
//! several nanoseconds to enter. [`LONG`] is where they cross.
//!
//! This is the only module of the crate with unsafe code: each block is the call of a function compiled for SSE 4.2,
//! after the processor was asked whether it has it.
#![allow(unsafe_code)]

use zerocopy::FromBytes;

use crate::layout::{ADDRESS_BYTES, ALIGN, PREFIX_WORDS, RecordPrefix};

/// A running checksum: `Crc::new().update(a).update(b).finish()` is the checksum of `a` followed by `b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crc(u32);

impl Crc {
    /// The checksum of nothing yet.
    pub const fn new() -> Self {
        Self(!0)
    }

    /// Continues a finished checksum.
    pub const fn resume(crc: u32) -> Self {
        Self(!crc)
    }

    /// Takes in `bytes`.
    #[must_use]
    pub fn update(self, bytes: &[u8]) -> Self {
        Self(update(self.0, bytes))
    }

    /// The checksum of all that was taken in.
    pub const fn finish(self) -> u32 {
        !self.0
    }
}

impl Default for Crc {
    fn default() -> Self {
        Self::new()
    }
}

/// CRC32C of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    Crc::new().update(bytes).finish()
}

/// Input from this length on goes to the folding kernel.
pub const LONG: usize = 256;

/// The words of a record's prefix. Behind the body, its checksum takes in the address, then the header up to the checksum itself.
pub(crate) type Words = [u64; PREFIX_WORDS];

/// The 36 bytes that follow the body in a record's checksum.
fn trailer([head, sequence, timestamp_ns, lengths, address]: Words) -> [u8; 36] {
    let mut bytes = [0; 36];
    bytes[..8].copy_from_slice(&address.to_le_bytes());
    bytes[8..16].copy_from_slice(&head.to_le_bytes());
    bytes[16..24].copy_from_slice(&sequence.to_le_bytes());
    bytes[24..32].copy_from_slice(&timestamp_ns.to_le_bytes());
    bytes[32..].copy_from_slice(&(lengths as u32).to_le_bytes());
    bytes
}

/// The checksum of a record.
#[inline]
pub(crate) fn seal(body: &[u8], prefix: Words) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if sse42() {
        // SAFETY: the processor has SSE 4.2, as just asked.
        // JUSTIFICATION: 36 bytes after a body cost 6 ns here, 14 through the folding kernel.
        return unsafe { x86::seal(body, prefix) };
    }
    Crc(portable(!0, body)).update(&trailer(prefix)).finish()
}

/// Copies `body` to the start of `out`, fills the rest of `out` (less than a word) with zeros, and returns the
/// checksum of the record.
#[inline]
pub(crate) fn copy_seal(body: &[u8], out: &mut [u8], prefix: Words) -> u32 {
    debug_assert!(out.len() == body.len().next_multiple_of(8));
    #[cfg(target_arch = "x86_64")]
    if sse42() {
        // SAFETY: the processor has SSE 4.2, as just asked.
        // JUSTIFICATION: copy and checksum in one pass; see `seal`.
        return unsafe { x86::copy_seal(body, out, prefix) };
    }
    copy_padded(body, out);
    Crc(portable(!0, body)).update(&trailer(prefix)).finish()
}

/// Copies the record `source`, padding included, to `out`, which is as long, under another sequence, time and subject id, with the
/// checksum that it has then. False when the checksum of `source` is not right; `out` is of no use then. The body is read once.
#[inline]
pub(crate) fn reseal(source: &[u8], out: &mut [u8], stamp: Restamp) -> bool {
    debug_assert!(source.len() == out.len());
    #[cfg(target_arch = "x86_64")]
    if sse42() {
        // SAFETY: the processor has SSE 4.2, as just asked.
        // JUSTIFICATION: this is the broker's cost per record; the two continuations overlap here.
        return unsafe { x86::reseal(source, out, stamp) };
    }
    reseal_with(
        source,
        out,
        stamp,
        |body, len, out| {
            out.copy_from_slice(body);
            portable(!0, &body[..len])
        },
        |state, prefix| Crc(state).update(&trailer(prefix)).finish(),
    )
}

/// What [`reseal`] changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restamp {
    pub(crate) sequence: u64,
    pub(crate) timestamp_ns: u64,
    pub(crate) subject_id: u32,
}

/// The shape of [`reseal`], with a kernel's own way of copying a padded body of which `len` bytes count, and of finishing.
#[inline(always)]
fn reseal_with<S: Copy>(
    source: &[u8],
    out: &mut [u8],
    stamp: Restamp,
    copy: impl FnOnce(&[u8], usize, &mut [u8]) -> S,
    finish: impl Fn(S, Words) -> u32,
) -> bool {
    let (Ok((prefix, body)), Ok((out_prefix, out_body))) = (
        RecordPrefix::ref_from_prefix(source),
        RecordPrefix::mut_from_prefix(out),
    ) else {
        return false;
    };
    let old = prefix.words();
    let [head, _, _, lengths, address] = old;
    let len = (lengths as u32 as usize).saturating_sub(ADDRESS_BYTES);
    if len.next_multiple_of(ALIGN) != body.len() || out_body.len() != body.len() {
        return false;
    }
    let state = copy(body, len, out_body);
    let payload_len = lengths & u64::from(u32::MAX);
    let address = address & !u64::from(u32::MAX) | u64::from(stamp.subject_id);
    let mut new = [
        head,
        stamp.sequence,
        stamp.timestamp_ns,
        payload_len,
        address,
    ];
    new[3] |= u64::from(finish(state, new)) << 32;
    *out_prefix = RecordPrefix::from_words(new);
    finish(state, old) == (lengths >> 32) as u32
}

#[inline]
fn update(state: u32, bytes: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() < LONG && sse42() {
        // SAFETY: the processor has SSE 4.2, as just asked.
        // JUSTIFICATION: 64 bytes cost 5 ns here, 10 through the folding kernel.
        return unsafe { x86::update(state, bytes) };
    }
    portable(state, bytes)
}

#[inline(never)]
fn portable(state: u32, bytes: &[u8]) -> u32 {
    let algorithm = crc_fast::CrcAlgorithm::Crc32Iscsi;
    let mut digest = crc_fast::Digest::new_with_init_state(algorithm, u64::from(state));
    digest.update(bytes);
    // The state of a 32-bit algorithm fits: the upper half is zero.
    digest.get_state() as u32
}

fn copy_padded(body: &[u8], out: &mut [u8]) {
    let (head, padding) = out.split_at_mut(body.len());
    head.copy_from_slice(body);
    padding.fill(0);
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn sse42() -> bool {
    cfg!(target_feature = "sse4.2") || std::arch::is_x86_feature_detected!("sse4.2")
}

/// One chain of the CRC instruction: 3 cycles of latency per word, so 24 cycles for 64 bytes of body and 15 for the
/// trailer, whatever else is in flight.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{LONG, Restamp, Words, copy_padded, portable, reseal_with};
    use core::arch::x86_64::{_mm_crc32_u32, _mm_crc32_u64};

    #[target_feature(enable = "sse4.2")]
    pub(super) fn update(state: u32, bytes: &[u8]) -> u32 {
        chain(u64::from(state), bytes) as u32
    }

    #[target_feature(enable = "sse4.2")]
    pub(super) fn seal(body: &[u8], prefix: Words) -> u32 {
        let state = if body.len() < LONG {
            chain(INITIAL, body)
        } else {
            u64::from(portable(INITIAL as u32, body))
        };
        finish(state, prefix)
    }

    #[target_feature(enable = "sse4.2")]
    pub(super) fn copy_seal(body: &[u8], out: &mut [u8], prefix: Words) -> u32 {
        if body.len() >= LONG {
            copy_padded(body, out);
            return finish(u64::from(portable(INITIAL as u32, body)), prefix);
        }
        let (words, rest) = body.as_chunks::<8>();
        let (out_words, _) = out.as_chunks_mut::<8>();
        let mut state = INITIAL;
        for (out, word) in out_words.iter_mut().zip(words) {
            *out = *word;
            state = _mm_crc32_u64(state, u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let word = partial_word(body, rest);
            if let Some(out) = out_words.last_mut() {
                *out = word.to_le_bytes();
            }
            state = partial(state, word, rest.len());
        }
        finish(state, prefix)
    }

    #[target_feature(enable = "sse4.2")]
    pub(super) fn reseal(source: &[u8], out: &mut [u8], stamp: Restamp) -> bool {
        reseal_with(
            source,
            out,
            stamp,
            |body, len, out| copy(body, len, out),
            |state, prefix| finish(state, prefix),
        )
    }

    /// Copies a padded body of which `len` bytes count, and returns their state.
    #[target_feature(enable = "sse4.2")]
    #[inline]
    fn copy(padded: &[u8], len: usize, out: &mut [u8]) -> u64 {
        if len >= LONG {
            out.copy_from_slice(padded);
            return u64::from(portable(INITIAL as u32, &padded[..len]));
        }
        let (words, _) = padded.as_chunks::<8>();
        let (out_words, _) = out.as_chunks_mut::<8>();
        let whole = len / 8;
        let mut state = INITIAL;
        for (out, word) in out_words.iter_mut().zip(words).take(whole) {
            *out = *word;
            state = _mm_crc32_u64(state, u64::from_le_bytes(*word));
        }
        if !len.is_multiple_of(8)
            && let (Some(out), Some(word)) = (out_words.get_mut(whole), words.get(whole))
        {
            *out = *word;
            state = partial(state, u64::from_le_bytes(*word), len % 8);
        }
        state
    }

    #[target_feature(enable = "sse4.2")]
    #[inline]
    fn chain(mut state: u64, bytes: &[u8]) -> u64 {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            state = _mm_crc32_u64(state, u64::from_le_bytes(*word));
        }
        if rest.is_empty() {
            state
        } else {
            partial(state, partial_word(bytes, rest), rest.len())
        }
    }

    /// Continues over the `count` (1 to 7) low bytes of `word` with one instruction instead of a loop over bytes. Shifting the message to
    /// the top of a word puts zeros before it, and zeros leave a zero state as it is; what is left of the state
    /// beyond `count` bytes is not yet due and comes back in by XOR.
    #[target_feature(enable = "sse4.2")]
    #[inline]
    fn partial(state: u64, word: u64, count: usize) -> u64 {
        let bits = 8 * count as u32;
        _mm_crc32_u64(0, (state ^ word) << (64 - bits)) ^ (state >> bits)
    }

    #[target_feature(enable = "sse4.2")]
    #[inline]
    fn finish(state: u64, [head, sequence, timestamp_ns, lengths, address]: Words) -> u32 {
        let state = _mm_crc32_u64(state, address);
        let state = _mm_crc32_u64(state, head);
        let state = _mm_crc32_u64(state, sequence);
        let state = _mm_crc32_u64(state, timestamp_ns);
        !_mm_crc32_u32(state as u32, lengths as u32)
    }

    /// The bytes of `rest`, the last 1 to 7 of `bytes`, as the low bytes of a word, zero above. By fixed-size loads that may
    /// overlap: a copy of variable length would be a call.
    #[inline]
    fn partial_word(bytes: &[u8], rest: &[u8]) -> u64 {
        if let Some(last) = bytes.last_chunk::<8>() {
            return u64::from_le_bytes(*last) >> (64 - 8 * rest.len());
        }
        if let (Some(low), Some(high)) = (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
            let high = u64::from(u32::from_le_bytes(*high)) << (8 * (rest.len() - 4));
            return u64::from(u32::from_le_bytes(*low)) | high;
        }
        let low = rest.first().copied().map_or(0, u64::from);
        let middle = rest.get(1).copied().map_or(0, u64::from) << 8;
        low | middle | rest.get(2).copied().map_or(0, u64::from) << 16
    }

    const INITIAL: u64 = 0xffff_ffff;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One bit at a time, straight from the definition.
    fn oracle(bytes: &[u8]) -> u32 {
        let mut state = !0u32;
        for &byte in bytes {
            state ^= u32::from(byte);
            for _ in 0..8 {
                state = (state >> 1) ^ (0x82f6_3b78 & (state & 1).wrapping_neg());
            }
        }
        !state
    }

    fn sample(len: usize) -> Vec<u8> {
        (0..len as u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect()
    }

    #[test]
    fn agrees_with_the_published_vectors() {
        // RFC 3720, B.4, and the check value of the catalogue.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&rising), 0x46dd_794e);
        let falling: Vec<u8> = (0..32).rev().collect();
        assert_eq!(crc32c(&falling), 0x113f_db5c);
        assert_eq!(crc32c(b""), 0);
    }

    #[test]
    fn agrees_with_the_definition_at_every_length_and_split() {
        for len in (0..600).chain([1000, 4095, 65_536]) {
            let bytes = sample(len);
            assert_eq!(crc32c(&bytes), oracle(&bytes), "length {len}");
            assert_eq!(
                !portable(!0, &bytes),
                oracle(&bytes),
                "folding kernel, length {len}"
            );
        }
        let bytes = sample(700);
        for split in 0..bytes.len() {
            let (a, b) = bytes.split_at(split);
            assert_eq!(
                Crc::new().update(a).update(b).finish(),
                oracle(&bytes),
                "split at {split}"
            );
            assert_eq!(Crc::resume(crc32c(a)).update(b).finish(), oracle(&bytes));
        }
    }

    #[test]
    fn every_way_of_sealing_gives_the_checksum_of_body_address_and_header() {
        use zerocopy::IntoBytes;
        let (old, new) = (sample(40), sample(80));
        let old = *RecordPrefix::ref_from_bytes(&old).unwrap();
        let new = *RecordPrefix::ref_from_bytes(&new[40..]).unwrap();
        for len in (0..=LONG + 20).chain([1000, 65_537]) {
            let body = sample(len);
            let expected = |prefix: &RecordPrefix| {
                let bytes = prefix.as_bytes();
                oracle(&[&body[..], &bytes[32..40], &bytes[..28]].concat())
            };
            let mut padded = body.clone();
            padded.resize(len.next_multiple_of(8), 0);
            let mut out = vec![0xaa; padded.len()];
            assert_eq!(seal(&body, old.words()), expected(&old), "length {len}");
            assert_eq!(
                copy_seal(&body, &mut out, old.words()),
                expected(&old),
                "length {len}"
            );
            assert_eq!(out, padded);

            let mut source = old;
            source.payload_len.set((len + ADDRESS_BYTES) as u32);
            source.crc.set(expected(&source));
            let mut resealed = source;
            resealed.sequence = new.sequence;
            resealed.timestamp_ns = new.timestamp_ns;
            resealed.subject_id = new.subject_id;
            resealed.crc.set(expected(&resealed));
            let mut record = [source.as_bytes(), &padded].concat();
            let stamp = Restamp {
                sequence: new.sequence.get(),
                timestamp_ns: new.timestamp_ns.get(),
                subject_id: new.subject_id.get(),
            };
            let mut out = vec![0xaa; record.len()];
            assert!(reseal(&record, &mut out, stamp), "length {len}");
            assert_eq!(out, [resealed.as_bytes(), &padded].concat(), "length {len}");
            let last = 39 + len.min(1);
            record[last] ^= 1;
            assert!(!reseal(&record, &mut out, stamp), "length {len}");
        }
    }
}
