//! A subscriber that has no layer but ours: what [`install`](crate::Builder::install) makes. It
//! does for the layer what the Registry would, by way of a [`Slab`](super::slab::Slab). Comes in:
//! what `tracing` calls. Goes out: the same, to the layer.

use tracing_core::{
    Event, Interest, LevelFilter, Metadata, Subscriber,
    span::{Attributes, Current, Id, Record as Values},
};

use crate::state::{SoleSubscriber, thread};

impl Subscriber for SoleSubscriber {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.0.interest(metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.core.config.filters.feeds(metadata) != 0
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.0.core.config.filters.max_level_hint()
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let core = &self.0.core;
        let site = self.0.look_up(attributes.metadata());
        let explicit = attributes.parent().map(Id::into_u64);
        let opened = thread::here(core, |instance| {
            let parent = explicit.or_else(|| instance.current_id().filter(|_| attributes.is_contextual()));
            core.spans.slab.open(&mut instance.free_places, parent, site.0)
        });
        let id = opened.unwrap_or_else(|| core.spans.slab.with_shared(|shared| core.spans.slab.open(shared, explicit, site.0)));
        let id = Id::from_u64(id.unwrap_or(u64::MAX));
        self.0.opened(attributes, &id, site);
        id
    }

    fn record(&self, id: &Id, values: &Values<'_>) {
        self.0.recorded(id, values);
    }

    fn record_follows_from(&self, id: &Id, follows: &Id) {
        self.0.followed(id, follows);
    }

    #[inline]
    fn event(&self, event: &Event<'_>) {
        self.0.happened(event);
    }

    #[inline]
    fn enter(&self, id: &Id) {
        self.0.entered(id);
    }

    #[inline]
    fn exit(&self, id: &Id) {
        self.0.exited(id);
    }

    #[inline]
    fn clone_span(&self, id: &Id) -> Id {
        self.0.core.spans.slab.share(id.into_u64());
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let core = &self.0.core;
        if !core.spans.slab.release(id.into_u64()) {
            return false;
        }
        // Its parent may have waited only for it, and that one's.
        let mut ended = Some(id);
        while let Some(id) = ended {
            self.0.closed(&id);
            let id = id.into_u64();
            let vacated = thread::here(core, |instance| core.spans.slab.vacate(id, &mut instance.free_places));
            let parent = vacated.unwrap_or_else(|| core.spans.slab.with_shared(|shared| core.spans.slab.vacate(id, shared)));
            ended = parent.filter(|parent| core.spans.slab.release(*parent)).map(Id::from_u64);
        }
        true
    }

    fn current_span(&self) -> Current {
        let core = &self.0.core;
        let id = thread::here(core, |instance| instance.current_id()).flatten();
        let site = id.and_then(|id| core.callsites.by_id(core.spans.slab.callsite(id)?));
        match (id, site.and_then(|site| site.metadata)) {
            (Some(id), Some(metadata)) => Current::new(Id::from_u64(id), metadata),
            _ => Current::none(),
        }
    }
}
