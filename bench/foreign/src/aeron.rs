//! Aeron: a client with one publication out and one subscription in. The media driver between clients is a program of its own.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bench_harness::Failure;

use crate::library::Library;
use crate::{Handle, functions};

/// What takes a message, or a part of one.
type Handler = unsafe extern "C" fn(*mut c_void, *const u8, usize, *mut c_void);
/// What is told of an image; nobody is.
type OnImage = Option<unsafe extern "C" fn(*mut c_void, Handle, Handle)>;
/// What supplies the reserved value of a frame; nobody does.
type ReservedValue = Option<unsafe extern "C" fn(*mut c_void, *mut u8, usize) -> i64>;

functions! {
    fn aeron_version_full() -> *const c_char;
    fn aeron_errmsg() -> *const c_char;
    fn aeron_context_init(*mut Handle) -> c_int;
    fn aeron_context_set_dir(Handle, *const c_char) -> c_int;
    fn aeron_context_set_pre_touch_mapped_memory(Handle, bool) -> c_int;
    fn aeron_context_close(Handle) -> c_int;
    fn aeron_init(*mut Handle, Handle) -> c_int;
    fn aeron_start(Handle) -> c_int;
    fn aeron_close(Handle) -> c_int;
    fn aeron_async_add_exclusive_publication(*mut Handle, Handle, *const c_char, i32) -> c_int;
    fn aeron_async_add_exclusive_publication_poll(*mut Handle, Handle) -> c_int;
    fn aeron_async_add_subscription(
        *mut Handle, Handle, *const c_char, i32, OnImage, *mut c_void, OnImage, *mut c_void,
    ) -> c_int;
    fn aeron_async_add_subscription_poll(*mut Handle, Handle) -> c_int;
    fn aeron_exclusive_publication_is_connected(Handle) -> bool;
    fn aeron_exclusive_publication_offer(Handle, *const u8, usize, ReservedValue, *mut c_void) -> i64;
    fn aeron_subscription_is_connected(Handle) -> bool;
    fn aeron_subscription_poll(Handle, Handler, *mut c_void, usize) -> c_int;
    fn aeron_fragment_assembler_create(*mut Handle, Handler, *mut c_void) -> c_int;
    fn aeron_fragment_assembler_delete(Handle) -> c_int;
    fn aeron_fragment_assembler_handler(*mut c_void, *const u8, usize, *mut c_void);
}

/// The library.
pub struct Aeron {
    functions: Functions,
}

/// The library, loaded by whoever asks first.
///
/// # Errors
/// When it is not installed, or is not what it should be.
pub fn library() -> Result<&'static Aeron, Failure> {
    static LIBRARY: OnceLock<Result<Aeron, Failure>> = OnceLock::new();
    let load = || {
        let library = Library::find("TRUNKLINE_BENCH_AERON", "libaeron.so")?;
        Ok(Aeron {
            functions: Functions::of(&library)?,
        })
    };
    LIBRARY.get_or_init(load).as_ref().map_err(Clone::clone)
}

/// The streams that a client sends on and receives from.
#[derive(Clone, Copy, Debug)]
pub struct Streams {
    pub out: i32,
    pub back: i32,
}

impl Aeron {
    pub fn version(&self) -> String {
        // SAFETY: it takes nothing and returns a constant text that ends with zero.
        let text = unsafe { CStr::from_ptr((self.functions.aeron_version_full)()) };
        text.to_string_lossy().into_owned()
    }

