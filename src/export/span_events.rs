//! The short form of recent exceptions: what their spans carry as an `exception` span event, because
//! Jaeger, Tempo and SigNoz read those.

use std::collections::{HashMap, VecDeque};

use opentelemetry_proto::tonic::common::v1::KeyValue;

use crate::exception::ErrorId;

/// Exceptions remembered until their spans close.
const MAX_RECENT: usize = 1024;

/// The attributes of recent exceptions' span events, by error id; the oldest are forgotten first.
pub(crate) struct SpanEvents {
    /// `OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN=logs` turns span events off.
    enabled: bool,
    recent: HashMap<ErrorId, Vec<KeyValue>>,
    order: VecDeque<ErrorId>,
}

impl SpanEvents {
    pub(crate) fn new(enabled: bool) -> Self {
        Self { enabled, recent: HashMap::new(), order: VecDeque::new() }
    }

    pub(crate) fn remember(&mut self, id: ErrorId, attributes: Vec<KeyValue>) {
        if !self.enabled {
            return;
        }
        // A second form, with names for its frames, replaces the first.
        if let Some(known) = self.recent.get_mut(&id) {
            *known = attributes;
            return;
        }
        if self.order.len() >= MAX_RECENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.recent.remove(&oldest);
        }
        self.order.push_back(id);
        self.recent.insert(id, attributes);
    }

    /// A hook has dropped it.
    pub(crate) fn forget(&mut self, id: ErrorId) {
        self.recent.remove(&id);
        self.order.retain(|known| *known != id);
    }

    /// The attributes of an exception's span event. `None`: switched off, or too long ago.
    pub(crate) fn attributes(&self, id: ErrorId) -> Option<Vec<KeyValue>> {
        self.recent.get(&id).cloned()
    }
}
