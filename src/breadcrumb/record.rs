//! Breadcrumbs that are left by hand, by exceptions and by calls. Comes in: a breadcrumb that is
//! yet to be made. Goes out: its record, into the trail.

use crate::{
    AttributeValue, Breadcrumb, breadcrumb,
    clock::now,
    scope,
    state::{Core, SpanState, thread},
    trail::{
        encode::{Encoder, Limits},
        record::{self, Kind, SpanIds},
    },
};

/// Adds a breadcrumb to the trail of a span's request; `of_exception`: an exception's own, which
/// does not count as something that happened since.
pub(crate) fn leave_breadcrumb(core: &Core, state: &SpanState, of_exception: bool, make: impl FnOnce() -> Breadcrumb) {
    let Some(trail) = state.trail() else { return };
    let _ = thread::with(|thread| {
        // The program's code, which may log: nothing of ours is held.
        let crumb = make();
        let mut buf = thread.take_scratch();
        let mut encoder = Encoder::new(&mut buf, Kind::Crumb, record::NO_CALLSITE, now(), Limits::default()).with_scrubber(&core.scrubber);
        encoder.str(record::key::CATEGORY, &crumb.category);
        encoder.str(record::key::MESSAGE, &crumb.message);
        encoder.u64(record::key::LEVEL, breadcrumb::number_of(crumb.level));
        for (key, value) in crumb.data {
            let value = scope::clean_value(&core.scrubber, &key, value);
            write_named(&mut encoder, &core.scrubber.scrub(&key), &value);
        }
        if encoder.failed() {
            core.fault_of_rule();
        } else {
            encoder.finish();
            record::stamp_ids(&mut buf, SpanIds { parent: 0, ..state.ids });
            if of_exception { trail.push_quietly(&buf) } else { trail.push(&buf) }
        }
        thread.return_scratch(buf);
    });
}

/// Writes the pairs of a record of the `log` crate.
#[cfg(feature = "log")]
pub(crate) fn write_pairs(encoder: &mut Encoder<'_>, scrubber: &crate::scrub::Scrubber, pairs: Vec<(String, AttributeValue)>) {
    for (key, value) in pairs {
        let value = scope::clean_value(scrubber, &key, value);
        write_named(encoder, &scrubber.scrub(&key), &value);
    }
}

/// Writes a field that no callsite knows. Name and value are clean already.
pub(crate) fn write_named(encoder: &mut Encoder<'_>, name: &str, value: &AttributeValue) {
    encoder.named(name, |encoder, key| match value {
        AttributeValue::Bool(value) => encoder.bool(key, *value),
        AttributeValue::I64(value) => encoder.i64(key, *value),
        AttributeValue::F64(value) => encoder.f64(key, *value),
        AttributeValue::Str(value) => encoder.str(key, value),
        AttributeValue::Array(_) => encoder.str(key, &value.to_string()),
    });
}
