//! The type behind `&dyn Error`, by the address of its `Debug` implementation.
//!
//! A `&dyn Error` is two words: the value and its vtable. On today's compilers the vtable is
//! `[drop, size, align, <T as Debug>::fmt, <T as Display>::fmt, …]`. The fourth word is a function
//! whose symbol names the type; the worker looks it up, as it does for frames. (`Display` alone
//! would not do: implementations that look alike are merged. A second word has to agree: the drop
//! glue, or `Display` where there is nothing to drop.)
//!
//! # Invariants
//! 1. `&dyn Error` is a pair of the value's and the vtable's address, in this order: checked by
//!    size at compile time, and by [`proven`].
//! 2. A vtable of `dyn Error` has at least five words: three of header, and the methods of `Debug`,
//!    `Display` and `Error` after them. It is in read-only memory for as long as the program runs.
//! 3. One of `dyn Debug` or `dyn Display` has four: the header, and `fmt`. The pair is as above: it
//!    is only looked at where 1 is proven.
//!
//! The language promises neither the order of a vtable nor that of the pair. So nothing is read
//! unless two probes of our own come out as expected; should a compiler change this, types are
//! guessed again, and a test says so.
#![allow(unsafe_code)]

use std::{error::Error, fmt, sync::OnceLock};

/// By which a type can be told: `[<T as Debug>::fmt, drop glue, or <T as Display>::fmt where there
/// is none]`. Zeros: not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct TypeAddress(pub(crate) [u64; 2]);

impl TypeAddress {
    /// Reads five words; no lock, no allocation.
    pub(crate) fn of(error: &(dyn Error + '_)) -> Self {
        static PROVEN: OnceLock<bool> = OnceLock::new();
        if !*PROVEN.get_or_init(proven) {
            return Self::default();
        }
        let [drop, _, _, debug, display] = head(error);
        Self([debug as u64, if drop == 0 { display } else { drop } as u64])
    }
}

#[cfg(feature = "actix-web-4")]
impl TypeAddress {
    /// The same of a value whose traits are told one by one: those of actix-web's errors are not
    /// [`Error`].
    pub(crate) fn of_shown(debug: &dyn fmt::Debug, display: &dyn fmt::Display) -> Self {
        static PROVEN: OnceLock<bool> = OnceLock::new();
        if !*PROVEN.get_or_init(|| proven() && proven_of_shown()) {
            return Self::default();
        }
        let ([drop, _, _, debug], [.., display]) = (of_debug(debug), of_display(display));
        Self([debug as u64, if drop == 0 { display } else { drop } as u64])
    }
}

/// The vtable of a trait that has one method.
#[cfg(feature = "actix-web-4")]
macro_rules! head_of_one_method {
    ($name:ident, $trait:ty) => {
        fn $name(value: &$trait) -> [usize; 4] {
            const { assert!(size_of::<&$trait>() == 2 * size_of::<usize>()) };
            // SAFETY: invariant 1: a pair of addresses, which any pair of words can hold.
            let [_, vtable] = unsafe { std::mem::transmute::<&$trait, [*const [usize; 4]; 2]>(value) };
            // SAFETY: invariant 3: four words of read-only memory, aligned as words are.
            unsafe { *vtable }
        }
    };
}
#[cfg(feature = "actix-web-4")]
head_of_one_method!(of_debug, dyn fmt::Debug);
#[cfg(feature = "actix-web-4")]
head_of_one_method!(of_display, dyn fmt::Display);

/// Whether the vtables of the two are those of an error without the rest.
#[cfg(feature = "actix-web-4")]
fn proven_of_shown() -> bool {
    let (plain, owning) = (Plain([0; 3]), Owning(Box::default()));
    let of_both = |error: &dyn Error| {
        let [drop, size, align, debug, display] = head(error);
        ([drop, size, align, debug], [drop, size, align, display])
    };
    of_both(&plain) == (of_debug(&plain), of_display(&plain)) && of_both(&owning) == (of_debug(&owning), of_display(&owning))
}

/// The first five words of an error's vtable.
fn head(error: &(dyn Error + '_)) -> [usize; 5] {
    const { assert!(size_of::<&dyn Error>() == 2 * size_of::<usize>()) };
    // SAFETY: invariant 1: a pair of addresses, which any pair of words can hold.
    let [_, vtable] = unsafe { std::mem::transmute::<&(dyn Error + '_), [*const [usize; 5]; 2]>(error) };
    // SAFETY: invariant 2: five words of read-only memory, aligned as words are.
    unsafe { *vtable }
}

/// Whether vtables look as they are expected to. The pair is looked at before the vtable is: were
/// it the other way round, its first word would be the probe's address.
fn proven() -> bool {
    let (plain, owning) = (Plain([0; 3]), Owning(Box::default()));
    // SAFETY: invariant 1, of which this is the proof: two addresses, compared and not followed.
    let [data, _] = unsafe { std::mem::transmute::<&dyn Error, [*const u8; 2]>(&plain) };
    if !std::ptr::eq(data, (&raw const plain).cast()) {
        return false;
    }
    let ([no_drop, size, align, debug, display], [drop, other_size, _, other_debug, _]) = (head(&plain), head(&owning));
    (no_drop, size, align) == (0, size_of::<Plain>(), align_of::<Plain>())
        && other_size == size_of::<Owning>()
        && drop != 0
        && debug == <Plain as fmt::Debug>::fmt as *const () as usize
        && display == <Plain as fmt::Display>::fmt as *const () as usize
        && other_debug == <Owning as fmt::Debug>::fmt as *const () as usize
}

/// Has nothing to drop, and a size and alignment of its own.
#[repr(align(32))]
struct Plain([u64; 3]);

struct Owning(Box<u8>);

macro_rules! probe {
    ($type:ty, $text:literal) => {
        impl fmt::Debug for $type {
            #[inline(never)]
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple($text).field(&self.0).finish()
            }
        }

        impl fmt::Display for $type {
            #[inline(never)]
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!("probe ", $text))
            }
        }

        impl Error for $type {}
    };
}

probe!(Plain, "Plain");
probe!(Owning, "Owning");

#[cfg(test)]
mod tests {
    use super::*;

    /// If this fails, the compiler has changed its vtables: types behind `&dyn Error` are guessed
    /// until this module knows better.
    #[test]
    fn this_compilers_vtables_are_understood() {
        assert!(proven());
        let error = "x".parse::<u8>().unwrap_err();
        assert_eq!(TypeAddress::of(&error), TypeAddress::of(&"y".parse::<u16>().unwrap_err()));
        assert_ne!(TypeAddress::of(&error), TypeAddress::of(&std::fmt::Error));
        let boxed: Box<dyn Error + Send + Sync> = Box::new(error.clone());
        assert_eq!(TypeAddress::of(&*boxed), TypeAddress::of(&error));
        #[cfg(feature = "actix-web-4")]
        {
            assert!(proven_of_shown());
            assert_eq!(TypeAddress::of_shown(&error, &error).0[0], TypeAddress::of(&error).0[0]);
        }
    }
}
