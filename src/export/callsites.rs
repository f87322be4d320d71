//! The worker's copy of the callsite table: no lock is taken for a callsite that is known.

use std::sync::Arc;

use crate::{state::Core, trail::callsite::Callsite};

/// See the [module](self).
pub(crate) struct Callsites {
    core: Arc<Core>,
    /// By id; ids count up.
    known: Vec<Option<Arc<Callsite>>>,
}

impl Callsites {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, known: Vec::new() }
    }

    pub(super) fn get(&mut self, id: u32) -> Option<Arc<Callsite>> {
        let index = id as usize;
        if let Some(Some(known)) = self.known.get(index) {
            return Some(known.clone());
        }
        let site = self.core.callsites.by_id(id)?;
        if self.known.len() <= index {
            self.known.resize(index + 1, None);
        }
        self.known[index] = Some(site.clone());
        Some(site)
    }
}
