//! Responses that say that a service has failed, where nothing else says why.

use std::sync::Arc;

use super::{ErrorId, Link, MAX_MESSAGE, Mechanism, Raised, group::Fnv, raise};
use crate::{
    clock::now,
    layer::{SpanState, core::Core},
    ledger::{Lost, Signal},
    text::cut,
};

/// Makes the exception of a response of which nothing else says why it is one. `template` is what of the message is the same every time.
pub(crate) fn tell_response(core: &Arc<Core>, state: Option<&Arc<SpanState>>, type_name: &str, message: &str, template: &str) {
    let (Ok(message), id) = (core.scrubber.text(message), ErrorId::new()) else {
        core.ledger().dropped(Signal::Exceptions, Lost::ScrubberFailed, 1);
        return core.storm.count_other();
    };
    let link = Link { type_name: type_name.to_owned(), exact: true, message: cut(&message, MAX_MESSAGE).to_owned(), ..Link::default() };
    let mut raised = Raised::new(Mechanism::Response, vec![link]);
    raised.templates[1] = Some(template.to_owned());
    let mut key = Fnv::new();
    key.part(type_name);
    key.part(template);
    (raised.at, raised.key) = (key.0, key.0);
    let _ = raise(core, state, id, now(), raised);
}
