//! The record of an open span while it grows. Comes in: fields, links and exceptions, as they are
//! said. Goes out: a bounded record with the last value of each field, and a count of what was left
//! out.
//!
//! What is said late is appended, which costs a copy. When that has doubled the record, values that
//! were replaced meanwhile are taken out of it: a counter that is recorded a million times is one
//! field.

use std::collections::HashSet;

use crate::{
    clock::now,
    trail::record::{self, Kind, Part, SpanIds, key},
};

/// An open record.
#[derive(Clone, Default)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    /// Bytes at which values that were replaced are taken out.
    compacts_at: usize,
    /// Fields that were left out.
    dropped: u64,
}

/// Bytes that fields and links may take.
const MAX: usize = 32 * 1024;
/// Beyond that, for what is said of a failure.
const RESERVE: usize = 4 * 1024;
/// Bytes below which nothing is taken out.
const SMALL: usize = 2 * 1024;
/// Links, exceptions and events that are kept; the first.
const MAX_LINKS: usize = 128;
const MAX_EXCEPTIONS: usize = 128;
const MAX_EVENTS: usize = 128;
/// Capacity that a recycled body keeps.
const KEEP_CAPACITY: usize = 1024;

impl Body {
    /// Begins with the open record, given without its padding.
    pub(super) fn begin(&mut self, record: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(record);
        self.compacts_at = (2 * record.len()).max(SMALL);
        self.dropped = 0;
    }

    /// In a forked child, where what the span had said was being changed: begins anew, now.
    #[inline]
    pub(super) fn begin_if_lost(&mut self, callsite: u32, ids: SpanIds) {
        if self.bytes.is_empty() {
            self.begin(&record::header_only(Kind::SpanOpen, callsite, now(), ids));
        }
    }