    /// A client of the driver that works in `folder`, with an exclusive publication and a subscription on a channel; it touches
    /// the logs before they are used. Each step gives up after `patience`.
    ///
    /// # Errors
    /// When there is no driver, or it refuses.
    pub fn party(
        &'static self,
        folder: &Path,
        channel: &str,
        streams: Streams,
        patience: Duration,
    ) -> Result<Party, Failure> {
        let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| "there is a zero byte in a name");
        let (folder, channel) = (
            text(folder.as_os_str().as_encoded_bytes())?,
            text(channel.as_bytes())?,
        );
        let f = &self.functions;
        // What there is of it goes with it, wherever this ends.
        let mut party = Party {
            library: self,
            context: ptr::null_mut(),
            client: ptr::null_mut(),
            publication: ptr::null_mut(),
            subscription: ptr::null_mut(),
            assembler: ptr::null_mut(),
            inbox: Box::into_raw(Box::default()),
        };
        // SAFETY: a context is written to where it is told.
        self.done(unsafe { (f.aeron_context_init)(&mut party.context) })?;
        // SAFETY: the context was just made; the name ends with zero and is copied.
        self.done(unsafe { (f.aeron_context_set_dir)(party.context, folder.as_ptr()) })?;
        // SAFETY: the context was just made.
        self.done(unsafe { (f.aeron_context_set_pre_touch_mapped_memory)(party.context, true) })?;
        // SAFETY: a client is written to where it is told; the context lives longer than it.
        self.done(unsafe { (f.aeron_init)(&mut party.client, party.context) })?;
        // SAFETY: the client was just made.
        self.done(unsafe { (f.aeron_start)(party.client) })?;

        let mut adding = ptr::null_mut();
        // SAFETY: the client runs; the channel ends with zero and is copied.
        self.done(unsafe {
            (f.aeron_async_add_exclusive_publication)(
                &mut adding,
                party.client,
                channel.as_ptr(),
                streams.out,
            )
        })?;
        self.added(patience, || {
            // SAFETY: it was just begun, and is polled until it has ended and no further.
            unsafe {
                (f.aeron_async_add_exclusive_publication_poll)(&mut party.publication, adding)
            }
        })?;
        // SAFETY: the client runs; the channel ends with zero and is copied; nobody is to be told of images.
        self.done(unsafe {
            (f.aeron_async_add_subscription)(
                &mut adding,
                party.client,
                channel.as_ptr(),
                streams.back,
                None,
                ptr::null_mut(),
                None,
                ptr::null_mut(),
            )
        })?;
        self.added(patience, || {
            // SAFETY: it was just begun, and is polled until it has ended and no further.
            unsafe { (f.aeron_async_add_subscription_poll)(&mut party.subscription, adding) }
        })?;
        // SAFETY: the inbox stays where it is until after the assembler is gone.
        self.done(unsafe {
            (f.aeron_fragment_assembler_create)(
                &mut party.assembler,
                on_message,
                party.inbox.cast(),
            )
        })?;
        Ok(party)
    }

    fn added(&self, patience: Duration, mut poll: impl FnMut() -> c_int) -> Result<(), Failure> {
        let begin = Instant::now();
        loop {
            match poll() {
                0 if begin.elapsed() > patience => return Err("the driver does not answer".into()),
                0 => std::thread::yield_now(),
                result => return self.done(result),
            }
        }
    }

    fn done(&self, result: c_int) -> Result<(), Failure> {
        if result < 0 {
            Err(self.error())
        } else {
            Ok(())
        }
    }

    /// What went wrong in the last call of this thread.
    fn error(&self) -> Failure {
        // SAFETY: it takes nothing and returns the thread's own text, which ends with zero.
        let text = unsafe { CStr::from_ptr((self.functions.aeron_errmsg)()) };
        text.to_string_lossy().into_owned()
    }
}

/// A client, its publication, and its subscription.
pub struct Party {
    library: &'static Aeron,
    // Each is null until it is made.
    context: Handle,
    client: Handle,
    publication: Handle,
    subscription: Handle,
    assembler: Handle,
    /// Owned; a pointer, because the assembler has it too.
    inbox: *mut Inbox,
}

// SAFETY: publications and subscriptions are used by one thread at a time, whichever that is.
unsafe impl Send for Party {}

/// Where the next message goes.
struct Inbox {
    target: *mut u8,
    room: usize,
    came: Option<usize>,
    /// More than one came, or one for which there was no room.
    wrong: bool,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            target: ptr::null_mut(),
            room: 0,
            came: None,
            wrong: false,
        }
    }
}

