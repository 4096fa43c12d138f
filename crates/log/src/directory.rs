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
