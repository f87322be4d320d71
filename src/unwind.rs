//! The program's own code, run by us. Comes in: a closure that may panic. Goes out: its value, or
//! nothing.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Runs the program's code. `None`: it panicked. Nothing unwinds out of this, not even a payload
/// whose own `Drop` panics.
#[inline]
pub(crate) fn guarded<T>(run: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(value) => Some(value),
        Err(payload) => {
            dispose(payload);
            None
        }
    }
}

/// Drops what a panic carried. Its `Drop` is the program's code, too; should that panic, what *it*
/// carried is leaked.
#[cold]
pub(crate) fn dispose(payload: Box<dyn Any + Send>) {
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(another);
    }
}

/// What a panic says, if it is a text.
#[cfg(feature = "tower")]
pub(crate) fn message(payload: &(dyn Any + Send)) -> Option<&str> {
    payload.downcast_ref::<&'static str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any(7);
        }
    }

    /// Report D7.
    #[test]
    fn a_payload_that_panics_when_it_is_dropped_is_caught() {
        assert_eq!(guarded(|| std::panic::panic_any(Bomb)), None::<()>);
        assert_eq!(guarded(|| 5), Some(5));
    }
}
