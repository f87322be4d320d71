//! Whom a request is for, on its logs and spans. Comes in: fields of root spans, the scope. Goes
//! out: `user.*` on records that are to say so.

use crate::{
    AttributeValue, User, scope,
    state::Core,
    trail::{
        Trail,
        callsite::{Callsite, feeds},
        record::{self, Record},
    },
};

/// A root span's fields may say who its request is for. An exception finds them in the span; logs
/// and spans look in the scope.
pub(super) fn set_user_of(trail: &Trail, record: &[u8], feeds: u8, site: Option<&Callsite>) {
    if let (Some(site), Some((record, _))) = (site.filter(|_| feeds & feeds::SCOPE != 0), Record::split_first(record)) {
        trail.scope().change(|data| data.take_span(&record, &site.fields));
    }
}

/// Adds who a log record is for; `length` is the record's without padding.
#[cold]
pub(super) fn append(buf: &mut Vec<u8>, length: usize, core: &Core, trail: Option<&Trail>) {
    buf.truncate(length);
    append_to(buf, core, trail);
    record::seal(buf);
}

/// It says itself who it is for.
pub(super) fn is_named_by(site: &Callsite) -> bool {
    site.fields.iter().any(|field| scope::is_of_user(field))
}

pub(super) fn append_to(buf: &mut Vec<u8>, core: &Core, trail: Option<&Trail>) {
    let of_request = trail.and_then(|trail| trail.scope().get()).filter(|data| data.user.is_some() || data.denies_user());
    let Some(data) = of_request.or_else(|| core.process_scope.get()) else { return };
    for (key, value) in data.user.iter().flat_map(User::attributes) {
        record::append_str(buf, record::key::NAME, key);
        match value {
            AttributeValue::Array(values) => {
                record::append_list(buf, record::key::VALUE, &values.iter().map(ToString::to_string).collect::<Vec<_>>());
            }
            value => record::append_str(buf, record::key::VALUE, &value.to_string()),
        }
    }
}
