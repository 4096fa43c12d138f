//! A shared library that somebody installed, and those that it needs.

use std::path::{Path, PathBuf};

use bench_harness::{Failure, installed};

/// A loaded library. It stays until the process ends, so what was found in it is always there.
pub struct Library {
    loaded: &'static libloading::Library,
    file: PathBuf,
}

impl Library {
    /// The library of this name, `libNAME.so`, in whatever version is there: where a variable says, in the folder of peers, or
    /// in the system.
    pub fn find(variable: &str, name: &str) -> Result<Self, Failure> {
        let file = installed::find_library(variable, name).ok_or_else(|| {
            format!(
                "no {name}; `cargo xtask bench --peers --install` gets it, or {variable} names it"
            )
        })?;
        Ok(Self {
            loaded: open(&file, DEPTH_MAX)?,
            file,
        })
    }

    /// A function of it.
    ///
    /// # Safety
    /// `T` is the type of a pointer to that function.
    pub unsafe fn symbol<T: Copy>(&self, name: &str) -> Result<T, Failure> {
        // SAFETY: the caller knows the type.
        let symbol = unsafe { self.loaded.get::<T>(name.as_bytes()) };
        symbol
            .map(|symbol| *symbol)
            .map_err(|error| format!("{}: {error}", self.file.display()))
    }

    /// The name of its file, which ends with its version.
    pub fn file_name(&self) -> String {
        let file = self
            .file
            .canonicalize()
            .unwrap_or_else(|_| self.file.clone());
        file.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }
}

/// Loads a library. The linker does not look for what it needs in its own folder; so that is loaded first, one by one.
fn open(file: &Path, depth: usize) -> Result<&'static libloading::Library, Failure> {
    let mut said = String::new();
    for _ in 0..NEEDS_MAX {
        // SAFETY: loading runs the library's initializers, as it would if it were linked; it is never unloaded.
        match unsafe { libloading::Library::new(file) } {
            Ok(library) => return Ok(Box::leak(Box::new(library))),
            Err(error) => said = error.to_string(),
        }
        let needed = missing(&said).map(|name| file.with_file_name(name));
        let Some(needed) = needed.filter(|needed| depth > 0 && needed.is_file()) else {
            break;
        };
        open(&needed, depth - 1)?;
    }
    Err(format!("{}: {said}", file.display()))
}

/// The library that the linker says is missing.
fn missing(said: &str) -> Option<&str> {
    let (before, _) = said.split_once(": cannot open shared object file")?;
    before.split_whitespace().last()
}

/// As many as a library needs directly, at most.
const NEEDS_MAX: usize = 32;
/// How far libraries that need others are followed.
const DEPTH_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_that_is_missing_is_read_from_what_the_linker_says() {
        let said = "libgflags.so.2.2: cannot open shared object file: No such file or directory";
        assert_eq!(missing(said), Some("libgflags.so.2.2"));
        assert_eq!(missing("/lib/libx.so: invalid ELF header"), None);
    }

    #[test]
    fn a_file_that_is_no_library_is_refused_with_its_name() {
        let file = std::env::current_dir().unwrap().join("Cargo.toml");
        let Err(why) = open(&file, DEPTH_MAX) else {
            unreachable!("a manifest is no library");
        };
        assert!(why.contains("Cargo.toml"), "{why}");
    }
}
