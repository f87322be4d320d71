//! Processes that were forked. Comes in: the C library's word that this is a child. Goes out: which
//! process this is, for the price of a load; locks and values that outlive a fork.
//!
//! In a child only the thread that forked goes on. A lock that another thread held at that moment
//! is never released: whoever waits for it hangs, and what it guards may be half changed. And what
//! was counted until then is the parent's.
//!
//! # Invariants of the `unsafe` parts
//! 1. A [`Mutex`]'s `holder` is 0, or one more than the [`generation`] of the process that a thread
//!    locked it in. Only that thread, by its [`Guard`], reaches the value; a guard stays on its
//!    thread.
//! 2. A holder of another generation is a thread of a parent's, which does not run here. What it
//!    left is neither read nor dropped, but written over with a default. Nobody forks while holding
//!    one: no code of the program's runs under it but its allocator.
//! 3. What a [`PerProcess`] has made is never moved, and is freed only when nobody borrows from it
//!    any more: when it is dropped itself.
//! 4. `pthread_atfork` has the signature that POSIX gives it, and takes functions that live as long
//!    as the program; ours is allowed in a child (it adds to an atomic).
#![allow(unsafe_code)]

use std::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::{Deref, DerefMut},
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering},
    time::Duration,
};

static FORKS: AtomicU32 = AtomicU32::new(0);

/// How many forks it took from the first process to this one. One that goes past the C library (a
/// bare `clone`) is not seen.
#[inline]
pub(crate) fn generation() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// From now on forks are counted.
pub(crate) fn watch() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        #[cfg(unix)]
        // Refused (there is no memory), children are known by their ids when they flush.
        let _ = pthread_atfork(None, None, Some(in_child));
    });
}

/// It turned out that this is a child, of which the C library has not told.
pub(crate) fn unseen() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

#[cfg(unix)]
type Handler = Option<extern "C" fn()>;

#[cfg(unix)]
unsafe extern "C" {
    // SAFETY: invariant 4.
    safe fn pthread_atfork(prepare: Handler, parent: Handler, child: Handler) -> std::ffi::c_int;
}

#[cfg(unix)]
extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// A lock that in a forked child is never one of the parent's threads': then what it guards begins
/// anew.
///
/// It is held for moments, so that whoever waits yields, and sleeps only if that does not help.
/// Half the price of the standard library's, which looks for sleepers whenever it is released. A
/// panic under it releases it.
#[derive(Debug)]
pub(crate) struct Mutex<T> {
    holder: AtomicU32,
    value: UnsafeCell<ManuallyDrop<T>>,
}

// SAFETY: one thread at a time reaches the value (invariant 1), so it is handed from thread to thread.
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T: Default> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { holder: AtomicU32::new(0), value: UnsafeCell::new(ManuallyDrop::new(value)) }
    }

    /// Waits for its turn.
    #[inline]
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        self.try_lock().unwrap_or_else(|| self.wait())
    }

    /// `None`: another thread has it.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
        let own = generation() + 1;
        match self.holder.compare_exchange(0, own, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Some(Guard { mutex: self, stays: PhantomData }),
            Err(holder) if holder == own => None,
            Err(holder) => self.take_over(holder, own),
        }
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        if std::mem::take(self.holder.get_mut()) != 0 {
            // There is no borrow, so its holder is no more (invariant 2).
            *self.value.get_mut() = ManuallyDrop::default();
        }
        self.value.get_mut()
    }

    #[cold]
    fn take_over(&self, holder: u32, own: u32) -> Option<Guard<'_, T>> {
        self.holder.compare_exchange(holder, own, Ordering::Acquire, Ordering::Relaxed).ok()?;
        let guard = Guard { mutex: self, stays: PhantomData };
        // SAFETY: locked by this thread (invariant 1); nobody else is to come back to what was there (invariant 2).
        unsafe { self.value.get().write(ManuallyDrop::default()) };
        Some(guard)
    }

    #[cold]
    fn wait(&self) -> Guard<'_, T> {
        const YIELDS: u32 = 64;
        let mut tries = 0;
        loop {
            // Yielding does not help against a thread of a lower priority that waits for the same processor.
            if tries < YIELDS {
                std::thread::yield_now()
            } else {
                std::thread::sleep(Duration::from_micros(50))
            }
            tries += 1;
            if let Some(guard) = self.try_lock() {
                return guard;
            }
        }
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Drop for Mutex<T> {
    fn drop(&mut self) {
        // What a thread of a parent's had half changed is let be (invariant 2).
        if *self.holder.get_mut() == 0 {
            // SAFETY: it is not used again.
            unsafe { ManuallyDrop::drop(self.value.get_mut()) };
        }
    }
}

/// The right to what a [`Mutex`] guards.
pub(crate) struct Guard<'a, T> {
    mutex: &'a Mutex<T>,
    /// On its thread (invariant 1).
    stays: PhantomData<*const ()>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: invariant 1.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: invariant 1; the guard itself is borrowed for as long.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.holder.store(0, Ordering::Release);
    }
}

/// A value of which each process makes its own when it is first asked for.
#[derive(Debug)]
pub(crate) struct PerProcess<T>(AtomicPtr<Made<T>>);

#[derive(Debug)]
struct Made<T> {
    generation: u32,
    value: T,
}

// SAFETY: it gives out shared borrows to any thread, and drops the value on whichever.
unsafe impl<T: Send + Sync> Send for PerProcess<T> {}
unsafe impl<T: Send + Sync> Sync for PerProcess<T> {}

