//! Panics, on any thread: a hook before the one that was there.
//!
//! A panic within a hook aborts the process, so nothing here can panic, nothing runs user code, and nothing waits: the locks it takes are held for a copy and never across user code.

use std::{
    panic::PanicHookInfo,
    sync::{Arc, Weak},
};

use super::{ErrorId, Link, MAX_MESSAGE, Mechanism, Place, Raised, group_of, raise};
use crate::{
    clock::now,
    layer::{self, core::Core},
    stack,
    trail::record::floor_char_boundary,
};

/// Puts our hook before the present one, which still runs. It stays for the life of the process and does nothing once the telemetry is gone.
pub(crate) fn install_hook(core: &Arc<Core>) {
    // From a panicking thread the hook cannot be changed; the standard library would panic.
    if std::thread::panicking() {
        return;
    }
    let core = Arc::downgrade(core);
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(&core, info);
        previous(info);
    }));
}

fn report(core: &Weak<Core>, info: &PanicHookInfo<'_>) {
    let Some(core) = core.upgrade().filter(|core| !core.is_closed()) else { return };
    if layer::is_own_thread() {
        return;
    }
    let payload = info.payload();
    let payload = payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic whose payload is not a string");
    let message = payload[..floor_char_boundary(payload, MAX_MESSAGE)].to_owned();
    let place = info.location().map(Place::from);
    let links = vec![Link { type_name: "panic".to_owned(), message }];
    let group =
        group_of(Mechanism::Panic, &links, place.as_ref().map_or("", |place| &place.file), links.first().map(|link| link.message.as_str()));
    let state = layer::current_state(&core);
    raise(
        &core,
        state.as_ref(),
        ErrorId::new(),
        now(),
        Raised {
            mechanism: Mechanism::Panic,
            body: None,
            links,
            exact: true,
            group,
            event: Vec::new(),
            place,
            frames: if core.stacktraces { stack::capture() } else { Box::default() },
        },
    );
}
