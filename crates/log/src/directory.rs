//! A stream's files while it is opened: one of them in memory, failures with what was being done, and what files say of themselves.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use crate::files::Files;
use crate::layout::{PAGE_BYTES, SEGMENT_RECORD_BYTES};
use crate::log::NAME_BYTES_MAX;
use crate::mark::{Mark, SEQUENCE_FIRST};
use crate::marks::{self, Evidence, HeadError, Identity, SegmentHead};
use crate::open::OpenError;
use crate::{scan, walk};

/// Index and bytes of the files that there are.
pub(crate) type Listed = BTreeMap<u64, u64>;

/// The segment records that are valid, by index.
pub(crate) type Heads = BTreeMap<u64, SegmentHead>;

/// Whether files hold nothing of a log: the first segment alone, without a valid segment record, and zeros behind its first page. A crash
/// leaves that while a stream is created, and [`Log::open`](crate::Log::open) creates it anew. Whoever knows that the stream was created before knows by this that its records are lost.
///
/// What cannot be read, or was written by a newer version, may hold something.
pub fn is_unused(files: &mut impl Files) -> bool {
    let mut directory = Directory::new(files);
    let Ok(listed) = directory.list() else {
        return false;
    };
    let heads = |directory: &mut Directory<'_, _>| directory.heads(&listed, |_, error| Err(error));
    listed.len() == 1
        && heads(&mut directory).is_ok_and(|heads| heads.is_empty())
        && directory.is_unused(&listed).unwrap_or(false)
}

/// The files, one of them in memory.
pub(crate) struct Directory<'a, F> {
    files: &'a mut F,
    image: Vec<u8>,
    loaded: Option<u64>,
}

impl<'a, F: Files> Directory<'a, F> {
    pub(crate) fn new(files: &'a mut F) -> Self {
        Self {
            files,
            image: Vec::new(),
            loaded: None,
        }
    }

    pub(crate) fn list(&mut self) -> Result<Listed, OpenError> {
        let listed = self.files.list().map_err(|error| OpenError::Io {
            doing: "list the segments",
            segment: None,
            error,
        })?;
        Ok(listed
            .into_iter()
            .map(|file| (file.index, file.bytes))
            .collect())
    }

    /// The segment records, all of one stream and each in its file. `refused` is told which cannot be read or belong elsewhere; when it takes
    /// that, the others count.
    pub(crate) fn heads(
        &mut self,
        listed: &Listed,
        mut refused: impl FnMut(u64, OpenError) -> Result<(), OpenError>,
    ) -> Result<Heads, OpenError> {
        let mut heads = Heads::new();
        for (&segment, &bytes) in listed {
            if bytes < SEGMENT_RECORD_BYTES {
                continue;
            }
            match self.read_head(segment) {
                Ok(Some(head)) => {
                    heads.insert(segment, head);
                }
                Ok(None) => {}
                Err(error @ OpenError::Io { .. }) => refused(segment, error)?,
                Err(error) => return Err(error),
            }
        }
        let ours = most_have(&heads);
        if let Some(ours) = ours {
            for segment in beyond(listed, ours.segment_bytes) {
                heads.remove(&segment);
                refused(segment, stray(segment))?;
            }
        }
        let foreign = |(&segment, head): (&u64, &SegmentHead)| foreign(segment, head, ours);
        for error in heads.iter().filter_map(foreign).collect::<Vec<_>>() {
            if let OpenError::Foreign { segment, .. } = error {
                heads.remove(&segment);
                refused(segment, error)?;
            }
        }
        Ok(heads)
    }

    /// The segment record of one file, of this stream. `None`: it is not valid.
    pub(crate) fn head(
        &mut self,
        segment: u64,
        ours: Identity,
    ) -> Result<Option<SegmentHead>, OpenError> {
        let head = self.read_head(segment)?;
        match head.and_then(|head| foreign(segment, &head, Some(ours))) {
            Some(error) => Err(error),
            None => Ok(head),
        }
    }

    /// The segment record that a file has, whichever it is. `None`: it is not valid.
    fn read_head(&mut self, segment: u64) -> Result<Option<SegmentHead>, OpenError> {
        let mut page = [0; SEGMENT_RECORD_BYTES as usize];
        self.read(segment, 0, &mut page)?;
        match marks::read_segment(&page) {
            Ok(head) => Ok(Some(head)),
            Err(HeadError::Invalid) => Ok(None),
            Err(HeadError::Newer {
                version,
                incompatible,
            }) => Err(OpenError::Newer {
                segment,
                version,
                incompatible,
            }),
        }
    }

