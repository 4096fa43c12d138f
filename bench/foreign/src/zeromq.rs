//! ZeroMQ: sockets of type PAIR, one message at a time.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::OnceLock;
use std::time::Duration;

use bench_harness::Failure;

use crate::library::Library;
use crate::{Handle, functions};

functions! {
    fn zmq_version(*mut c_int, *mut c_int, *mut c_int);
    fn zmq_errno() -> c_int;
    fn zmq_strerror(c_int) -> *const c_char;
    fn zmq_ctx_new() -> Handle;
    fn zmq_ctx_term(Handle) -> c_int;
    fn zmq_socket(Handle, c_int) -> Handle;
    fn zmq_close(Handle) -> c_int;
    fn zmq_setsockopt(Handle, c_int, *const c_void, usize) -> c_int;
    fn zmq_bind(Handle, *const c_char) -> c_int;
    fn zmq_connect(Handle, *const c_char) -> c_int;
    fn zmq_send(Handle, *const c_void, usize, c_int) -> c_int;
    fn zmq_recv(Handle, *mut c_void, usize, c_int) -> c_int;
}

/// The library.
pub struct ZeroMq {
    functions: Functions,
}

/// The library, loaded by whoever asks first.
///
/// # Errors
/// When it is not installed, or is not what it should be.
pub fn library() -> Result<&'static ZeroMq, Failure> {
    static LIBRARY: OnceLock<Result<ZeroMq, Failure>> = OnceLock::new();
    let load = || {
        let library = Library::find("TRUNKLINE_BENCH_ZEROMQ", "libzmq.so")?;
        Ok(ZeroMq {
            functions: Functions::of(&library)?,
        })
    };
    LIBRARY.get_or_init(load).as_ref().map_err(Clone::clone)
}

impl ZeroMq {
    pub fn version(&self) -> String {
        let mut parts = [0; 3];
        let [major, minor, patch] = &mut parts;
        // SAFETY: three numbers are written to where it is told.
        unsafe { (self.functions.zmq_version)(major, minor, patch) };
        parts.map(|part| part.to_string()).join(".")
    }

    /// A socket of type PAIR with a context, and so with a thread for input and output, of its own, as each of two processes
    /// has. Receiving gives up after `patience`.
    ///
    /// # Errors
    /// When the library cannot.
    pub fn pair(&'static self, patience: Duration) -> Result<Socket, Failure> {
        let f = &self.functions;
        // SAFETY: it takes nothing and returns a context of its own.
        let context = unsafe { (f.zmq_ctx_new)() };
        if context.is_null() {
            return Err(self.error());
        }
        // SAFETY: the context was just made.
        let socket = unsafe { (f.zmq_socket)(context, PAIR) };
        if socket.is_null() {
            let why = self.error();
            // SAFETY: it has no sockets.
            unsafe { (f.zmq_ctx_term)(context) };
            return Err(why);
        }
        let socket = Socket {
            library: self,
            context,
            socket,
        };
        // What is left when a socket is closed is dropped, so that the end of a context waits for nobody.
        socket.set(LINGER, 0)?;
        let patience = c_int::try_from(patience.as_millis()).unwrap_or(c_int::MAX);
        socket.set(RECEIVE_TIMEOUT, patience)?;
        Ok(socket)
    }

    /// What went wrong in the last call of this thread.
    fn error(&self) -> Failure {
        // SAFETY: it takes nothing.
        let number = unsafe { (self.functions.zmq_errno)() };
        // SAFETY: any number has a text.
        let text = unsafe { (self.functions.zmq_strerror)(number) };
        // SAFETY: the text is constant and ends with zero.
        unsafe { CStr::from_ptr(text) }
            .to_string_lossy()
            .into_owned()
    }

    fn errno(&self) -> c_int {
        // SAFETY: it takes nothing.
        unsafe { (self.functions.zmq_errno)() }
    }

    fn done(&self, result: c_int) -> Result<(), Failure> {
        if result < 0 {
            Err(self.error())
        } else {
            Ok(())
        }
    }
}

/// A socket, and the context that it is the only one of.
pub struct Socket {
    library: &'static ZeroMq,
    context: Handle,
    socket: Handle,
}

// SAFETY: a socket may go to another thread when there is a full fence between; moving a value between threads is one.
unsafe impl Send for Socket {}

impl Socket {
    /// # Errors
    /// When the library cannot.
    pub fn bind(&self, address: &str) -> Result<(), Failure> {
        let address = CString::new(address).map_err(|_| "an address has no zero byte")?;
        // SAFETY: the socket is open, and the address ends with zero.
        let result = unsafe { (self.library.functions.zmq_bind)(self.socket, address.as_ptr()) };
        self.library.done(result)
    }

