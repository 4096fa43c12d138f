//! The one door to atomics, cells and spinning: the standard library's, or loom's under `--cfg loom`.
//!
//! Every ordering elsewhere in this crate names its partner; loom checks that they suffice.

#[cfg(not(loom))]
mod real {
    pub(crate) use std::hint::spin_loop;
    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    // Where there is no futex.
    #[cfg(not(target_os = "linux"))]
    pub(crate) use std::sync::{Condvar, Mutex};

    /// Counts an `Arc` of the standard library under this shim; only loom has to do something.
    pub(crate) fn adopt<T: ?Sized>(shared: std::sync::Arc<T>) -> Arc<T> {
        shared
    }

    /// [`std::cell::UnsafeCell`] with loom's interface: an access is a closure, so that loom can see
    /// when it begins and ends.
    #[derive(Debug)]
    #[repr(transparent)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            read(self.0.get())
        }

        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
            write(self.0.get())
        }
    }
}

#[cfg(loom)]
mod real {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::hint::spin_loop;
    pub(crate) use loom::sync::atomic::{
        AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    pub(crate) use loom::sync::{Arc, Condvar, Mutex};

    /// An `Arc` that is not shared yet becomes one whose counting loom follows. (Loom's own cannot
    /// be coerced to `Arc<dyn Trait>`.)
    pub(crate) fn adopt<T: ?Sized>(shared: std::sync::Arc<T>) -> Arc<T> {
        Arc::from_std(shared)
    }
}

pub(crate) use real::*;
