//! Which gRPC methods there are, so that what a client asks for cannot name anything without bound.

use std::collections::HashSet;

use crate::fork::Mutex;

/// The methods that there are, as far as calls have shown: one is known when it has answered with a
/// status that only a method gives. What a client asks for is no name of anything before that, and
/// never more than so many.
#[derive(Debug, Default)]
pub(crate) struct RpcMethods(Mutex<HashSet<Box<str>>>);

const MAX_METHODS: usize = 1024;

impl RpcMethods {
    pub(crate) fn has(&self, method: &str) -> bool {
        self.0.lock().contains(method)
    }

    /// Whether it is known from now on.
    pub(crate) fn learn(&self, method: &str) -> bool {
        let mut known = self.0.lock();
        if known.contains(method) {
            return true;
        }
        let has_room = known.len() < MAX_METHODS;
        if has_room {
            known.insert(method.into());
        }
        has_room
    }
}