    /// Whether only segment 0 is there, and nothing behind its first page, in which no record ever stands.
    pub(crate) fn is_unused(&mut self, listed: &Listed) -> Result<bool, OpenError> {
        let (Some(&bytes), 1) = (listed.get(&0), listed.len()) else {
            return Ok(false);
        };
        let image = self.load(0, bytes)?;
        Ok(image.get(PAGE_BYTES as usize..).is_some_and(is_zero))
    }

    /// Where the seal of a segment of `bytes` starts, as its last bytes say, and everything from there on. `None`: they say nothing.
    pub(crate) fn seal(
        &mut self,
        segment: u64,
        bytes: u64,
    ) -> Result<Option<(u64, Vec<u8>)>, OpenError> {
        let mut trailer = [0; 8];
        self.read(segment, bytes - 8, &mut trailer)?;
        let offset = marks::seal_offset(&trailer).map_or(bytes, u64::from);
        if offset < SEGMENT_RECORD_BYTES || offset >= bytes {
            return Ok(None);
        }
        let mut record = vec![0; (bytes - offset) as usize];
        self.read(segment, offset, &mut record)?;
        Ok(Some((offset, record)))
    }

    /// The name that is defined at `offset` of a segment of `bytes` for the subject `id`.
    pub(crate) fn definition(
        &mut self,
        segment: u64,
        bytes: u64,
        offset: u64,
        id: u32,
    ) -> Result<Option<Box<str>>, OpenError> {
        let mut buffer = [0; 40 + NAME_BYTES_MAX + 1];
        let len = (buffer.len() as u64).min(bytes.saturating_sub(offset)) as usize;
        self.read(segment, offset, &mut buffer[..len])?;
        Ok(walk::definition(&buffer[..len], 0, id).map(Box::from))
    }

    pub(crate) fn doing<T>(
        &mut self,
        doing: &'static str,
        segment: u64,
        run: impl FnOnce(&mut F) -> io::Result<T>,
    ) -> Result<T, OpenError> {
        run(self.files).map_err(|error| OpenError::Io {
            doing,
            segment: Some(segment),
            error,
        })
    }

    pub(crate) fn read(
        &mut self,
        segment: u64,
        offset: u64,
        out: &mut [u8],
    ) -> Result<(), OpenError> {
        self.doing("read", segment, |files| files.read_at(segment, offset, out))
    }

    /// The whole file, from memory if it was the last one asked for.
    pub(crate) fn load(&mut self, segment: u64, bytes: u64) -> Result<&[u8], OpenError> {
        if self.loaded != Some(segment) {
            self.loaded = None;
            let mut image = std::mem::take(&mut self.image);
            image.resize(bytes as usize, 0);
            self.read(segment, 0, &mut image)?;
            self.image = image;
            self.loaded = Some(segment);
        }
        Ok(&self.image)
    }

    /// A file as long as it should be: zero where it is not that long, and where there is none.
    pub(crate) fn padded(
        &mut self,
        listed: &Listed,
        segment: u64,
        bytes: u64,
    ) -> Result<Vec<u8>, OpenError> {
        let mut image = vec![0; bytes as usize];
        let there = listed.get(&segment).copied().unwrap_or(0).min(bytes);
        self.read(segment, 0, &mut image[..there as usize])
            .or_else(|error| if there == 0 { Ok(()) } else { Err(error) })?;
        Ok(image)
    }

    /// Lets go of the file in memory: the next one asked for is read as it is then.
    pub(crate) fn unload(&mut self) {
        self.loaded = None;
    }

    /// Writes a stretch of the file in memory again.
    pub(crate) fn write_image(
        &mut self,
        segment: u64,
        start: usize,
        end: usize,
    ) -> Result<(), OpenError> {
        debug_assert_eq!(self.loaded, Some(segment));
        let written = self
            .files
            .write_at(segment, start as u64, &self.image[start..end]);
        written.map_err(|error| OpenError::Io {
            doing: "write",
            segment: Some(segment),
            error,
        })
    }

