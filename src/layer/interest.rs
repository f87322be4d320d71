//! Which callsites are of interest, asked of every subscriber there is. Comes in: a subscriber or a
//! filter that is new. Goes out: tracing-core's cache, rebuilt.

use tracing_core::{Dispatch, callsite, subscriber::NoSubscriber};

/// Registers a subscriber. A thread without it that reaches a callsite first does not turn it off
/// for those that have it.
pub(crate) fn registered(subscriber: impl Into<Dispatch>) -> Dispatch {
    let dispatch = subscriber.into();
    ask_everyone();
    dispatch
}

/// Asks for the interest of every callsite again, and for the most verbose level; and lets those
/// asked that are reached first from now on ask everyone, too.
///
/// While only one subscriber was ever registered, tracing-core 0.1 asks the calling thread's
/// instead of the registered one. On a thread without any, it then takes the callsite for one that
/// nobody wants, on every thread and for good. So a second one is registered, and gone before
/// anybody is asked.
pub(crate) fn ask_everyone() {
    drop(Dispatch::new(NoSubscriber::new()));
    callsite::rebuild_interest_cache();
}
