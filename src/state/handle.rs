//! What an id of a span leads to, and where that lies. Comes in: a span's state. Goes out: the same,
//! for as long as the span is open.

use crate::{fork::Mutex, state::SharedSpan};

/// Which state a span has, or whose it shares.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(crate) state: SharedSpan,
    /// `false`: the span is below the spans filter; it passes its parent's state on.
    pub(crate) own: bool,
}

/// The state of the span that has this place, and its id.
#[derive(Default)]
pub(super) struct StateCell(Mutex<Option<(u64, Handle)>>);

impl StateCell {
    /// Returns what a span has left here that ended unseen.
    pub(super) fn set(&self, id: u64, handle: Handle) -> Option<(u64, Handle)> {
        self.0.lock().replace((id, handle))
    }

    /// The same, unless another span's is here.
    pub(super) fn set_if_free(&self, id: u64, handle: Handle) -> Result<Option<(u64, Handle)>, Handle> {
        let mut cell = self.0.lock();
        match &*cell {
            Some((present, _)) if *present != id => Err(handle),
            _ => Ok(cell.replace((id, handle))),
        }
    }

    /// Returns the state it had, or else the one it was to have.
    #[cfg(feature = "tracing-opentelemetry-0-34")]
    pub(super) fn replace(&self, id: u64, handle: Handle) -> Result<Handle, Handle> {
        match self.0.lock().as_mut().filter(|(present, _)| *present == id) {
            Some((_, known)) => Ok(std::mem::replace(known, handle)),
            None => Err(handle),
        }
    }

    pub(super) fn get(&self, id: u64) -> Option<Handle> {
        self.0.lock().as_ref().filter(|(present, _)| *present == id).map(|(_, handle)| handle.clone())
    }

    pub(super) fn take(&self, id: u64) -> Option<Handle> {
        self.0.lock().take_if(|(present, _)| *present == id).map(|(_, handle)| handle)
    }
}