    /// Makes the file in memory zero from `start`, after a copy of each stretch of pages that are not was kept aside: a copy is synced, so the fewer the better.
    /// Returns how many bytes that were, in pages.
    pub(crate) fn zero_image(&mut self, segment: u64, start: usize) -> Result<u64, OpenError> {
        debug_assert_eq!(self.loaded, Some(segment));
        let page = PAGE_BYTES as usize;
        let len = self.image.len();
        let page_end = |at: usize| ((at / page + 1) * page).min(len);
        let mut at = start;
        let mut zeroed = 0;
        while at < len {
            let mut end = at;
            while end < len && !is_zero(&self.image[end..page_end(end)]) {
                end = page_end(end);
                zeroed += page as u64;
            }
            let stretch = &mut self.image[at..end];
            if stretch.is_empty() {
                at = page_end(at);
                continue;
            }
            let kept = self.files.keep_aside(segment, at as u64, stretch);
            stretch.fill(0);
            kept.and_then(|()| self.files.write_at(segment, at as u64, stretch))
                .map_err(|error| OpenError::Io {
                    doing: "zero the rest of",
                    segment: Some(segment),
                    error,
                })?;
            at = end;
        }
        Ok(zeroed)
    }
}

/// What the segments have in common.
pub(crate) fn identity(heads: &Heads) -> Option<Identity> {
    heads.values().next().map(|head| head.identity)
}

/// What most of the files in their places have in common: one that strayed in does not make strangers of the others. A vote after Boyer and Moore.
fn most_have(heads: &Heads) -> Option<Identity> {
    let mut most = None;
    let mut lead = 0_u64;
    for (_, head) in heads.iter().filter(|(at, head)| head.index == **at) {
        if lead == 0 {
            most = Some(head.identity);
        }
        lead = match most == Some(head.identity) {
            true => lead + 1,
            false => lead - 1,
        };
    }
    most
}

/// Why a file with this record is not one of the stream.
fn foreign(segment: u64, head: &SegmentHead, ours: Option<Identity>) -> Option<OpenError> {
    let other_stream = ours.is_some_and(|ours| ours != head.identity);
    (other_stream || head.index != segment).then_some(OpenError::Foreign {
        segment,
        index: head.index,
        other_stream,
    })
}

/// The files with numbers that no stream with such segments comes to: whatever lies in them, positions there do not exist.
pub(crate) fn beyond(listed: &Listed, segment_bytes: u64) -> impl Iterator<Item = u64> {
    let most = segments_max(segment_bytes);
    listed.range(most..).map(|(segment, _)| *segment)
}

/// More segments than that no stream comes to: positions have 63 bits.
pub(crate) fn segments_max(segment_bytes: u64) -> u64 {
    i64::MAX as u64 / segment_bytes.max(1)
}

/// What is said of one of these.
pub(crate) fn stray(segment: u64) -> OpenError {
    OpenError::Foreign {
        segment,
        index: segment,
        other_stream: true,
    }
}

/// The sequences that a segment held: those between its record and the next one's, none where these do not tell.
pub(crate) fn held(heads: &Heads, segment: u64) -> Range<u64> {
    let own = heads.get(&segment).map(|head| head.base_sequence);
    let own = own.or((segment == 0).then_some(SEQUENCE_FIRST));
    let next = heads.get(&(segment + 1)).map(|head| head.base_sequence);
    match (own, next) {
        (Some(own), Some(next)) => own..next,
        _ => SEQUENCE_FIRST..SEQUENCE_FIRST,
    }
}

/// The durable frontier and the oldest segment that must exist, by all segment records and by the marks of the files: searched from the last one
/// backwards until one starts at or below the frontier. `look` gives what the marks of a file tell; where it gives nothing, the search ends.
///
/// A segment begins only behind one that is there and whole. Where that one is missing or has another length, no crash did that, and everything before
/// the segment that has begun counts as synced.
pub(crate) fn find_evidence(
    listed: &Listed,
    heads: &Heads,
    segment_bytes: u64,
    mut look: impl FnMut(u64) -> Result<Option<Evidence>, OpenError>,
) -> Result<Evidence, OpenError> {
    let told = heads.values().map(|head| head.evidence);
    let mut evidence = told.fold(Evidence::default(), scan::highest);
    for &segment in listed.keys().rev() {
        let Some(found) = look(segment)? else {
            break;
        };
        evidence = scan::highest(evidence, found);
        if evidence.durable.position >= segment * segment_bytes && heads.contains_key(&segment) {
            break;
        }
    }
    let is_whole = |segment: u64| listed.get(&segment) == Some(&segment_bytes);
    let behind_damage = heads
        .values()
        .rfind(|head| head.index > evidence.first_segment && !is_whole(head.index - 1));
    if let Some(head) = behind_damage {
        let durable = Mark {
            sequence: head.base_sequence,
            position: head.index * segment_bytes,
        };
        let begun = Evidence {
            durable,
            ..evidence
        };
        evidence = scan::highest(evidence, begun);
    }
    Ok(evidence)
}

