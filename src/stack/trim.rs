//! Gives memory back to the system that the C library's allocator keeps. To read debug information
//! takes tens of megabytes, a little at a time, which glibc does not give back when they are freed:
//! its threshold grows with the largest block that was ever freed.
//!
//! Invariant of the `unsafe` here: `malloc_trim` is glibc's, with the signature that its manual
//! gives, and may be called at any time from any thread. It takes the allocator's locks, and gives
//! back what nobody has. A program with another allocator has little there.
#![allow(unsafe_code)]

/// Above this much memory of the process nothing is done: glibc looks through all of it, with its
/// locks held, at some 0.1 ms for each MiB; and some megabytes are little there.
const MAX_MEMORY: u64 = 256 << 20;

/// Gives it back, where the process is small.
pub(super) fn give_back() {
    if anonymous().is_some_and(|bytes| bytes <= MAX_MEMORY) {
        trim();
    }
}

fn trim() {
    unsafe extern "C" {
        /// <https://man7.org/linux/man-pages/man3/malloc_trim.3.html>
        fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    // SAFETY: see the module.
    unsafe { malloc_trim(0) };
}

/// Bytes of the process that are no file's.
fn anonymous() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the worker's thread frees what it has read. Report D7.
    #[test]
    fn what_was_freed_is_given_back() {
        const SMALL: usize = 1 << 10;
        const ALL: usize = 40 << 20;
        let (before, after) = std::thread::spawn(|| {
            // From now on glibc keeps twice as much.
            drop(std::hint::black_box(vec![1u8; 30 << 20]));
            let mut blocks: Vec<Vec<u8>> = (0..ALL / SMALL).map(|_| vec![1u8; SMALL]).collect();
            // As names that are known by now, it lies above what goes.
            let _kept = blocks.pop();
            drop(std::hint::black_box(blocks));
            let before = anonymous();
            trim();
            (before, anonymous())
        })
        .join()
        .expect("the thread");
        let (before, after) = (before.expect("a figure"), after.expect("a figure"));
        assert!(after + (ALL as u64) / 2 <= before, "{before} bytes, then {after}");
    }
}
