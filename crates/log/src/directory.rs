//! A stream's files while it is opened: one of them in memory, failures with what was being done.

use std::io;

use crate::files::Files;
use crate::layout::PAGE_BYTES;
use crate::open::OpenError;

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

    /// Makes the file in memory zero from `start`, after a copy of each page that is not was kept aside. Returns how many bytes
    /// that were, in pages.
    pub(crate) fn zero_image(&mut self, segment: u64, start: usize) -> Result<u64, OpenError> {
        debug_assert_eq!(self.loaded, Some(segment));
        let page = PAGE_BYTES as usize;
        let mut at = start;
        let mut zeroed = 0;
        while at < self.image.len() {
            let end = ((at / page + 1) * page).min(self.image.len());
            let stretch = &mut self.image[at..end];
            if !is_zero(stretch) {
                let kept = self.files.keep_aside(segment, at as u64, stretch);
                stretch.fill(0);
                kept.and_then(|()| self.files.write_at(segment, at as u64, stretch))
                    .map_err(|error| OpenError::Io {
                        doing: "zero the rest of",
                        segment: Some(segment),
                        error,
                    })?;
                zeroed += page as u64;
            }
            at = end;
        }
        Ok(zeroed)
    }
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // Wide strides let the compiler use wide registers.
    let mut chunks = bytes.chunks_exact(256);
    chunks.all(|chunk| chunk.iter().fold(0, |any, byte| any | byte) == 0)
        && chunks.remainder().iter().all(|b| *b == 0)
}
