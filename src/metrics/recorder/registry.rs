//! The cells of one process, by key. Every call of a macro looks its key up, so the table is in
//! parts: threads meet at a lock only where their keys are in the same part, and there only readers
//! do.

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
};

use metrics::Key;

use super::cells::Cell;

use crate::lock::{read, write};

const PARTS: usize = 16;

/// By the hash that a key brings along; those that share one, in a row.
type Part<T> = RwLock<HashMap<u64, Vec<(Key, Arc<Cell<T>>)>>>;

pub(super) struct Registry<T>([Part<T>; PARTS]);

impl<T> Registry<T> {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| RwLock::default()))
    }

    /// A key's cell.
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Cell<T>>> {
        let part = read(self.part(key));
        find(part.get(&key.get_hash())?, key)
    }

    /// A key's cell, made if there is none. No other is made for it meanwhile.
    pub(super) fn get_or_make(&self, key: &Key, make: impl FnOnce() -> Arc<Cell<T>>) -> Arc<Cell<T>> {
        let mut part = write(self.part(key));
        let row = part.entry(key.get_hash()).or_default();
        find(row, key).unwrap_or_else(|| {
            let cell = make();
            row.push((key.clone(), cell.clone()));
            cell
        })
    }

    fn part(&self, key: &Key) -> &Part<T> {
        &self.0[key.get_hash() as usize % PARTS]
    }
}

fn find<T>(row: &[(Key, Arc<Cell<T>>)], key: &Key) -> Option<Arc<Cell<T>>> {
    row.iter().find(|(known, _)| known == key).map(|(_, cell)| cell.clone())
}
