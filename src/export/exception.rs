//! A draft becomes an exception as hooks and tests see it: names for its frames and types, its
//! group, what is known of request and process, its breadcrumbs.

use std::borrow::Cow;

use super::{breadcrumbs, callsites::Callsites, log::Source};
use crate::{
    Exception, User,
    attribute::attribute_of,
    breadcrumb::Breadcrumbs,
    exception::Cause,
    exception::{
        Draft, ERROR_FIELDS, Mechanism,
        group::{Grouping, mask, portable_path, raising_function},
        storm::Labels,
    },
    scope::ScopeData,
    stack::{
        in_app::OwnCrates,
        resolve::{ModuleMap, Resolver},
    },
    text::cut,
    trail::record::{Record, Value, key},
};

/// How frames get their names.
pub(crate) enum Names<'a> {
    /// From debug information, which may take a while.
    Resolved(&'a mut Resolver),
    /// Not at all: their places in the binaries will do. For a record that may have to be the last.
    Bare(&'a ModuleMap),
}

/// Makes the exception. `known` is what its group was called when it had a stack, for those that
/// have none. No user code runs, and nothing in here panics: the panic hook is among the callers.
pub(crate) fn from_draft(draft: &Draft, callsites: &mut Callsites, names: Names<'_>, own: &OwnCrates) -> Exception {
    let (mut frames, unresolved, causes, literal_texts) = match names {
        Names::Resolved(resolver) => {
            let literal = draft.opaque_texts().map(|text| text.is_some_and(|text| resolver.is_literal(text)));
            (resolver.stack(&draft.frames), false, causes(draft, Some(resolver)), literal)
        }
        Names::Bare(modules) => (modules.stack(&draft.frames), !draft.frames.is_empty(), causes(draft, None), [false; 2]),
    };
    let raised_in = raising_function(&frames, draft.place.as_ref().map(|place| (place.file.as_str(), place.line))).map(str::to_owned);
    let errors_own = draft.backtrace.as_deref().map(|text| Resolver::parse(own, text)).filter(|frames| !frames.is_empty());
    let errors_own_stack = errors_own.is_some();
    frames = errors_own.unwrap_or(frames);

    let mut exception = Exception {
        id: draft.id,
        time: draft.time,
        mechanism: draft.mechanism,
        fatal: draft.fatal,
        level: draft.level,
        ids: draft.ids,
        target: "crumbtrail".to_owned(),
        body: draft.body.clone(),
        causes,
        frames,
        unresolved: unresolved && !errors_own_stack,
        wraps: draft.wraps,
        preceding: draft.preceding,
        provisional: unresolved,
        errors_own_stack,
        breadcrumbs: Breadcrumbs::default(),
        left_out: 0,
        user: None,
        session: None,
        attributes: Vec::new(),
        flags: Vec::new(),
        attachments: draft.attachments.clone(),
        group: crate::exception::GroupId::explicit(""),
        coarse: crate::exception::GroupId::explicit(""),
        place: draft.place.clone(),
        thread_name: draft.thread_name.clone(),
        thread_id: draft.thread_id,
        suppressed: draft.suppressed,
        lean: draft.lean,
        truncated: false,
        dropped: 0,
    };
    // The process's word first, the request's over it, the event's own over both. The root span's fields are the request's, but what is said by hand wins.
    let [process, request] = draft.scopes.each_ref().map(Option::as_deref);
    process.into_iter().for_each(|scope| add_scope(&mut exception, scope));
    let (within, root) = draft.open_spans.split_at(draft.open_spans.len().saturating_sub(usize::from(draft.has_root)));
    root.iter().for_each(|span| add_span_fields(&mut exception, span, true, callsites));
    request.into_iter().for_each(|scope| add_scope(&mut exception, scope));
    within.iter().rev().for_each(|span| add_span_fields(&mut exception, span, false, callsites));
    let field_names = add_event(&mut exception, draft, callsites);
    (exception.group, exception.coarse) = group(draft, &exception, &field_names, raised_in.as_deref(), literal_texts);
    if let Some(details) = draft.details.as_deref() {
        details.tags.iter().for_each(|(key, value)| exception.set_attribute(key.as_str(), value.clone()));
        details.group.iter().for_each(|group| exception.set_group(group));
    }
    (exception.breadcrumbs, exception.left_out) = breadcrumbs::of(draft, callsites);
    exception
}

/// What a group is called in the metric.
pub(crate) fn labels(exception: &Exception) -> Labels {
    let exact = exception.causes.first().is_some_and(|cause| cause.exact);
    Labels { type_name: exception.type_name().to_owned(), exact, group: exception.group(), coarse: exception.coarse_group() }
}

/// The error and its causes, with the types that are known by now.
fn causes(draft: &Draft, mut resolver: Option<&mut Resolver>) -> Vec<Cause> {
    let mut named = |link: &crate::exception::CauseDraft| {
        let found = if link.exact { None } else { resolver.as_mut()?.type_of(link.address) };
        found.filter(|_| link.address != Default::default())
    };
    let cause = |link| {
        let (type_name, exact) = named(link).unwrap_or_else(|| (link.type_name.clone(), link.exact));
        Cause { type_name: readable_type(&type_name).to_owned(), exact, message: link.message.clone() }
    };
    draft.links.iter().map(cause).collect()
}

/// The inner types of error libraries say less than the libraries' names.
fn readable_type(name: &str) -> &str {
    match name {
        name if name.starts_with("anyhow::") => "anyhow::Error",
        name if name.starts_with("eyre::") => "eyre::Report",
        // What `"text".into()` makes.
        name if name.ends_with("::StringError") && name.contains("alloc::boxed::") => "alloc::string::String",
        name => name,
    }
}

/// Whether a type says nothing of the defect.
fn is_opaque(name: &str) -> bool {
    name.is_empty() || name.ends_with("StringError") || matches!(name, "anyhow::Error" | "eyre::Report" | "alloc::string::String" | "&str")
}

/// See [`crate::exception::group`]. `raised_in`: the own function that raised it, if it has a name.
/// `literal`: whether what message and error say is a literal after all.
fn group(
    draft: &Draft,
    exception: &Exception,
    field_names: &str,
    raised_in: Option<&str>,
    literal: [bool; 2],
) -> (crate::exception::GroupId, crate::exception::GroupId) {
    let types: Vec<&str> = exception.causes.iter().map(|cause| cause.type_name.as_str()).filter(|name| !is_opaque(name)).collect();
    // A text without any literal says nothing. Its words count only where literals cannot be told.
    let literals = |index: usize, text: Option<&str>| match draft.templates[index].as_deref() {
        Some(template) if template != "{}" => Some(template.to_owned()),
        _ if literal[index] => text.map(str::to_owned),
        None if !draft.knows_literals => text.map(mask),
        _ => None,
    };
    let said = literals(0, draft.body.as_deref());
    let of_error = literals(1, Some(draft.message()));
    let file = || Cow::Owned(portable_path(draft.place.as_ref().map_or("", |place| &place.file)));
    let is_opaque_error = exception.causes.first().is_some_and(|cause| is_opaque(&cause.type_name));
    let (place, said, function, text) = match draft.mechanism {
        Mechanism::Event => {
            // Where there is no error, the message stands for one.
            let of_error = of_error.filter(|_| draft.body.as_deref() != Some(draft.message()));
            // An event without words is told from others by its fields' names and its function.
            let is_told = said.is_some() || (of_error.is_some() && is_opaque_error);
            let function = raised_in.filter(|_| !is_told);
            (Cow::Borrowed(exception.target.as_str()), said.unwrap_or_else(|| field_names.to_owned()), function, of_error)
        }
        Mechanism::Capture | Mechanism::Main => (file(), String::new(), raised_in, of_error),
        // What was asked for, and what was answered.
        Mechanism::Response => (Cow::Borrowed(""), of_error.unwrap_or_else(|| mask(draft.message())), None, None),
        // Without a function a message that is not a literal is all there is.
        Mechanism::Panic => (file(), of_error.unwrap_or_default(), raised_in, raised_in.is_none().then(|| mask(draft.message()))),
    };
    let is_panic = draft.mechanism == Mechanism::Panic;
    let static_type = draft.links.first().filter(|first| first.exact).map_or("", |first| &first.type_name);
    Grouping { is_panic, types: &types, place: &place, static_type, said: &said, function, text: text.as_deref(), variant: &draft.variant }
        .ids()
}

fn add_scope(exception: &mut Exception, scope: &ScopeData) {
    if scope.user.is_some() || scope.denies_user() {
        exception.user.clone_from(&scope.user);
    }
    if scope.session.is_some() {
        exception.session.clone_from(&scope.session);
    }
    for (key, value) in scope.tags.iter().chain(scope.contexts.iter().flat_map(|(_, parts)| parts)) {
        exception.set_attribute(key.as_str(), value.clone());
    }
    for flag in &scope.flags {
        exception.flags.retain(|known| known.key() != flag.key());
        exception.flags.push(flag.clone());
    }
}

/// Fields by which a program tells of a span to `tracing` layers, or which are said of the
/// exception itself.
fn is_of_tracing(name: &str) -> bool {
    const NAMESPACES: [&str; 6] = ["code", "crumbtrail", "exception", "log", "otel", "thread"];
    let namespace = name.split_once('.').map(|(namespace, _)| namespace);
    matches!(name, "message" | "error.type") || namespace.is_some_and(|namespace| NAMESPACES.contains(&namespace))
}

/// What a span's fields say of the request: all of the root's, so that the errors of a route can be
/// asked for; of a span within it, `user.*` only.
fn add_span_fields(exception: &mut Exception, span: &[u8], is_root: bool, callsites: &mut Callsites) {
    let Some((record, _)) = Record::split_first(span) else { return };
    let Some(site) = callsites.get(record.callsite) else { return };
    for (index, field) in record.fields() {
        let Some(name) = site.fields.get(usize::from(index)) else { continue };
        match *name {
            name if name.starts_with("user.") => User::narrow(&mut exception.user, name, attribute_of(&field).shortened(MAX_VALUE)),
            "session.id" if is_root => exception.session = Some(attribute_of(&field).shortened(MAX_VALUE).to_string()),
            name if is_root && !is_of_tracing(name) => {
                exception.set_attribute(name.strip_prefix("tags.").unwrap_or(name), attribute_of(&field).shortened(MAX_VALUE));
            }
            _ => {}
        }
    }
}

/// What the event says; returns the names of its fields.
fn add_event(exception: &mut Exception, draft: &Draft, callsites: &mut Callsites) -> String {
    let Some((event, _)) = Record::split_first(&draft.event) else { return String::new() };
    let Some(site) = callsites.get(event.callsite) else { return String::new() };
    let mut source = Source::of(&site);
    let mut error_taken = false;
    for (index, field) in event.fields() {
        let Some(name) = site.fields.get(usize::from(index)) else {
            if let (key::DROPPED, Value::U64(count)) = (index, &field) {
                exception.dropped = u32::try_from(*count).unwrap_or(u32::MAX);
            }
            continue;
        };
        let is_the_error = !error_taken && is_error_field(name, &field, draft);
        error_taken |= is_the_error;
        if is_the_error || *name == "message" || (name.starts_with("log.") && source.take_bridged(name, &field)) {
            continue;
        }
        match *name {
            "session.id" => exception.session = Some(attribute_of(&field).to_string()),
            name if name.starts_with("user.") => User::narrow(&mut exception.user, name, attribute_of(&field).shortened(MAX_VALUE)),
            name => exception.set_attribute(name, attribute_of(&field).shortened(MAX_VALUE)),
        }
    }
    for (name, field) in event.named() {
        let is_the_error = !error_taken && is_error_field(name, &field, draft);
        error_taken |= is_the_error;
        if !is_the_error {
            exception.set_attribute(name, attribute_of(&field).shortened(MAX_VALUE));
        }
    }
    exception.place = exception.place.take().or_else(|| source.place());
    exception.truncated = event.truncated();
    exception.target = source.target.into_owned();
    site.fields.join(",")
}

/// Whether this field is the error that became `exception.type` and `exception.message`.
fn is_error_field(name: &str, field: &Value<'_>, draft: &Draft) -> bool {
    let cut = |text: &str| cut(text, draft.message().len()).to_owned();
    match field {
        Value::Error { links, .. } => links.first().is_some_and(|first| cut(first.message) == draft.message()),
        Value::Str(text) | Value::Text(text) => ERROR_FIELDS.contains(&name) && cut(text) == draft.message(),
        _ => false,
    }
}

/// Bytes of one text among the attributes at most.
pub(super) const MAX_VALUE: usize = 1_024;
