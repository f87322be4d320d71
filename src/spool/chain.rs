//! The segments of one signal, and the spool as a whole. Comes in: requests. Goes out: tickets to
//! them; and those of processes that are gone.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    Adopted, Entry, Limits, Moment,
    dir::{RunDir, StateDir, Unusable},
    frame::HEADER,
    segment::{Segment, Ticket},
};
use crate::{failpoint::step, ledger::RecordKind, lock::lock};

/// After a failure to write, the next attempt.
const RETRY: Duration = Duration::from_secs(5);

/// The spool of this process: its directory, and one chain for each signal that is spooled.
pub(crate) struct Spool {
    state: Arc<StateDir>,
    run: Arc<RunDir>,
    limits: Limits,
    signals: [bool; RecordKind::ALL.len()],
    bytes: [Arc<AtomicU64>; RecordKind::ALL.len()],
    /// The segment exceptions go to now. Open from the start: a process that is out of file
    /// descriptors can still write to it.
    exceptions: Arc<Mutex<Option<Arc<Segment>>>>,
    /// What has been said of others' files: once is enough.
    said: Mutex<BTreeSet<String>>,
}

impl Spool {
    /// Opens the state directory and makes one in it for this process.
    ///
    /// # Errors
    /// Why the directory cannot be used, in words.
    pub(crate) fn open(path: &Path, limits: Limits, signals: [bool; RecordKind::ALL.len()]) -> Result<Self, String> {
        let problem =
            |error: Unusable| format!("the state directory {} is not used, so nothing survives this process: {error}", path.display());
        let state = Arc::new(StateDir::open(path).map_err(problem)?);
        let run = Arc::new(state.create_run().map_err(problem)?);
        let bytes: [Arc<AtomicU64>; RecordKind::ALL.len()] = Default::default();
        let first =
            Segment::create(run.clone(), RecordKind::Exceptions, 1, bytes[RecordKind::Exceptions as usize].clone()).map_err(problem)?;
        Ok(Self { state, run, limits, signals, bytes, exceptions: Arc::new(Mutex::new(Some(Arc::new(first)))), said: Mutex::default() })
    }

    /// Where a signal's requests go; `None` if it is not spooled.
    pub(crate) fn chain(&self, signal: RecordKind) -> Option<Chain> {
        let current = match signal {
            RecordKind::Exceptions => self.exceptions.clone(),
            _ => Arc::default(),
        };
        self.signals[signal as usize].then(|| Chain {
            signal,
            run: self.run.clone(),
            limits: self.limits,
            bytes: self.bytes[signal as usize].clone(),
            current,
            number: 1,
            failed: None,
        })
    }

    /// For the panic hook.
    pub(crate) fn writer(&self) -> Writer {
        Writer { current: self.exceptions.clone(), bytes: self.bytes[RecordKind::Exceptions as usize].clone(), limits: self.limits }
    }

    /// Takes over the directories whose owner is gone. Calls back with every request that waits in
    /// them, and every place that is damaged.
    pub(crate) fn adopt(&self, take: &mut dyn FnMut(RecordKind, Adopted)) {
        adopt_all(&self.state, self.limits.age, &self.said, take);
    }

    /// In a forked child: all of this is the parent's.
    pub(crate) fn disown(&self) {
        self.run.disown();
        // Whoever held it at the fork does not run here, and waiting would be for ever.
        if let Ok(mut current) = self.exceptions.try_lock() {
            // Its file stays open for as long as the parent's worker, which does not run here, would have held it.
            std::mem::forget(current.take());
        }
    }
}

/// What [`Spool::adopt`] does, for whoever has no spool of their own.
pub(super) fn adopt_all(state: &Arc<StateDir>, age: Duration, said: &Mutex<BTreeSet<String>>, take: &mut dyn FnMut(RecordKind, Adopted)) {
    let diagnose_once = |what: String| {
        if lock(said).insert(what.clone()) {
            crate::diagnose(format_args!("{what}"));
        }
    };
    let abandoned = match state.abandoned() {
        Ok(abandoned) => abandoned,
        Err(error) => return diagnose_once(format!("{} cannot be searched: {error}", state.path().display())),
    };
    for run in abandoned {
        let run = Arc::new(run);
        step("spool::adopt");
        for name in run.names().unwrap_or_default() {
            let Some(signal) = signal_of(&name) else { continue };
            let mut damaged = 0;
            let adopted = Segment::adopt(run.clone(), name.clone()).and_then(|segment| {
                Ok(Arc::new(segment).adopted(age, &mut |signal, found| {
                    damaged += u64::from(matches!(found, Adopted::Damaged(_)));
                    take(signal, found);
                })?)
            });
            let place = || format!("{}/{} ({})", run.name(), name, signal.as_str());
            match adopted {
                Ok(()) if damaged == 0 => {}
                Ok(()) => {
                    diagnose_once(format!("{} of an earlier process is damaged in {damaged} places; what was there is lost", place()))
                }
                Err(error) => diagnose_once(format!("{} of an earlier process is left alone: {error}", place())),
            }
        }
    }
}

