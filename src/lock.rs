//! Locks that a panic does not spoil. A panic of ours is caught and counted (`Core::fault`), and
//! what these locks protect is whole whenever they are released: a poisoned one is as good as any.

use std::sync::{Mutex, MutexGuard, PoisonError};
#[cfg(any(feature = "metrics-0-24", feature = "tower"))]
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(any(feature = "metrics-0-24", feature = "tower"))]
pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(any(feature = "metrics-0-24", feature = "tower"))]
pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
