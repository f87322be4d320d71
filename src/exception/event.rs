//! Exceptions from ERROR events. Comes in: the event's record, written already. Goes out: an
//! exception, or the echo of one.

use std::sync::Arc;

use super::{
    ErrorId, Mechanism,
    draft::{CauseDraft, ERROR_FIELDS, cut_message},
    echo::Echo,
    framework, group,
    raise::raise,
    raised::Raised,
    report::Report,
    type_name::guess,
};
use crate::{
    stack::TypeAddress,
    state::{Core, SpanState},
    trail::{
        callsite::Callsite,
        record::{Record, Value, key},
    },
};

/// Makes the exception of an ERROR event, from its record, unless it is an echo.
pub(crate) fn raise_event(core: &Arc<Core>, state: Option<&SpanState>, event: &[u8]) -> Option<Echo> {
    let (record, _) = Record::split_first(event)?;
    let site = core.callsites.by_id(record.callsite)?;
    let target = if site.is_bridged() { framework::bridged_target(&record, &site.fields).unwrap_or_default() } else { site.target };
    if framework::is_framework(target)
        && let Some(echo) = framework::echo(core, state, target, record.time)
    {
        state.into_iter().for_each(|state| state.mark_failed(""));
        return Some(echo);
    }
    let mut raised = described(&record, &site);
    // The event that the macro writes is where the macro's span is.
    let of_function = |span: &Callsite| (span.file, span.line) == (site.file, site.line);
    let is_only_error = matches!(site.fields[..], [field] if ERROR_FIELDS.contains(&field));
    raised.only_error =
        is_only_error && state.and_then(|state| core.callsites.by_id(state.callsite)).is_some_and(|span| of_function(&span));
    (raised.at, raised.event, raised.level) = (u64::from(record.callsite), event, site.level);
    // The `log` crate's records share a callsite for each level: their place is in their fields.
    if site.is_bridged() {
        let origin = record.fields().filter(|(key, _)| site.fields.get(usize::from(*key)).is_some_and(|name| name.starts_with("log.")));
        let mut place = group::Fnv::new();
        for (_, value) in origin {
            match value {
                Value::Str(text) | Value::Text(text) => place.part(text),
                Value::U64(line) => place.0 = place.0.rotate_left(17) ^ line,
                _ => {}
            }
        }
        raised.at ^= place.0 << 32;
    }
    raised.key = {
        let mut key = group::Fnv::new();
        key.0 ^= raised.at;
        // Where literals cannot be told, a text is told from others by its words, as its group will be.
        let words = raised.body.as_deref().filter(|_| !core.literals.are_known()).map(group::mask);
        key.part(words.as_deref().or(raised.templates[0].as_deref()).unwrap_or_default());
        key.part(raised.templates[1].as_deref().unwrap_or_default());
        raised.links.iter().for_each(|link| link.address.0.iter().for_each(|word| key.0 = key.0.rotate_left(17) ^ word));
        raised.links.first().into_iter().for_each(|link| key.part(&link.type_name));
        key.part(&raised.variant);
        key.0
    };
    raise(core, state, ErrorId::new(), record.time, raised).err().map(|earlier| Echo(Some(earlier)))
}

/// What an ERROR event says, sorted out.
fn described<'a>(record: &Record<'_>, site: &Callsite) -> Raised<'a> {
    let mut raised = Raised::new(Mechanism::Event, Vec::new());
    let (mut text_error, mut body) = (None, None);
    for (key, value) in record.fields() {
        match (key, &value) {
            (key::DEBUG, Value::U64(debug)) => raised.debug = *debug,
            (key::VARIANT, Value::Str(text)) => raised.variant = (*text).to_owned(),
            (key::TEMPLATE, Value::Str(text)) => raised.templates[0] = Some((*text).to_owned()),
            (key::ERROR_TEMPLATE, Value::Str(text)) => raised.templates[1] = Some((*text).to_owned()),
            _ => {}
        }
        let Some(name) = site.fields.get(usize::from(key)).copied() else { continue };
        match value {
            Value::Str(text) | Value::Text(text) if name == "message" => body = Some(text),
            Value::Error { type_name, exact, links } if raised.links.is_empty() => {
                let links = links.iter().map(|link| CauseDraft {
                    address: TypeAddress(link.address),
                    message: cut_message(link.message),
                    ..CauseDraft::default()
                });
                raised.links = links.collect();
                if let Some(first) = raised.links.first_mut() {
                    (first.type_name, first.exact) = (type_name.to_owned(), exact);
                }
            }
            Value::Str(text) | Value::Text(text) if text_error.is_none() && ERROR_FIELDS.contains(&name) => {
                text_error = Some(text);
            }
            // What a program says by the way of a record is no field of its own.
            _ => raised.has_own_fields |= !name.starts_with("log."),
        }
    }
    for (name, value) in record.named() {
        match value {
            Value::Str(text) | Value::Text(text) if text_error.is_none() && ERROR_FIELDS.contains(&name) => text_error = Some(text),
            _ => raised.has_own_fields = true,
        }
    }
    raised.body = body.map(|body| cut_message(Report::parse(body).map_or(body, |report| report.message)));
    let said = text_error.or(body);
    if let Some(report) = said.filter(|_| raised.links.is_empty()).and_then(Report::parse) {
        raised.links = std::iter::once(report.message).chain(report.causes.iter().map(String::as_str)).map(CauseDraft::of_text).collect();
        raised.backtrace = report.stack.map(str::to_owned);
    }
    if raised.links.is_empty() {
        let message = cut_message(said.unwrap_or(site.name));
        let type_name = guess(&message).to_owned();
        // `DbError { code: 5 }` names its type; `Timeout` may be a message as well as a type.
        let type_name = if message.len() > type_name.len() { type_name } else { String::new() };
        raised.links.push(CauseDraft { type_name, message, ..CauseDraft::default() });
    }
    raised
}
