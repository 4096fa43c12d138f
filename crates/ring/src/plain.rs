//! Values that are nothing but their bytes.

/// A type that may be copied byte by byte while another thread overwrites the source, because every
/// bit pattern is a value and no byte is padding.
///
/// # Safety
/// Every bit pattern of `size_of::<Self>()` bytes is a valid value, and the type has no padding.
pub unsafe trait Plain: Copy + Send + Sync + 'static {}

macro_rules! plain {
    ($($number:ty),*) => {
        $(
            // SAFETY: numbers have neither padding nor invalid bit patterns.
            unsafe impl Plain for $number {}
        )*
    };
}

plain!(
    u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64
);

// SAFETY: elements of an array follow each other without a gap.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// How many words hold a `T`.
pub(crate) const fn words_of<T>() -> usize {
    size_of::<T>().div_ceil(size_of::<u64>())
}

/// The bytes of `value` from word `index` on, the last word filled up with zeros.
#[inline(always)]
pub(crate) fn word<T: Plain>(value: &T, index: usize) -> u64 {
    let mut word = 0u64;
    let offset = index * size_of::<u64>();
    let len = size_of::<u64>().min(size_of::<T>() - offset);
    let source = std::ptr::from_ref(value).cast::<u8>().wrapping_add(offset);
    let target = std::ptr::from_mut(&mut word).cast::<u8>();
    // SAFETY: `len` bytes from `offset` lie within `value` and are initialized, since `T` has no
    // padding; `word` has at least as many.
    unsafe { source.copy_to_nonoverlapping(target, len) };
    word
}

/// The value whose words `word` gives.
#[inline(always)]
pub(crate) fn from_words<T: Plain>(mut word: impl FnMut(usize) -> u64) -> T {
    let mut value = std::mem::MaybeUninit::<T>::uninit();
    for index in 0..words_of::<T>() {
        let source = word(index);
        let offset = index * size_of::<u64>();
        let len = size_of::<u64>().min(size_of::<T>() - offset);
        let source = std::ptr::from_ref(&source).cast::<u8>();
        let target = value.as_mut_ptr().cast::<u8>().wrapping_add(offset);
        // SAFETY: `len` bytes from `offset` lie within `value`, and a word has at least as many.
        unsafe { target.copy_from_nonoverlapping(source, len) };
    }
    // SAFETY: every byte was written, and every bit pattern is a value of `T`.
    unsafe { value.assume_init() }
}
