//! Peers that are shared libraries in C. They are loaded while a comparison runs, so that nothing of them is needed to build
//! one; who is not installed is absent, and says why. All unsafe code of this stands here: each module wraps the few calls of
//! its library that a comparison needs, as its C header declares them.
//!
//! | module | library | a variable that names it |
//! |---|---|---|
//! | [`rocksdb`] | `librocksdb` | `TRUNKLINE_BENCH_ROCKSDB` |
//! | [`zeromq`] | `libzmq` | `TRUNKLINE_BENCH_ZEROMQ` |
//! | [`aeron`] | `libaeron` | `TRUNKLINE_BENCH_AERON` |

mod library;

pub mod aeron;
pub mod rocksdb;
pub mod zeromq;

use std::ffi::c_void;

/// What a library keeps for its caller, who knows nothing of what is in it.
type Handle = *mut c_void;

/// Functions of a library with their types, all found when it is loaded.
macro_rules! functions {
    ($(fn $function:ident($($argument:ty),* $(,)?) $(-> $result:ty)?;)*) => {
        struct Functions {
            $($function: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Functions {
            fn of(library: &crate::library::Library) -> Result<Self, bench_harness::Failure> {
                Ok(Self {
                    // SAFETY: the types are those of the library's header, whose interface is stable.
                    $($function: unsafe { library.symbol(stringify!($function))? },)*
                })
            }
        }
    };
}
use functions;
