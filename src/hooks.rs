//! The program's own code that sees exceptions and breadcrumbs before they leave. It runs on the
//! worker's thread, under none of our locks; a panic in it costs the record it met.

use std::{fmt, ops::ControlFlow, sync::Arc};

use crate::{Breadcrumb, Exception, fork::Once, ledger::LossReason, scrub::Scrubber, unwind::guarded};

type BeforeSend = Arc<dyn Fn(&mut Exception) -> ControlFlow<()> + Send + Sync>;
type BeforeBreadcrumb = Arc<dyn Fn(&mut Breadcrumb) -> ControlFlow<()> + Send + Sync>;

/// See [`Builder::with_before_send`](crate::Builder::with_before_send).
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    before_send: Option<BeforeSend>,
    before_breadcrumb: Option<BeforeBreadcrumb>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}

impl Hooks {
    pub(crate) fn set_before_send(&mut self, hook: impl Fn(&mut Exception) -> ControlFlow<()> + Send + Sync + 'static) {
        self.before_send = Some(Arc::new(hook));
    }

    pub(crate) fn set_before_breadcrumb(&mut self, hook: impl Fn(&mut Breadcrumb) -> ControlFlow<()> + Send + Sync + 'static) {
        self.before_breadcrumb = Some(Arc::new(hook));
    }

    /// Nothing of the program's own has to see an exception first.
    pub(crate) fn is_empty(&self) -> bool {
        self.before_send.is_none() && self.before_breadcrumb.is_none()
    }

    /// Asks all of them.
    ///
    /// # Errors
    /// Why there is to be no record.
    pub(crate) fn apply(&self, exception: &mut Exception) -> Result<(), LossReason> {
        if let Some(hook) = &self.before_breadcrumb {
            let before = exception.breadcrumbs.len();
            exception.breadcrumbs.retain(|crumb| match guarded(|| hook(crumb)) {
                Some(verdict) => verdict.is_continue(),
                None => {
                    diagnose_once("before_breadcrumb");
                    false
                }
            });
            exception.left_out += before - exception.breadcrumbs.len();
        }
        let Some(hook) = &self.before_send else { return Ok(()) };
        match guarded(|| hook(exception)) {
            Some(ControlFlow::Continue(())) => Ok(()),
            Some(ControlFlow::Break(())) => Err(LossReason::Filtered),
            None => {
                diagnose_once("before_send");
                Err(LossReason::CallbackError)
            }
        }
    }
}

/// The rules that could not be asked where the exception was raised.
///
/// # Errors
/// A rule panicked.
pub(crate) fn finish_scrubbing(exception: &mut Exception, scrubber: &Scrubber) -> Result<(), LossReason> {
    let texts = exception.causes.iter_mut().map(|cause| &mut cause.message).chain(&mut exception.thread_name);
    for text in texts {
        *text = scrubber.text(text).map_err(|_| LossReason::ScrubberFailed)?.into_owned();
    }
    Ok(())
}

fn diagnose_once(hook: &str) {
    static SAID: Once = Once::new();
    SAID.call_once(|| crate::diagnose(format_args!("the hook {hook} panicked; what it was to see is dropped and counted")));
}
