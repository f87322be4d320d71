//! A forked child's link: what is recorded there goes to a worker of its own. Comes in: whoever
//! records. Goes out: the link of this process, made where there is none yet.

use std::sync::{Arc, atomic::Ordering};

use super::{Core, WorkerLink};
use crate::fork;

impl Core {
    /// In a forked child, for the first time: what is recorded from now on goes to a worker of its
    /// own.
    #[inline]
    pub(crate) fn notice_fork(self: &Arc<Self>) {
        if self.links.are_the_parents() {
            self.link_here();
        }
    }

    /// The link of this process. Asks the system which process this is; in a forked child it starts
    /// afresh.
    pub(crate) fn link_here(self: &Arc<Self>) -> &Arc<WorkerLink> {
        let link = self.links.newest();
        if link.is_of_this_process() {
            return link;
        }
        if link.generation == fork::generation() {
            fork::unseen();
        }
        self.restart(link)
    }

    #[cold]
    fn restart<'a>(self: &'a Arc<Self>, parents: &'a WorkerLink) -> &'a Arc<WorkerLink> {
        let link = parents.next.get_or_init(|| {
            if let Some(run) = parents.on_fork.get() {
                run();
            }
            self.storm.begin_anew();
            WorkerLink::new(self.config.outbox_memory)
        });
        self.links.generation.store(link.generation, Ordering::Relaxed);
        // When it can be found: the worker looks for it, too.
        link.started.call_once(|| {
            if !self.is_closed()
                && let Err(error) = (self.start)(self, link)
            {
                crate::diagnose(format_args!("nothing is exported from the forked process {}: {error}", std::process::id()));
                link.outboxes.close();
            }
        });
        link
    }
}