impl Party {
    /// Whether the other side is there, both ways.
    pub fn is_connected(&self) -> bool {
        let f = &self.library.functions;
        // SAFETY: the publication is open.
        let out = unsafe { (f.aeron_exclusive_publication_is_connected)(self.publication) };
        // SAFETY: the subscription is open.
        out && unsafe { (f.aeron_subscription_is_connected)(self.subscription) }
    }

    /// Offers a message; `false` when there is no room for it now.
    ///
    /// # Errors
    /// When there never will be.
    pub fn offer(&mut self, message: &[u8]) -> Result<bool, Failure> {
        // SAFETY: the publication is open, and the message is as long as is said; it is copied.
        let position = unsafe {
            (self.library.functions.aeron_exclusive_publication_offer)(
                self.publication,
                message.as_ptr(),
                message.len(),
                None,
                ptr::null_mut(),
            )
        };
        match position {
            0.. => Ok(true),
            NOT_CONNECTED | BACK_PRESSURED | ADMIN_ACTION => Ok(false),
            _ => Err(format!("offer: {position}: {}", self.library.error())),
        }
    }

    /// Fills `message` with one that has come; `false` when none has come whole.
    ///
    /// # Errors
    /// When more than one came, or one of another length.
    pub fn poll(&mut self, message: &mut [u8]) -> Result<bool, Failure> {
        // SAFETY: the inbox is owned, and only `aeron_subscription_poll` below uses it meanwhile.
        unsafe {
            *self.inbox = Inbox {
                target: message.as_mut_ptr(),
                room: message.len(),
                ..Inbox::default()
            };
        }
        let f = &self.library.functions;
        // SAFETY: subscription and assembler are open; what the assembler hands on goes to `message`, which outlives the call.
        let parts = unsafe {
            (f.aeron_subscription_poll)(
                self.subscription,
                f.aeron_fragment_assembler_handler,
                self.assembler,
                PARTS_PER_POLL,
            )
        };
        self.library.done(parts)?;
        // SAFETY: nobody else uses it now.
        let inbox = unsafe { &*self.inbox };
        match inbox.came {
            _ if inbox.wrong => Err("a message came that nobody waits for".into()),
            None => Ok(false),
            Some(bytes) if bytes == message.len() => Ok(true),
            Some(bytes) => Err(format!(
                "a message of {bytes} bytes came where {} were due",
                message.len()
            )),
        }
    }
}

/// Takes a whole message.
unsafe extern "C" fn on_message(
    inbox: *mut c_void,
    bytes: *const u8,
    length: usize,
    _header: *mut c_void,
) {
    // SAFETY: the assembler was given the inbox, which nobody else uses while a subscription is polled.
    let inbox = unsafe { &mut *inbox.cast::<Inbox>() };
    if inbox.came.is_some() || length > inbox.room {
        inbox.wrong = true;
        return;
    }
    // SAFETY: the message is so long, and there is room for it.
    unsafe { ptr::copy_nonoverlapping(bytes, inbox.target, length) };
    inbox.came = Some(length);
}

impl Drop for Party {
    fn drop(&mut self) {
        let f = &self.library.functions;
        if !self.client.is_null() {
            // SAFETY: it is open; its publication and its subscription end with it.
            unsafe { (f.aeron_close)(self.client) };
        }
        if !self.assembler.is_null() {
            // SAFETY: nobody polls any more.
            unsafe { (f.aeron_fragment_assembler_delete)(self.assembler) };
        }
        if !self.context.is_null() {
            // SAFETY: its client is closed.
            unsafe { (f.aeron_context_close)(self.context) };
        }
        // SAFETY: it was made by `Box::into_raw`, and the assembler is gone.
        drop(unsafe { Box::from_raw(self.inbox) });
    }
}

/// As Aeron's own samples do.
const PARTS_PER_POLL: usize = 10;
// Of aeronc.h.
const NOT_CONNECTED: i64 = -1;
const BACK_PRESSURED: i64 = -2;
const ADMIN_ACTION: i64 = -3;