impl<T> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(std::ptr::null_mut()))
    }

    /// This process's, if it has been made.
    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        // SAFETY: null, or made by `get_or_init` and not freed while this is borrowed (invariant 3).
        let made = unsafe { self.0.load(Ordering::Acquire).as_ref() };
        made.filter(|made| made.generation == generation()).map(|made| &made.value)
    }

    /// This process's. Threads that ask at once may each make one, of which one stays.
    #[inline]
    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        self.get().unwrap_or_else(|| self.init(make()))
    }

    #[cold]
    fn init(&self, value: T) -> &T {
        let made = Box::into_raw(Box::new(Made { generation: generation(), value }));
        loop {
            if let Some(earlier) = self.get() {
                // SAFETY: from the box above, and nobody else has seen it.
                drop(unsafe { Box::from_raw(made) });
                return earlier;
            }
            let former = self.0.load(Ordering::Acquire);
            // A parent's is let be: its threads may have locked it just then.
            if self.0.compare_exchange(former, made, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                // SAFETY: invariant 3.
                return unsafe { &(*made).value };
            }
        }
    }
}

impl<T> Default for PerProcess<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let newest = *self.0.get_mut();
        // SAFETY: from a box, and nobody borrows from it any more (invariant 3). A parent's is let be here,
        // too.
        if let Some(made) = unsafe { newest.as_ref() }
            && made.generation == generation()
        {
            drop(unsafe { Box::from_raw(newest) });
        }
    }
}

/// Something that is done once. Who comes meanwhile does not wait, so a forked child does not hang
/// on it.
#[derive(Debug, Default)]
pub(crate) struct Once(AtomicBool);

impl Once {
    pub(crate) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    pub(crate) fn is_done(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn call_once(&self, run: impl FnOnce()) {
        if !self.is_done() && !self.0.swap(true, Ordering::Relaxed) {
            run();
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;

    unsafe extern "C" {
        // SAFETY: as POSIX has it; the child allocates and ends, which the C library allows.
        safe fn fork() -> std::ffi::c_int;
        safe fn _exit(code: std::ffi::c_int) -> !;
    }

    /// Whether `check` holds in a forked child.
    fn holds_in_a_child(check: impl FnOnce() -> bool) -> bool {
        watch();
        let child = fork();
        if child == 0 {
            _exit(i32::from(!check()));
        }
        let child = rustix::process::Pid::from_raw(child).expect("a child");
        let (_, status) = rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty()).expect("ours").expect("ended");
        status.exit_status() == Some(0)
    }

    /// Invariant 1.
    #[test]
    fn one_thread_at_a_time() {
        let (count, threads) = (Arc::new(Mutex::new([0u64; 2])), 4);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let mut count = count.lock();
                        count[0] += 1;
                        assert_eq!(count[0], count[1] + 1);
                        count[1] += 1;
                    }
                });
            }
        });
        assert_eq!(*count.lock(), [threads * 10_000; 2]);
        assert!(count.try_lock().is_some_and(|_held| count.try_lock().is_none()));
    }

    /// Invariant 2. The text would be freed twice, or read half changed.
    #[test]
    fn a_child_takes_over_what_a_thread_of_its_parents_had_locked() {
        let text = Arc::new([const { Mutex::new(String::new()) }; 3]);
        text.iter().for_each(|text| text.lock().push_str("the parent's"));
        let (locked, is_locked) = mpsc::channel();
        let (over, is_over) = mpsc::channel::<()>();
        let holder = std::thread::spawn({
            let text = text.clone();
            move || {
                let _held = [text[0].lock(), text[1].lock()];
                locked.send(()).expect("somebody waits");
                let _ = is_over.recv();
            }
        });
        is_locked.recv().expect("locked");
        assert!(text[0].try_lock().is_none());
        assert!(holds_in_a_child(|| {
            let is_fresh = text[0].lock().is_empty();
            let is_kept = *text[2].lock() == "the parent's";
            text[0].lock().push_str("the child's");
            is_fresh && is_kept && *text[0].lock() == "the child's"
        }));
        drop(over);
        holder.join().expect("it ended well");
        assert_eq!(*text[0].lock(), "the parent's");
    }

    #[test]
    fn what_is_locked_by_nobody_is_not_dropped_in_a_child() {
        struct Loud;
        impl Drop for Loud {
            fn drop(&mut self) {
                _exit(7);
            }
        }
        let mut mutex = Mutex::new(Some(Loud));
        std::mem::forget(mutex.lock());
        assert!(holds_in_a_child(|| mutex.get_mut().is_none()));
        // Here its holder may still be about.
        std::mem::forget(mutex);
    }

    /// Invariant 3.
    #[test]
    fn each_process_makes_its_own() {
        let value = PerProcess::new();
        assert!(value.get().is_none());
        let first: &String = value.get_or_init(|| "first".to_owned());
        assert!(holds_in_a_child(|| value.get().is_none() && value.get_or_init(|| "second".to_owned()) == "second" && first == "first"));
        assert!(std::ptr::eq(value.get_or_init(|| "third".to_owned()), first));
        let many = PerProcess::new();
        let made: Vec<usize> = std::thread::scope(|scope| {
            let ask = |number: usize| std::ptr::from_ref(many.get_or_init(|| Box::new(number))).addr();
            let threads: Vec<_> = (0..4).map(|number| scope.spawn(move || ask(number))).collect();
            threads.into_iter().map(|thread| thread.join().expect("made")).collect()
        });
        assert!(made.windows(2).all(|pair| pair[0] == pair[1]), "{made:?}");
    }
}
