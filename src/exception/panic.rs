//! Panics, on any thread: a hook before the one that was there.
//!
//! A panic within a hook aborts the process, so nothing here can panic, nothing runs user code, and
//! nothing waits: the locks it takes are held for a copy and never across user code.

use std::{
    panic::PanicHookInfo,
    sync::{Arc, Mutex, Weak, atomic::Ordering},
};

use super::{
    CauseDraft, ErrorId, Mechanism, SourceLocation,
    draft::MAX_MESSAGE,
    group::{Fnv, standard_panic},
    raise::raise,
    raised::Raised,
    raised::place_number,
};
use crate::{
    clock::now,
    lock::lock,
    scrub::SLACK,
    state::{self, Core, thread},
    text::cut,
};

/// Puts our hook before the present one, which still runs. It stays for the life of the process and
/// does nothing once the telemetry is gone.
pub(crate) fn install_hook(core: &Arc<Core>) {
    // From a panicking thread the hook cannot be changed; the standard library would panic.
    if std::thread::panicking() {
        return;
    }
    core.has_panic_hook.store(true, Ordering::Relaxed);
    let core = Arc::downgrade(core);
    chain(|previous| {
        Box::new(move |info| {
            report(&core, info);
            previous(info);
        })
    });
}

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// Taking and setting are two steps: between them, another of ours would be lost.
fn chain(hook: impl FnOnce(Hook) -> Hook) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = lock(&ONE_AT_A_TIME);
    std::panic::set_hook(hook(std::panic::take_hook()));
}

fn report(core: &Weak<Core>, info: &PanicHookInfo<'_>) {
    let Some(core) = core.upgrade().filter(|core| !core.is_closed()) else { return };
    if state::is_own_thread() {
        return;
    }
    take(&core, info);
}

/// Puts a hook before the present one, which still runs, that reports a panic to the telemetry
/// whose scope it happens in, if that one takes them ([`testing`](crate::testing)). Once for the
/// process.
#[cfg(feature = "testing")]
pub(crate) fn install_scoped_hook() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        chain(|previous| {
            Box::new(move |info| {
                let core =
                    state::active::scoped_core().filter(|core| core.takes_scoped_panics && !core.is_closed() && !state::is_own_thread());
                core.iter().for_each(|core| take(core, info));
                previous(info);
            })
        });
    });
}

/// What the runtime says of a panic while another unwinds, and of one in a function that is not to
/// unwind. The process aborts behind it.
const LAST_WORDS: [&str; 2] = ["panic in a destructor during cleanup", "panic in a function that cannot unwind"];

fn take(core: &Arc<Core>, info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let literal = payload.downcast_ref::<&'static str>().copied();
    let text = literal.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic whose payload is not a string");
    let text = cut(text, MAX_MESSAGE + SLACK);
    // The program's own rules are its own code, which must not run here.
    let message = cut(&core.scrubber.text_without_rules(text), MAX_MESSAGE).to_owned();
    let place = place_number(info.location());
    let group = {
        let mut key = Fnv(place);
        key.part(literal.unwrap_or_default());
        key.0
    };
    let state = state::current_state(core);
    let mut raised =
        Raised::new(Mechanism::Panic, vec![CauseDraft { type_name: "panic".to_owned(), exact: true, message, ..CauseDraft::default() }]);
    raised.place = info.location().map(SourceLocation::from);
    raised.templates[1] = literal.or_else(|| standard_panic(text)).map(str::to_owned);
    raised.unfinished = core.scrubber.has_rules();
    (raised.at, raised.key) = (place, group);
    let id = ErrorId::new();
    if std::thread::current().name() == Some("main") {
        core.main_panics(id);
    }
    thread::count_panic();
    // These come from the runtime when it cannot unwind any further.
    let is_end = cfg!(panic = "abort") || LAST_WORDS.contains(&text);
    raised.fatal = is_end;
    let _ = raise(core, state.as_deref(), id, now(), raised);
    if is_end {
        core.flush_at_the_end();
    }
}
