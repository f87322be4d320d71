//! The end of a process: what was recorded last is still to be sent. Comes in: a panic that nobody
//! can catch, `exit`. Goes out: one flush, bounded in time.
//!
//! | how it ends | what is sent |
//! |---|---|
//! | `main` returns and drops the guard, also by a panic | all, within the [shutdown timeout](crate::Builder::with_shutdown_timeout) |
//! | `std::process::exit`, `main` returns without dropping a guard (it was leaked, or is in a static) | all, within the [exit timeout](crate::Builder::with_exit_timeout): a handler of the C library's `atexit` waits for it |
//! | [`exit`](crate::exit) | the same, without relying on that handler |
//! | a panic where panics abort; a panic while another unwinds; a panic in an `extern "C"` function | all: the panic hook waits for it, within the exit timeout |
//! | `std::process::abort`, a signal, `_exit`, SIGKILL, power | nothing; with a state directory, the exceptions that are on disk (panics at once, others when they wait for names or for a receiver) are sent by the next process |
//!
//! # Invariants of the `unsafe` parts
//! 1. `atexit` has the signature that C gives it, and takes a function that lives as long as the
//!    program: a plain `fn` of this crate.
//! 2. Nothing unwinds out of that function, and nothing in it needs a thread-local value that may
//!    be gone: it parks nowhere, it sleeps and looks.
#![allow(unsafe_code)]

use std::{
    sync::{
        Arc, Mutex, Once, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use crate::{
    lock::lock,
    state::{Command, Core, Flushed, WorkerLink},
    unwind::guarded,
};

/// Ends the process with this code, as [`std::process::exit`] does, when what the installed
/// telemetry has recorded is delivered, or the [exit timeout](crate::Builder::with_exit_timeout) is
/// up. Blocks for so long. Destructors do not run.
///
/// ```no_run
/// tracing::error!("no configuration");
/// crumbtrail::exit(2);
/// ```
pub fn exit(code: i32) -> ! {
    flush_all();
    std::process::exit(code)
}

/// Every telemetry of this process that may have something to send.
static RUNNING: Mutex<Vec<Weak<Core>>> = Mutex::new(Vec::new());

/// Sends what is left when the process exits. The handler is registered once, and stays.
pub(crate) fn look_after(core: &Arc<Core>) {
    {
        let mut running = lock(&RUNNING);
        running.retain(|core| core.strong_count() > 0);
        running.push(Arc::downgrade(core));
    }
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        #[cfg(any(unix, windows))]
        // Refused, it is as if the program had been killed.
        let _ = atexit(at_exit);
    });
}

#[cfg(any(unix, windows))]
unsafe extern "C" {
    // SAFETY: invariant 1.
    safe fn atexit(handler: extern "C" fn()) -> std::ffi::c_int;
}

extern "C" fn at_exit() {
    // Invariant 2.
    let _ = guarded(flush_all);
}

/// Once: what [`exit`] has waited for the handler does not wait for again. All are told first, so
/// that together they have the time of the most patient one.
fn flush_all() {
    static IS_DONE: AtomicBool = AtomicBool::new(false);
    if IS_DONE.swap(true, Ordering::Relaxed) {
        return;
    }
    // Held by a thread that is adding to it, or by one that is no more: then it is not waited for.
    let Ok(running) = RUNNING.try_lock().map(|running| running.clone()) else { return };
    let cores: Vec<_> = running.iter().filter_map(Weak::upgrade).collect();
    let waits: Vec<_> = cores.iter().filter_map(|core| core.begin_last_flush()).collect();
    waits.into_iter().for_each(LastFlush::wait);
}

/// A flush that is under way, and until when it is waited for.
struct LastFlush {
    link: Arc<WorkerLink>,
    flushed: mpsc::Receiver<Flushed>,
    is_ending: bool,
    deadline: Instant,
}

impl LastFlush {
    fn wait(self) {
        while Instant::now() < self.deadline {
            let is_done =
                if self.is_ending { self.link.has_ended() } else { !matches!(self.flushed.try_recv(), Err(mpsc::TryRecvError::Empty)) };
            if is_done {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Core {
    /// Sends what is left, and waits for it, but not for longer than the exit timeout. Does nothing
    /// on a thread of ours, and in a forked child, whose worker is elsewhere.
    pub(crate) fn flush_at_the_end(&self) {
        if let Some(flush) = self.begin_last_flush() {
            flush.wait();
        }
    }

    fn begin_last_flush(&self) -> Option<LastFlush> {
        let link = self.links.newest();
        if self.config.exit_timeout.is_zero() || crate::state::is_own_thread() || !link.is_of_this_process() {
            return None;
        }
        let deadline = Instant::now() + self.config.exit_timeout.min(Duration::from_secs(365 * 86_400));
        let (reply, flushed) = mpsc::sync_channel(1);
        // One that is ending without a shutdown, because every handle is gone, takes no commands.
        let is_ending = self.is_closed() || link.commands.send(Command::Flush { deadline, reply }).is_err();
        Some(LastFlush { link: link.clone(), flushed, is_ending, deadline })
    }
}
