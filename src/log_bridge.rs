//! Records of the `log` crate. Comes in: what libraries log there. Goes out: `tracing` events of
//! the same level, with their `key = value` pairs, which `tracing-log` leaves out.
//!
//! The event is `tracing-log`'s, so every layer knows it; ours finds the pairs on the thread while
//! the event is under way.

use std::cell::RefCell;

use log::kv::{Key, Value, VisitSource, VisitValue};

use crate::AttributeValue;

/// Pairs of one record at most.
const MAX_PAIRS: usize = 64;

thread_local! {
    static PAIRS: RefCell<Vec<(String, AttributeValue)>> = const { RefCell::new(Vec::new()) };
}

struct Bridge;

/// Makes this the logger of the process. `false`: there is another.
pub(crate) fn install() -> bool {
    static BRIDGE: Bridge = Bridge;
    if log::set_logger(&BRIDGE).is_err() {
        return false;
    }
    use tracing_log::AsLog as _;
    // What the subscriber wants that has just been installed.
    log::set_max_level(tracing_core::LevelFilter::current().as_log());
    true
}

/// The pairs of the record whose event is under way, once.
pub(crate) fn take_pairs() -> Vec<(String, AttributeValue)> {
    PAIRS.try_with(|pairs| pairs.try_borrow_mut().map(|mut pairs| std::mem::take(&mut *pairs)).unwrap_or_default()).unwrap_or_default()
}

impl log::Log for Bridge {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        use tracing_log::AsTrace as _;
        tracing_core::dispatcher::get_default(|dispatch| dispatch.enabled(&metadata.as_trace()))
    }

    fn log(&self, record: &log::Record<'_>) {
        if crate::layer::is_unheard(record.target()) {
            return;
        }
        // The program's code may show its values, and log: nothing is borrowed.
        let mut pairs = Pairs(Vec::new());
        let _ = record.key_values().visit(&mut pairs);
        // A record may be made while another is shown.
        let outer = PAIRS.try_with(|kept| kept.replace(pairs.0)).unwrap_or_default();
        let _ = tracing_log::format_trace(record);
        // Where no layer of ours has taken them, they go.
        let _ = PAIRS.try_with(|kept| kept.replace(outer));
    }

    fn flush(&self) {}
}

struct Pairs(Vec<(String, AttributeValue)>);

impl<'kvs> VisitSource<'kvs> for Pairs {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
        if self.0.len() < MAX_PAIRS {
            let mut kept = Kept(None);
            let _ = crate::unwind::guarded(|| value.visit(&mut kept));
            self.0.extend(kept.0.map(|value| (key.as_str().to_owned(), value)));
        }
        Ok(())
    }
}

struct Kept(Option<AttributeValue>);

impl<'value> VisitValue<'value> for Kept {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), log::kv::Error> {
        self.0 = Some(crate::text::shown(format_args!("{value}"), 8 * 1024, None).into());
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), log::kv::Error> {
        self.0 = Some(value.into());
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), log::kv::Error> {
        self.0 = Some(value.into());
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), log::kv::Error> {
        self.0 = Some(value.into());
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), log::kv::Error> {
        self.0 = Some(value.into());
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), log::kv::Error> {
        self.0 = Some(value.into());
        Ok(())
    }
}
