//! The spool where there is none (no Unix, or without the `spool` feature): opening it says so, and
//! nothing else of it can exist.

use std::{convert::Infallible, path::Path};

use bytes::Bytes;

use super::{Adopted, Entry, Limits, Moment};
use crate::ledger::RecordKind;

pub(crate) struct Spool(Infallible);
pub(crate) struct Chain(Infallible);
pub(crate) struct Ticket(Infallible);
pub(crate) struct Writer(Infallible);

impl Spool {
    pub(crate) fn open(path: &Path, limits: Limits, _: [bool; RecordKind::ALL.len()]) -> Result<Self, String> {
        let _ = (limits.bytes, limits.age);
        Err(format!("the state directory {} is not used: that needs crumbtrail's feature \"spool\", and Unix", path.display()))
    }

    pub(crate) fn writer(&self) -> Writer {
        match self.0 {}
    }

    pub(crate) fn disown(&self) {
        match self.0 {}
    }

    pub(crate) fn chain(&self, _: RecordKind) -> Option<Chain> {
        match self.0 {}
    }

    pub(crate) fn adopt(&self, _: &mut dyn FnMut(RecordKind, Adopted)) {
        match self.0 {}
    }
}

impl Chain {
    pub(crate) fn has_room(&self, _: usize) -> bool {
        match self.0 {}
    }

    pub(crate) fn seal_if_idle(&mut self) {
        match self.0 {}
    }

    pub(crate) fn append(&mut self, _: Entry<'_>) -> Option<Ticket> {
        match self.0 {}
    }
}

impl Ticket {
    pub(crate) fn read(&self) -> Option<Bytes> {
        match self.0 {}
    }

    pub(crate) fn is_expired(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn written(&self) -> Moment {
        match self.0 {}
    }

    pub(crate) fn file(&self) -> usize {
        match self.0 {}
    }

    pub(crate) fn bytes(&self) -> usize {
        match self.0 {}
    }

    pub(crate) fn acknowledge(self) {
        match self.0 {}
    }
}

impl Writer {
    pub(crate) fn append(&self, _: &[u8]) -> Option<Ticket> {
        match self.0 {}
    }
}