    /// # Errors
    /// When the library cannot.
    pub fn connect(&self, address: &str) -> Result<(), Failure> {
        let address = CString::new(address).map_err(|_| "an address has no zero byte")?;
        // SAFETY: the socket is open, and the address ends with zero.
        let result = unsafe { (self.library.functions.zmq_connect)(self.socket, address.as_ptr()) };
        self.library.done(result)
    }

    /// Hands a message over; waits while there are too many that have not left.
    ///
    /// # Errors
    /// When the library cannot.
    pub fn send(&mut self, message: &[u8]) -> Result<(), Failure> {
        loop {
            // SAFETY: the socket is open, and the message is as long as is said; the library copies it.
            let result = unsafe {
                (self.library.functions.zmq_send)(
                    self.socket,
                    message.as_ptr().cast(),
                    message.len(),
                    0,
                )
            };
            if result >= 0 || self.library.errno() != INTERRUPTED {
                return self.library.done(result);
            }
        }
    }

    /// Sleeps until a message has come, and fills `message` with it.
    ///
    /// # Errors
    /// When none comes, or one of another length.
    pub fn receive(&mut self, message: &mut [u8]) -> Result<(), Failure> {
        loop {
            match self.take(message, 0)? {
                Taken::Whole => return Ok(()),
                Taken::Interrupted => {}
                Taken::Nothing => return Err("nothing comes".into()),
            }
        }
    }

    /// Fills `message` with one that has come; `false` when there is none.
    ///
    /// # Errors
    /// When one of another length has come.
    pub fn try_receive(&mut self, message: &mut [u8]) -> Result<bool, Failure> {
        Ok(matches!(self.take(message, DO_NOT_WAIT)?, Taken::Whole))
    }

    fn take(&mut self, message: &mut [u8], flags: c_int) -> Result<Taken, Failure> {
        // SAFETY: the socket is open, and there is room for as many bytes as is said.
        let result = unsafe {
            (self.library.functions.zmq_recv)(
                self.socket,
                message.as_mut_ptr().cast(),
                message.len(),
                flags,
            )
        };
        match usize::try_from(result) {
            Ok(bytes) if bytes == message.len() => Ok(Taken::Whole),
            Ok(bytes) => Err(format!(
                "a message of {bytes} bytes came where {} were due",
                message.len()
            )),
            Err(_) => match self.library.errno() {
                AGAIN => Ok(Taken::Nothing),
                INTERRUPTED => Ok(Taken::Interrupted),
                _ => Err(self.library.error()),
            },
        }
    }

    fn set(&self, option: c_int, value: c_int) -> Result<(), Failure> {
        // SAFETY: the socket is open; both options take an `int`.
        let result = unsafe {
            (self.library.functions.zmq_setsockopt)(
                self.socket,
                option,
                (&raw const value).cast(),
                size_of::<c_int>(),
            )
        };
        self.library.done(result)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // SAFETY: it is open, and used no more.
        unsafe { (self.library.functions.zmq_close)(self.socket) };
        // SAFETY: its only socket is closed.
        unsafe { (self.library.functions.zmq_ctx_term)(self.context) };
    }
}

/// What one call brought.
enum Taken {
    Whole,
    Nothing,
    Interrupted,
}

// Of zmq.h.
const PAIR: c_int = 0;
const LINGER: c_int = 17;
const RECEIVE_TIMEOUT: c_int = 27;
const DO_NOT_WAIT: c_int = 1;
// Of errno.h on Linux.
const INTERRUPTED: c_int = 4;
const AGAIN: c_int = 11;

#[cfg(test)]
mod tests {
    use bench_harness::server::Server;

    use super::*;

    #[test]
    fn a_message_of_another_length_is_refused_and_silence_ends() {
        let Ok(library) = library() else { return };
        assert!(library.version().starts_with('4'));
        let patience = Duration::from_millis(50);
        let (mut one, mut other) = (
            library.pair(patience).unwrap(),
            library.pair(patience).unwrap(),
        );
        let folder = Server::folder(&std::env::temp_dir()).unwrap();
        let address = format!("ipc://{}/socket", folder.path().display());
        one.bind(&address).unwrap();
        other.connect(&address).unwrap();
        other.send(&[7; 16]).unwrap();
        assert!(one.receive(&mut [0; 8]).unwrap_err().contains("16"));
        assert_eq!(one.receive(&mut [0; 8]), Err("nothing comes".into()));
        assert_eq!(one.try_receive(&mut [0; 8]), Ok(false));
    }
}