/// What the marks in a file tell, and its seal: a segment is sealed only when the next one's file is there. Where that is missing, no crash did that, and
/// everything in front of it counts as synced.
pub(crate) fn told_in(
    image: &[u8],
    segment: u64,
    listed: &Listed,
    heads: &Heads,
    ours: Identity,
) -> Evidence {
    let base = segment * ours.segment_bytes;
    let told = scan::evidence_in(image, base, ours.salt);
    if listed.contains_key(&(segment + 1)) {
        return told;
    }
    let head = heads.get(&segment);
    let seal = head.and_then(|head| walk::seal(image, head));
    seal.map_or(told, |(_, seal)| {
        let durable = Mark {
            sequence: seal.next_sequence,
            position: base + ours.segment_bytes,
        };
        let sealed = Evidence {
            durable,
            ..seal.evidence
        };
        scan::highest(told, sealed)
    })
}

/// The first segment of which every record is verified: the one in which the durable frontier lies. Where the frontier is its first byte and its record did not get
/// to the device, it cannot tell which segments retention has removed; the one before can, by its seal.
pub(crate) fn first_unproven(durable: Mark, heads: &Heads, segment_bytes: u64) -> u64 {
    let segment = durable.position / segment_bytes;
    let begins = durable.position > segment * segment_bytes || heads.contains_key(&segment);
    if begins {
        segment
    } else {
        segment.saturating_sub(1)
    }
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // Wide strides let the compiler use wide registers.
    let mut chunks = bytes.chunks_exact(256);
    chunks.all(|chunk| chunk.iter().fold(0, |any, byte| any | byte) == 0)
        && chunks.remainder().iter().all(|b| *b == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::BLOCK_BYTES;
    use crate::testing::MemoryFiles;

    const BYTES: u64 = BLOCK_BYTES;

    fn mark(sequence: u64, position: u64) -> Mark {
        Mark { sequence, position }
    }

    fn evidence(durable: Mark, first_segment: u64) -> Evidence {
        Evidence {
            durable,
            first_segment,
        }
    }

    /// The record of a segment that starts with sequence `100 * index + 1` and tells nothing, of the stream with that salt.
    fn head(index: u64, salt: u64) -> SegmentHead {
        SegmentHead {
            identity: Identity {
                uuid: [0; 16],
                salt,
                segment_bytes: BYTES,
            },
            index,
            base_sequence: 100 * index + 1,
            base_ns: 0,
            evidence: Evidence::default(),
        }
    }

    fn heads(indexes: impl IntoIterator<Item = u64>) -> Heads {
        let head = |index| (index, head(index, 7));
        indexes.into_iter().map(head).collect()
    }

    fn listed(indexes: impl IntoIterator<Item = u64>) -> Listed {
        indexes.into_iter().map(|index| (index, BYTES)).collect()
    }

    #[test]
    fn a_stream_is_what_most_of_its_files_are_wherever_a_stray_one_lies() {
        let most = |salts: &[u64]| {
            let heads = (0..).zip(salts).map(|(at, salt)| (at, head(at, *salt)));
            most_have(&heads.collect()).map(|identity| identity.salt)
        };
        assert_eq!(most(&[]), None);
        assert_eq!(most(&[7]), Some(7));
        for salts in [[7, 7, 9], [7, 9, 7], [9, 7, 7]] {
            assert_eq!(most(&salts), Some(7), "{salts:?}");
        }
        for salts in [
            [7, 7, 7, 9, 9],
            [9, 9, 7, 7, 7],
            [9, 7, 7, 9, 7],
            [7, 9, 9, 7, 7],
            [7, 7, 9, 9, 7],
        ] {
            assert_eq!(most(&salts), Some(7), "{salts:?}");
        }
        // What is not in its place has no vote.
        let mut misplaced = heads([0]);
        misplaced.extend((5..9).map(|at| (at, head(at + 1, 9))));
        assert_eq!(most_have(&misplaced).map(|most| most.salt), Some(7));
    }

    #[test]
    fn no_segment_has_a_number_to_which_positions_do_not_reach() {
        let most = (1 << 47) - 1;
        assert_eq!(segments_max(BYTES), most);
        let all = listed([0, 1, most - 1, most, most + 1, u64::MAX]);
        let strays: Vec<u64> = beyond(&all, BYTES).collect();
        assert_eq!(strays, [most, most + 1, u64::MAX]);
        // Whatever a record says, a number comes of it.
        assert_eq!(segments_max(0), i64::MAX as u64);
    }

    #[test]
    fn a_segment_held_what_lies_between_its_record_and_the_next_one() {
        assert_eq!(held(&heads([3, 4]), 3), 301..401);
        assert_eq!(held(&heads([1]), 0), 1..101, "the first starts with 1");
        for (indexes, segment) in [(&[4][..], 3), (&[3], 3), (&[3, 5], 3), (&[0], 0), (&[], 0)] {
            let held = held(&heads(indexes.iter().copied()), segment);
            assert!(held.is_empty(), "{indexes:?}, {segment}: {held:?}");
        }
    }

    #[test]
    fn marks_are_searched_from_the_last_file_back_to_the_one_with_the_frontier() {
        // What the marks of each file tell, and which files are looked at for it.
        let search = |heads: &Heads, told: &[(u64, Evidence)]| {
            let mut looked = Vec::new();
            let files = listed(0..=6);
            let found = find_evidence(&files, heads, BYTES, |segment| {
                looked.push(segment);
                let told = told.iter().find(|(at, _)| *at == segment);
                Ok(Some(told.map_or(Evidence::default(), |(_, told)| *told)))
            });
            (found.expect("it was found"), looked)
        };
        let in_5 = evidence(mark(560, 5 * BYTES + 8192), 2);
        let at_5 = evidence(mark(501, 5 * BYTES), 2);
        let in_4 = evidence(mark(490, 5 * BYTES - 4096), 1);
        assert_eq!(search(&heads(0..6), &[(5, in_5)]), (in_5, vec![6, 5]));
        assert_eq!(search(&heads(0..6), &[(5, at_5)]), (at_5, vec![6, 5]));
        assert_eq!(search(&heads(0..6), &[(5, in_4)]), (in_4, vec![6, 5, 4]));
        assert_eq!(search(&heads(0..6), &[(4, in_4)]), (in_4, vec![6, 5, 4]));
        // A file without a record is no segment yet: the one before tells as well.
        assert_eq!(search(&heads(0..5), &[(5, in_5)]), (in_5, vec![6, 5, 4]));
        // What a record tells counts, too, and each frontier as far as anything tells.
        let mut telling = heads(0..6);
        telling.get_mut(&3).expect("a head").evidence = evidence(mark(301, 3 * BYTES), 3);
        let both = evidence(in_5.durable, 3);
        assert_eq!(search(&telling, &[(5, in_5)]), (both, vec![6, 5]));
        let all = vec![6, 5, 4, 3, 2, 1, 0];
        assert_eq!(search(&heads(0..6), &[]), (Evidence::default(), all));
    }

    #[test]
    fn everything_in_front_of_a_segment_that_has_begun_behind_damage_counts_as_synced() {
        let known = evidence(mark(150, BYTES + 4096), 1);
        let search = |files: &Listed| {
            let looked = |_| Ok(Some(known));
            find_evidence(files, &heads(files.keys().copied()), BYTES, looked).expect("found")
        };
        assert_eq!(search(&listed(1..6)), known, "none is missing");
        assert_eq!(search(&listed(2..6)), evidence(mark(201, 2 * BYTES), 1));
        for damaged in [2, 3] {
            let begun = damaged + 1;
            let synced = evidence(mark(100 * begun + 1, begun * BYTES), 1);
            let missing = listed((1..6).filter(|segment| *segment != damaged));
            assert_eq!(search(&missing), synced, "without {damaged}");
            let mut other_length = listed(1..6);
            other_length.insert(damaged, BYTES - 4096);
            assert_eq!(search(&other_length), synced, "with a part of {damaged}");
        }
        // The last of several.
        assert_eq!(
            search(&listed([1, 3, 5])),
            evidence(mark(501, 5 * BYTES), 1)
        );
    }

    #[test]
    fn records_are_verified_from_the_segment_that_holds_the_frontier() {
        let first =
            |position, begun: Range<u64>| first_unproven(mark(1, position), &heads(begun), BYTES);
        assert_eq!(first(3 * BYTES + 8, 0..4), 3);
        assert_eq!(first(4 * BYTES - 8, 0..4), 3);
        assert_eq!(first(4 * BYTES, 0..5), 4);
        // Its first byte, and its record did not come to the device: the one before tells what was removed.
        assert_eq!(first(4 * BYTES, 0..4), 3);
        // Something of it was synced, so its record was.
        assert_eq!(first(4 * BYTES + 8, 0..4), 4);
        assert_eq!(first(0, 0..0), 0);
    }

    #[test]
    fn zeros_are_all_zeros() {
        for len in [0, 1, 255, 256, 257, 512, 600] {
            let mut bytes = vec![0; len];
            assert!(is_zero(&bytes), "{len}");
            for at in 0..len {
                bytes[at] = 1;
                assert!(!is_zero(&bytes), "{at} of {len}");
                // Nor do two of them make up for each other.
                let other = (at + 1) % len;
                bytes[other] = 1;
                assert!(!is_zero(&bytes), "{at} and {other} of {len}");
                (bytes[at], bytes[other]) = (0, 0);
            }
        }
    }

    #[test]
    fn each_stretch_of_pages_is_kept_aside_once_and_zero_ones_are_left_alone() {
        let page = PAGE_BYTES as usize;
        let mut contents = vec![0; 8 * page];
        // From the middle of a page on: the rest of it, two pages in a row, and the last one.
        for at in [page + 500, 3 * page, 5 * page - 1, 8 * page - 1] {
            contents[at] = 1;
        }
        contents[page + 99] = 9;
        let mut files = MemoryFiles::default();
        files.insert(0, contents.clone());
        let mut directory = Directory::new(&mut files);
        directory.load(0, 8 * PAGE_BYTES).expect("readable");
        let zeroed = directory.zero_image(0, page + 100).expect("writable");
        assert_eq!(zeroed, 4 * PAGE_BYTES);
        assert!(is_zero(&directory.image[page + 100..]));
        let kept: Vec<(u64, usize)> = files
            .kept_aside
            .iter()
            .map(|(_, offset, bytes)| (*offset, bytes.len()))
            .collect();
        let expected = [
            (PAGE_BYTES + 100, page - 100),
            (3 * PAGE_BYTES, 2 * page),
            (7 * PAGE_BYTES, page),
        ];
        assert_eq!(kept, expected);
        let mut left = vec![0; 8 * page];
        left[page + 99] = 9;
        assert!(files.contents(0) == Some(&left[..]));
    }

    #[test]
    fn a_file_is_read_once_until_it_is_let_go() {
        let mut files = MemoryFiles::default();
        files.insert(0, vec![1; 100]);
        files.insert(1, vec![2; 100]);
        files.operations_left = 3;
        let mut directory = Directory::new(&mut files);
        let mut load = |segment| Some(directory.load(segment, 100).ok()?[99]);
        assert_eq!((load(0), load(0)), (Some(1), Some(1)));
        assert_eq!((load(1), load(1)), (Some(2), Some(2)));
        directory.unload();
        assert_eq!(directory.load(1, 100).expect("the third read")[0], 2);
        assert!(directory.load(0, 100).is_err(), "that is not in memory");
        assert!(directory.load(1, 100).is_err(), "nor is what was there");
    }

    #[test]
    fn a_short_file_is_followed_by_zeros_and_a_missing_one_is_all_zeros() {
        let mut files = MemoryFiles::default();
        files.insert(0, vec![1; 60]);
        files.insert(1, vec![2; 200]);
        let mut directory = Directory::new(&mut files);
        let listed = directory.list().expect("listed");
        let mut padded = |segment| directory.padded(&listed, segment, 100).expect("readable");
        assert_eq!(padded(0), [[1; 60].as_slice(), &[0; 40]].concat());
        assert_eq!(padded(1), [2; 100]);
        assert_eq!(padded(2), [0; 100]);
        files.operations_left = 0;
        let mut directory = Directory::new(&mut files);
        let refused = directory.padded(&listed, 0, 100);
        assert!(refused.is_err(), "what cannot be read is not zero");
    }
}