    /// Empties it for its next span.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEEP_CAPACITY);
    }

    /// Adds fields, encoded. Where there is no room for one, it takes the place of its earlier
    /// value, or is counted.
    pub(super) fn append_fields(&mut self, fields: &[u8]) {
        if self.has_room(fields.len(), MAX) {
            self.bytes.extend_from_slice(fields);
        } else {
            record::parts(fields).for_each(|part| self.replace(&part));
        }
    }

    /// Adds what `write` writes, some bytes.
    #[inline]
    pub(super) fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        const SOME: usize = 64;
        if self.has_room(SOME, MAX) {
            write(&mut self.bytes);
        } else {
            let mut fields = Vec::new();
            write(&mut fields);
            record::parts(&fields).for_each(|part| self.replace(&part));
        }
    }

    /// The record as it is read: with the count of what was left out.
    pub(super) fn whole(&mut self) -> &mut Vec<u8> {
        if self.dropped > 0 {
            record::append_u64(&mut self.bytes, key::DROPPED, std::mem::take(&mut self.dropped));
        }
        &mut self.bytes
    }

    /// Adds what is said of a failure, which finds room where nothing else does.
    pub(super) fn append_failure(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        const LARGEST: usize = 512;
        if self.has_room(LARGEST, MAX + RESERVE) {
            write(&mut self.bytes);
        }
    }

    #[inline]
    fn has_room(&mut self, more: usize, limit: usize) -> bool {
        if self.bytes.len() + more > self.compacts_at {
            self.compact();
        }
        self.bytes.len() + more <= limit
    }

    /// Puts a field where its earlier value is, which costs a look at all of them. Links and events
    /// have none.
    #[cold]
    fn replace(&mut self, new: &Part<'_>) {
        let mut at = record::HEADER_BYTES;
        let is_earlier = |old: &Part<'_>| (old.key, old.name) == (new.key, new.name) && !matches!(new.key, key::LINK | key::SPAN_EVENT);
        let earlier = self.bytes.get(at..).and_then(|fields| {
            record::parts(fields).find_map(|old| {
                let range = at..at + old.bytes.len();
                at = range.end;
                is_earlier(&old).then_some(range)
            })
        });
        let free = earlier.as_ref().map_or(0, ExactSizeIterator::len);
        if self.bytes.len() - free + new.bytes.len() > MAX {
            self.dropped += 1;
            return;
        }
        earlier.into_iter().for_each(|range| drop(self.bytes.drain(range)));
        self.bytes.extend_from_slice(new.bytes);
    }

    /// Takes out what was replaced later, and what is too many.
    #[cold]
    fn compact(&mut self) {
        let Some(fields) = self.bytes.get(record::HEADER_BYTES..) else { return };
        let parts: Vec<Part<'_>> = record::parts(fields).collect();
        // From the last to the first: of each field the last is kept.
        let mut known = HashSet::new();
        let is_last: Vec<bool> = parts.iter().rev().map(|part| known.insert((part.key, part.name))).collect();
        let (mut links, mut exceptions, mut events) = (0, 0, 0);
        let mut dropped = [(key::DROPPED, 0), (key::DROPPED_LINKS, 0), (key::DROPPED_EVENTS, 0)];
        let mut compact = Vec::with_capacity(self.bytes.len());
        compact.extend_from_slice(&self.bytes[..record::HEADER_BYTES]);
        for (part, is_last) in parts.iter().zip(is_last.into_iter().rev()) {
            let mut within = |count: &mut usize, limit: usize, index: usize| {
                *count += 1;
                let is_within = *count <= limit;
                dropped[index].1 += u64::from(!is_within);
                is_within
            };
            let is_kept = match part.key {
                key::LINK => within(&mut links, MAX_LINKS, 1),
                key::EXCEPTION => within(&mut exceptions, MAX_EXCEPTIONS, 2),
                key::SPAN_EVENT => within(&mut events, MAX_EVENTS, 2),
                key::DROPPED | key::DROPPED_LINKS | key::DROPPED_EVENTS => {
                    let of_key = dropped.iter_mut().find(|(key, _)| *key == part.key);
                    of_key.into_iter().for_each(|(_, count)| *count += part.number);
                    false
                }
                _ => is_last,
            };
            if is_kept {
                compact.extend_from_slice(part.bytes);
            }
        }
        for (key, count) in dropped.into_iter().filter(|(_, count)| *count > 0) {
            record::append_u64(&mut compact, key, count);
        }
        self.bytes = compact;
        // Not again for every field of a record that is full.
        self.compacts_at = (2 * self.bytes.len()).clamp(SMALL, MAX).max(self.bytes.len() + SMALL);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::trail::record::{Record, Value};

    proptest! {
        /// Any sequence of late words: of each field the last value is there, and every field that
        /// is not is counted.
        #[test]
        fn the_last_value_of_each_field_stays(words in prop::collection::vec((0u16..300, 0usize..600), 1..600)) {
            let mut body = Body::default();
            body.begin(&record::header_only(Kind::SpanOpen, 0, 0, SpanIds::default()));
            let (mut last, mut said) = (BTreeMap::new(), 0u64);
            for (key, length) in words {
                let text = "x".repeat(length);
                let mut field = Vec::new();
                record::append_str(&mut field, key, &text);
                body.append_fields(&field);
                last.insert(key, length);
                said += 1;
                prop_assert!(body.bytes.len() <= MAX + RESERVE);
            }
            body.append_failure(|bytes| record::append_str(bytes, key::ERROR_STATUS, "it failed"));
            record::seal(body.whole());
            let (read, _) = Record::split_first(&body.bytes).unwrap();
            prop_assert_eq!(read.text(key::ERROR_STATUS), Some("it failed"));
            let (mut found, mut dropped) = (BTreeMap::new(), 0);
            for (key, value) in read.fields() {
                match (key, value) {
                    (key::DROPPED, Value::U64(count)) => dropped += count,
                    (key, Value::Str(text)) if key < 0xFF00 => drop(found.insert(key, text.len())),
                    _ => {}
                }
            }
            let whole: usize = last.values().map(|length| length + 7).sum();
            if whole < MAX / 3 {
                prop_assert_eq!((&found, dropped), (&last, 0));
            }
            prop_assert!(dropped <= said && (dropped > 0 || found == last));
        }
    }
}
