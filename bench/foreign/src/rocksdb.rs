//! RocksDB, as far as its write-ahead log is concerned: single puts, and a look at what is there.

use std::ffi::{CStr, CString, c_char};
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;

use bench_harness::Failure;

use crate::library::Library;
use crate::{Handle, functions};

functions! {
    fn rocksdb_options_create() -> Handle;
    fn rocksdb_options_destroy(Handle);
    fn rocksdb_options_set_create_if_missing(Handle, u8);
    fn rocksdb_options_set_enable_pipelined_write(Handle, u8);
    fn rocksdb_writeoptions_create() -> Handle;
    fn rocksdb_writeoptions_destroy(Handle);
    fn rocksdb_writeoptions_set_sync(Handle, u8);
    fn rocksdb_readoptions_create() -> Handle;
    fn rocksdb_readoptions_destroy(Handle);
    fn rocksdb_open(Handle, *const c_char, *mut *mut c_char) -> Handle;
    fn rocksdb_close(Handle);
    fn rocksdb_put(Handle, Handle, *const c_char, usize, *const c_char, usize, *mut *mut c_char);
    fn rocksdb_create_iterator(Handle, Handle) -> Handle;
    fn rocksdb_iter_seek_to_first(Handle);
    fn rocksdb_iter_valid(Handle) -> u8;
    fn rocksdb_iter_next(Handle);
    fn rocksdb_iter_value(Handle, *mut usize) -> *const c_char;
    fn rocksdb_iter_get_error(Handle, *mut *mut c_char);
    fn rocksdb_iter_destroy(Handle);
    fn rocksdb_free(Handle);
}

/// The library.
pub struct RocksDb {
    functions: Functions,
    file_name: String,
}

/// The library, loaded by whoever asks first.
///
/// # Errors
/// When it is not installed, or is not what it should be.
pub fn library() -> Result<&'static RocksDb, Failure> {
    static LIBRARY: OnceLock<Result<RocksDb, Failure>> = OnceLock::new();
    let load = || {
        let library = Library::find("TRUNKLINE_BENCH_ROCKSDB", "librocksdb.so")?;
        Ok(RocksDb {
            functions: Functions::of(&library)?,
            file_name: library.file_name(),
        })
    };
    LIBRARY.get_or_init(load).as_ref().map_err(Clone::clone)
}

impl RocksDb {
    /// The name of its file; its C interface has no call for the version.
    pub fn version(&self) -> &str {
        &self.file_name
    }

    /// Opens a database, and makes it where there is none.
    ///
    /// # Errors
    /// When the library cannot.
    pub fn open(&'static self, folder: &Path, settings: Settings) -> Result<Database, Failure> {
        let folder = CString::new(folder.as_os_str().as_encoded_bytes())
            .map_err(|_| "a path has no zero byte")?;
        let f = &self.functions;
        // SAFETY: it takes nothing and returns options of its own.
        let options = unsafe { (f.rocksdb_options_create)() };
        // SAFETY: `options` were just made.
        unsafe { (f.rocksdb_options_set_create_if_missing)(options, 1) };
        // SAFETY: as above.
        unsafe {
            (f.rocksdb_options_set_enable_pipelined_write)(options, settings.pipelined.into());
        };
        // SAFETY: it takes nothing and returns options of its own.
        let writing = unsafe { (f.rocksdb_writeoptions_create)() };
        // SAFETY: `writing` was just made.
        unsafe { (f.rocksdb_writeoptions_set_sync)(writing, settings.sync.into()) };
        let mut error = ptr::null_mut();
        // SAFETY: options and a name that ends with zero; an error is written to `error`.
        let handle = unsafe { (f.rocksdb_open)(options, folder.as_ptr(), &mut error) };
        // Whatever is said below, the options go with this.
        let database = Database {
            library: self,
            handle,
            options,
            writing,
        };
        self.check(error)?;
        Ok(database)
    }

    /// Takes an error over, if there is one.
    fn check(&self, error: *mut c_char) -> Result<(), Failure> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: errors are strings that end with zero, and belong to the caller.
        let text = unsafe { CStr::from_ptr(error) }
            .to_string_lossy()
            .into_owned();
        // SAFETY: it was allocated by the library and is used no more.
        unsafe { (self.functions.rocksdb_free)(error.cast()) };
        Err(text)
    }
}

/// How a database is used; everything else is as it is by default.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// A put returns when the log is on the device.
    pub sync: bool,
    /// The log of one group of writers is written while the group before it goes to the table in memory.
    pub pipelined: bool,
}

/// An open database.
pub struct Database {
    library: &'static RocksDb,
    /// Null when it could not be opened.
    handle: Handle,
    options: Handle,
    writing: Handle,
}

// SAFETY: RocksDB's header allows calls on a database from several threads without more ado; options are only read.
unsafe impl Send for Database {}
// SAFETY: as above.
unsafe impl Sync for Database {}

impl Database {
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        let mut error = ptr::null_mut();
        // SAFETY: the database is open, and both slices are as long as is said.
        unsafe {
            (self.library.functions.rocksdb_put)(
                self.handle,
                self.writing,
                key.as_ptr().cast(),
                key.len(),
                value.as_ptr().cast(),
                value.len(),
                &mut error,
            );
        }
        self.library.check(error)
    }

    /// Shows all values in the order of their keys.
    ///
    /// # Errors
    /// When they cannot be read, or `on` says so.
    pub fn each(&self, mut on: impl FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
        let f = &self.library.functions;
        // SAFETY: it takes nothing and returns options of its own.
        let reading = unsafe { (f.rocksdb_readoptions_create)() };
        // SAFETY: the database is open, and the options were just made.
        let iterator = unsafe { (f.rocksdb_create_iterator)(self.handle, reading) };
        // SAFETY: the iterator lives until the end of this function.
        unsafe { (f.rocksdb_iter_seek_to_first)(iterator) };
        let mut seen = Ok(());
        // SAFETY: as above.
        while seen.is_ok() && unsafe { (f.rocksdb_iter_valid)(iterator) } != 0 {
            let mut bytes = 0;
            // SAFETY: the iterator is valid; the length is written to `bytes`.
            let value = unsafe { (f.rocksdb_iter_value)(iterator, &mut bytes) };
            // SAFETY: so many bytes are there until the iterator moves, which is after `on` has returned.
            seen = on(unsafe { std::slice::from_raw_parts(value.cast(), bytes) });
            // SAFETY: the iterator is valid.
            unsafe { (f.rocksdb_iter_next)(iterator) };
        }
        let mut error = ptr::null_mut();
        // SAFETY: the iterator lives; an error is written to `error`.
        unsafe { (f.rocksdb_iter_get_error)(iterator, &mut error) };
        let read = self.library.check(error);
        // SAFETY: it is used no more.
        unsafe { (f.rocksdb_iter_destroy)(iterator) };
        // SAFETY: as above.
        unsafe { (f.rocksdb_readoptions_destroy)(reading) };
        seen.and(read)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let f = &self.library.functions;
        if !self.handle.is_null() {
            // SAFETY: it is open, and nobody else has it.
            unsafe { (f.rocksdb_close)(self.handle) };
        }
        // SAFETY: the database that used them is closed.
        unsafe { (f.rocksdb_options_destroy)(self.options) };
        // SAFETY: as above.
        unsafe { (f.rocksdb_writeoptions_destroy)(self.writing) };
    }
}