/// Writes exceptions from any thread, a panic hook's too: no lock is held but for the copy of a
/// pointer, nothing waits for the disk.
pub(crate) struct Writer {
    current: Arc<Mutex<Option<Arc<Segment>>>>,
    bytes: Arc<AtomicU64>,
    limits: Limits,
}

impl Writer {
    /// `None`: there is no room, or it cannot be written.
    pub(crate) fn append(&self, request: &[u8]) -> Option<Ticket> {
        // One file more than the worker may write: what it has not had the time to make room for.
        let room = self.limits.bytes.saturating_add(self.limits.segment());
        if self.bytes.load(Ordering::Relaxed).saturating_add((request.len() + HEADER) as u64) > room {
            return None;
        }
        step("spool::hook::before");
        // Twice, as the worker may just be going on to the next segment.
        let ticket = (0..2).find_map(|_| {
            let segment = lock(&self.current).clone()?;
            let entry = Entry { payload: request, records: 1, written: Moment::now() };
            segment.append(RecordKind::Exceptions, entry, self.limits.age).ok()
        });
        step("spool::hook::after");
        ticket
    }
}

/// One signal's segments. Only the worker has it.
pub(crate) struct Chain {
    signal: RecordKind,
    run: Arc<RunDir>,
    limits: Limits,
    /// On disk now.
    bytes: Arc<AtomicU64>,
    current: Arc<Mutex<Option<Arc<Segment>>>>,
    number: u32,
    failed: Option<Instant>,
}

impl Chain {
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.bytes.load(Ordering::Relaxed).saturating_add((bytes + HEADER) as u64) <= self.limits.bytes
    }

    /// Writes a request. `None`: it cannot be written; that is said once, and tried again after a
    /// while.
    pub(crate) fn append(&mut self, entry: Entry<'_>) -> Option<Ticket> {
        if self.failed.is_some_and(|failed| failed.elapsed() < RETRY) {
            return None;
        }
        match self.segment().and_then(|segment| Ok(segment.append(self.signal, entry, self.limits.age)?)) {
            Ok(ticket) => {
                if self.failed.take().is_some() {
                    crate::diagnose(format_args!("the spool can be written to again"));
                }
                Some(ticket)
            }
            Err(error) => {
                if self.failed.replace(Instant::now()).is_none() {
                    let signal = self.signal.as_str();
                    crate::diagnose(format_args!("{signal} cannot be written to the spool and wait in memory only: {error}"));
                }
                None
            }
        }
    }

    /// The segment to write to; a new one when the last is full. The last stays where a new one
    /// cannot be made: the panic hook has nothing else.
    fn segment(&mut self) -> Result<Arc<Segment>, Unusable> {
        let current = lock(&self.current).clone();
        // After a failure, a file of its own: the present one may be the reason.
        if let Some(segment) = current.as_ref().filter(|segment| segment.length() < self.limits.segment() && self.failed.is_none()) {
            return Ok(segment.clone());
        }
        self.number += 1;
        let fresh = match Segment::create(self.run.clone(), self.signal, self.number, self.bytes.clone()) {
            Ok(fresh) => Arc::new(fresh),
            // Out of file descriptors, say: there is still room behind the mark.
            Err(error) => return current.filter(|_| self.failed.is_none()).ok_or(error),
        };
        let full = lock(&self.current).replace(fresh.clone());
        full.iter().for_each(|full| full.seal());
        Ok(fresh)
    }

    /// If nothing waits in the present segment it goes, and its room with it.
    pub(crate) fn seal_if_idle(&mut self) {
        let mut current = lock(&self.current);
        if current.as_ref().is_some_and(|segment| segment.is_idle() && segment.length() > 0) {
            current.take().iter().for_each(|segment| segment.seal());
        }
    }

    /// No more is added to the present segment.
    fn seal(&mut self) {
        let current = lock(&self.current).take();
        current.iter().for_each(|segment| segment.seal());
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.seal();
    }
}

/// `exceptions-00000001.seg`
fn signal_of(name: &str) -> Option<RecordKind> {
    let (signal, number) = name.strip_suffix(".seg")?.split_once('-')?;
    let numbered = number.len() == 8 && number.bytes().all(|byte| byte.is_ascii_digit());
    RecordKind::ALL.into_iter().find(|known| numbered && known.as_str() == signal)
}
