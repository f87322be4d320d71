//! Failures of which there is only a text: a response where nothing else says why it failed, an
//! error that OpenTelemetry's API was told of.

use std::sync::Arc;

use super::{CauseDraft, ErrorId, Mechanism, draft::MAX_MESSAGE, group::Fnv, raise::raise, raised::Raised};
use crate::{
    clock::now,
    ledger::{LossReason, RecordKind},
    state::{Core, SpanState},
    text::cut,
};

/// Makes an exception of a text. `template` is what of it is the same every time, `description`
/// what its span's status says if that is not the message.
pub(crate) fn raise_text(
    core: &Arc<Core>,
    state: Option<&SpanState>,
    mechanism: Mechanism,
    (type_name, message): (&str, &str),
    template: Option<&str>,
    description: Option<&str>,
) {
    let type_name = cut(&core.scrubber.scrub(type_name), 256).to_owned();
    let type_name = type_name.as_str();
    let template = template.map(|template| core.scrubber.scrub(template).into_owned());
    let (Ok(message), id) = (core.scrubber.text(message), ErrorId::new()) else {
        core.ledger().dropped(RecordKind::Exceptions, LossReason::ScrubberFailed, 1);
        return core.storm.count_other();
    };
    let link = CauseDraft {
        type_name: type_name.to_owned(),
        exact: !type_name.is_empty(),
        message: cut(&message, MAX_MESSAGE).to_owned(),
        ..CauseDraft::default()
    };
    let mut raised = Raised::new(mechanism, vec![link]);
    raised.stackless = true;
    raised.description = description.map(|description| core.scrubber.scrub(description).into_owned());
    let mut key = Fnv::new();
    key.part(type_name);
    key.part(template.as_deref().unwrap_or(&message));
    (raised.at, raised.key) = (key.0, key.0);
    raised.templates[1] = template;
    let _ = raise(core, state, id, now(), raised);
}
