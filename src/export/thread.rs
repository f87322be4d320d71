//! The worker's thread: one OS thread with its own current-thread runtime; no host runtime is
//! needed, used or blocked. Started with the telemetry, and again in a forked child.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak, atomic::Ordering},
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::resource::v1::Resource;

use super::{
    AtOnce,
    config::{SpoolConfig, WorkerParts},
    resource, spool_at_once,
    worker::{ProcessParts, Worker},
};
use crate::{
    ledger::RecordKind,
    lock::lock,
    spool::Spool,
    stack::resolve::ModuleMap,
    state::{self, Core, WorkerLink},
};

/// Lost handles and layers are noticed by this: while there is one, the worker runs.
pub(crate) struct Alive;

/// Starts the thread, at the other end of `link`.
///
/// # Errors
/// The operating system refuses the thread or what its runtime needs.
pub(crate) fn start(core: &Arc<Core>, link: &Arc<WorkerLink>, parts: &Arc<WorkerParts>, alive: &Weak<Alive>) -> io::Result<()> {
    let runtime = runtime()?;
    let resource = resource::of_this_process(&parts.resource);
    let modules = Arc::new(ModuleMap::of_this_process());
    let spool = parts.config.spool.as_ref().and_then(|spool| {
        let at_once = AtOnce { modules: modules.clone(), own: parts.own.clone(), withholds: !parts.hooks.is_empty() };
        open_spool(spool, core, link, &resource, at_once)
    });
    let Some(commands) = link.take_receiver() else { return Err(io::Error::other("it has been started already")) };
    let ended = Ended { core: core.clone(), link: link.clone() };
    let of_process = ProcessParts { link: link.clone(), commands, spool, resource, modules };
    let (core, parts, alive) = (core.clone(), parts.clone(), alive.clone());
    let thread = std::thread::Builder::new().name("crumbtrail".to_owned()).spawn(move || {
        state::mark_own_thread();
        // There, it is of the calling thread alone. Where it is refused, the worker is as important as others.
        #[cfg(target_os = "linux")]
        let _ = (parts.config.niceness != 0).then(|| rustix::process::nice(parts.config.niceness));
        let ended = ended;
        let worker_runtime = WorkerRuntime { local: tokio::task::LocalSet::new(), runtime };
        let mut worker = worker_runtime.local.block_on(&worker_runtime.runtime, async { Worker::new(core, of_process, parts, alive) });
        worker_runtime.work(&mut worker, &ended.core);
    })?;
    *lock(&link.worker) = Some(thread);
    Ok(())
}

/// What the worker runs on; another if the host has taken it away.
struct WorkerRuntime {
    local: tokio::task::LocalSet,
    runtime: tokio::runtime::Runtime,
}

impl WorkerRuntime {
    /// Runs the worker to its end. A panic in it is ours: it is counted, and the worker goes on.
    fn work(mut self, worker: &mut Worker, core: &Core) {
        let mut faults = 0;
        loop {
            let began = Instant::now();
            if catch_unwind(AssertUnwindSafe(|| self.local.block_on(&self.runtime, worker.run()))).is_ok() {
                break;
            }
            core.fault("exporting");
            faults = if began.elapsed() > Duration::from_secs(10) { 1 } else { faults + 1 };
            std::thread::sleep(Duration::from_millis(10 << faults.min(7)));
            if faults >= 3
                && let Ok(runtime) = runtime()
            {
                // Perhaps the host has closed the runtime's descriptors. Their numbers may be others' by now: what held them is not dropped, lest those be closed.
                let fresh = Self { local: tokio::task::LocalSet::new(), runtime };
                std::mem::forget(std::mem::replace(&mut self, fresh));
                self.local.block_on(&self.runtime, async { worker.restart() });
            }
        }
        drop(self.local);
        // A blocking look-up of a name may be under way; it must not hold up the process.
        self.runtime.shutdown_background();
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().on_thread_start(state::mark_own_thread).build()
}

/// Opens the spool; without it everything works, in memory.
fn open_spool(config: &SpoolConfig, core: &Arc<Core>, link: &WorkerLink, resource: &Resource, at_once: AtOnce) -> Option<Arc<Spool>> {
    let spool = Spool::open(&config.path, config.limits, RecordKind::ALL.map(|kind| config.takes(kind))).map(Arc::new);
    let spool = spool.map_err(|problem| crate::diagnose(format_args!("{problem}"))).ok()?;
    let (writer, resource) = (spool.writer(), resource.clone());
    let core = Arc::downgrade(core);
    link.spool_by(Box::new(move |draft| spool_at_once(&core.upgrade()?, &resource, &at_once, &writer, draft)));
    let weak = Arc::downgrade(&spool);
    link.on_fork(move || weak.upgrade().iter().for_each(|spool| spool.disown()));
    Some(spool)
}

/// However the thread ends: nothing is recorded that nobody would send.
struct Ended {
    core: Arc<Core>,
    link: Arc<WorkerLink>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.core.close();
        self.link.outboxes.close();
        self.link.has_ended.store(true, Ordering::Release);
    }
}
