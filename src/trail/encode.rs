//! Writing a record: on the caller's thread, into a reusable buffer, within [`Limits`].

use std::fmt;

use super::record::{ErrorLink, HEADER_BYTES, Kind, Record, Value, append_fixed, flag, key, seal, stamp_ids, tag};
use crate::{
    scrub::{FILTERED, SLACK, Scrubber},
    stack::read_only::{ReadOnlyRanges, Template},
    text::{self, cut},
};

/// How much of a program's data a record takes. All are upper bounds; what is cut is flagged and
/// counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Fields of one record.
    pub(crate) fields: usize,
    /// Characters of one string value. (Bytes are bounded besides.)
    pub(crate) value: usize,
    /// Bytes of a whole record.
    pub(crate) record: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { fields: 128, value: MAX_VALUE, record: 32 * 1024 }
    }
}

/// Bytes of one string value at most.
const MAX_VALUE: usize = 8 * 1024;

impl Limits {
    /// Nothing is limited more than it is by default.
    pub(crate) fn are_default(&self) -> bool {
        let default = Self::default();
        self.fields >= default.fields && self.value >= default.value && self.record >= default.record
    }
}

/// Writes one record into a reusable buffer. Allocates only while that buffer grows, and where
/// something is taken out.
pub(crate) struct Encoder<'a> {
    buf: &'a mut Vec<u8>,
    limits: Limits,
    scrubber: Option<&'a Scrubber>,
    /// The scrubber failed: the record must not be told.
    failed: bool,
    fields: usize,
    dropped: u64,
    truncated: bool,
}

impl<'a> Encoder<'a> {
    pub(crate) fn new(buf: &'a mut Vec<u8>, kind: Kind, callsite: u32, time: u64, limits: Limits) -> Self {
        buf.clear();
        let mut header = [0u8; HEADER_BYTES];
        header[2] = kind as u8;
        header[4..8].copy_from_slice(&callsite.to_le_bytes());
        header[8..16].copy_from_slice(&time.to_le_bytes());
        buf.extend_from_slice(&header);
        Self { buf, limits, scrubber: None, failed: false, fields: 0, dropped: 0, truncated: false }
    }

    /// Takes secrets out of what is written from now on.
    #[inline]
    pub(crate) fn with_scrubber(mut self, scrubber: &'a Scrubber) -> Self {
        self.scrubber = Some(scrubber);
        self
    }

    /// Whether the scrubber failed.
    pub(crate) fn failed(&self) -> bool {
        self.failed
    }

    pub(crate) fn bool(&mut self, key: u16, value: bool) {
        if self.admit(0) {
            self.head(key, if value { tag::TRUE } else { tag::FALSE });
        }
    }

    pub(crate) fn i64(&mut self, key: u16, value: i64) {
        if self.is_card_number(value.unsigned_abs().into()) {
            return self.str(key, FILTERED);
        }
        self.fixed(key, tag::I64, value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, key: u16, value: u64) {
        if self.is_card_number(value.into()) {
            return self.str(key, FILTERED);
        }
        self.fixed(key, tag::U64, value.to_le_bytes());
    }

    pub(crate) fn i128(&mut self, key: u16, value: i128) {
        if self.is_card_number(value.unsigned_abs()) {
            return self.str(key, FILTERED);
        }
        self.fixed(key, tag::I128, value.to_le_bytes());
    }

    pub(crate) fn u128(&mut self, key: u16, value: u128) {
        if self.is_card_number(value) {
            return self.str(key, FILTERED);
        }
        self.fixed(key, tag::U128, value.to_le_bytes());
    }

    /// A number of ours, which the program's limits do not concern.
    pub(crate) fn own_u64(&mut self, key: u16, value: u64) {
        if self.buf.len() + 64 <= self.limits.record {
            append_fixed(self.buf, key, tag::U64, value.to_le_bytes());
        }
    }

    /// The same of a text, which is short and clean.
    pub(crate) fn own_str(&mut self, key: u16, text: &str) {
        if !text.is_empty() && self.buf.len() + text.len() + 64 <= self.limits.record {
            super::record::append_str(self.buf, key, text);
        }
    }

    pub(crate) fn f64(&mut self, key: u16, value: f64) {
        self.fixed(key, tag::F64, value.to_le_bytes());
    }

    #[inline]
    pub(crate) fn str(&mut self, key: u16, value: &str) {
        if self.admit(4) {
            let room = self.room();
            let taken = cut(value, room + SLACK);
            append_fixed(self.buf, key, tag::STR, (taken.len() as u32).to_le_bytes());
            let start = self.buf.len();
            self.buf.extend_from_slice(taken.as_bytes());
            self.finish_text(start, room);
        }
    }

    /// A text that is clean already.
    #[cfg(feature = "tower")]
    pub(crate) fn clean(&mut self, key: u16, value: &str) {
        let scrubber = self.scrubber.take();
        self.str(key, value);
        self.scrubber = scrubber;
    }

    pub(crate) fn bytes(&mut self, key: u16, value: &[u8]) {
        if self.admit(4) {
            self.head(key, tag::BYTES);
            let room = self.room();
            let taken = value.len().min(room + SLACK);
            self.buf.extend_from_slice(&(taken as u32).to_le_bytes());
            let start = self.buf.len();
            self.buf.extend_from_slice(&value[..taken]);
            self.finish_text(start, room);
        }
    }

    /// A field that no callsite knows. Name and value are clean already.
    pub(crate) fn named(&mut self, name: &str, value: impl FnOnce(&mut Self, u16)) {
        let before = (self.buf.len(), self.fields);
        let scrubber = self.scrubber.take();
        // A limit of values does not concern names: cut, two would be one.
        let limits = self.limits;
        self.limits.value = Limits::default().value;
        self.str(key::NAME, name);
        self.limits = limits;
        value(self, key::VALUE);
        self.scrubber = scrubber;
        // Both or none, and the two are one field.
        if self.fields < before.1 + 2 {
            self.buf.truncate(before.0);
        }
        self.fields = self.fields.min(before.1 + 1);
    }

    /// An event's message. It becomes the body, which attribute limits do not concern (logs data
    /// model, "Attribute Limits"); the default limit of a value still bounds it.
    #[inline]
    pub(crate) fn message(&mut self, key: u16, value: &dyn fmt::Debug) {
        self.message_of(key, value, None);
    }

    #[inline]
    fn message_of(&mut self, key: u16, value: &dyn fmt::Debug, template: Option<&mut Template<'_>>) {
        let limits = std::mem::replace(&mut self.limits, Limits { fields: usize::MAX, ..Limits::default() });
        self.debug_of(key, value, template);
        self.limits = limits;
        self.fields = self.fields.saturating_sub(1);
    }

    /// Formats with the value's `Debug`, which is user code: it may log, and should it panic the
    /// value becomes `<panicked>`.
    #[inline]
    pub(crate) fn debug(&mut self, key: u16, value: &dyn fmt::Debug) {
        self.debug_of(key, value, None);
    }

    #[inline]
    fn debug_of(&mut self, key: u16, value: &dyn fmt::Debug, template: Option<&mut Template<'_>>) {
        if self.admit(4) {
            self.head(key, tag::TEXT);
            self.formatted(format_args!("{value:?}"), template);
        }
    }

    /// As [`debug`](Self::debug), or [`message`](Self::message) for its key; and what of the text
    /// is the same every time, under a reserved key.
    pub(crate) fn with_template(&mut self, key: u16, template_key: u16, value: &dyn fmt::Debug, literals: &ReadOnlyRanges) {
        let mut template = literals.begin();
        if template_key == key::TEMPLATE {
            self.message_of(key, value, template.as_mut());
        } else {
            self.debug_of(key, value, template.as_mut());
        }
        self.template(template_key, template);
    }

    /// A text of ours, which the program's limits do not concern: it is whole or not there. Clean
    /// already.
    #[cfg(feature = "tracing-opentelemetry-0-34")]
    pub(crate) fn whole(&mut self, key: u16, text: &str) {
        if !self.if_whole(text.len(), |encoder| encoder.str(key, text)) {
            self.dropped += 1;
        }
    }

    /// Writes what is `length` bytes long, if all of it fits.
    fn if_whole(&mut self, length: usize, write: impl FnOnce(&mut Self)) -> bool {
        let fits = length + 64 <= self.limits.record.saturating_sub(self.buf.len());
        if fits {
            let own = Limits { fields: usize::MAX, value: usize::MAX / 2, ..self.limits };
            let (limits, scrubber) = (std::mem::replace(&mut self.limits, own), self.scrubber.take());
            write(self);
            (self.limits, self.scrubber) = (limits, scrubber);
        }
        fits
    }

    /// An error and its causes, outermost first: message and type address for each link. `literals`:
    /// what of the outermost text is the same every time is written, too.
    pub(crate) fn error(
        &mut self,
        key: u16,
        (type_name, exact): (&str, bool),
        links: &[(&dyn fmt::Display, [u64; 2])],
        literals: Option<&ReadOnlyRanges>,
    ) {
        let mut template = literals.and_then(ReadOnlyRanges::begin);
        if self.admit(4 + 4 + 2) {
            self.head(key, tag::ERROR);
            self.buf.push(u8::from(exact));
            self.string(type_name);
            let count_at = self.buf.len();
            self.buf.push(0);
            let mut count = 0u8;
            for (link, address) in links.iter().take(usize::from(u8::MAX)) {
                if self.room() < 32 {
                    self.truncated = true;
                    break;
                }
                address.iter().for_each(|word| self.buf.extend_from_slice(&word.to_le_bytes()));
                self.formatted(format_args!("{link}"), template.as_mut().filter(|_| count == 0));
                count += 1;
            }
            self.buf[count_at] = count;
        }
        self.template(key::ERROR_TEMPLATE, template);
    }

    /// Not the program's, so outside of its limits.
    fn template(&mut self, key: u16, template: Option<Template<'_>>) {
        if let Some(template) = template.map(Template::finish) {
            self.exempt(|encoder| encoder.str(key, &template));
        }
    }

    /// Seals the record. Returns its length without padding, as [`seal`] does.
    pub(crate) fn finish(self) -> usize {
        let Self { buf, dropped, truncated, .. } = self;
        if dropped > 0 {
            append_fixed(buf, key::DROPPED, tag::U64, dropped.to_le_bytes());
        }
        if truncated {
            buf[3] |= flag::TRUNCATED;
        }
        seal(buf)
    }

    #[inline]
    fn fixed<const N: usize>(&mut self, key: u16, tag: u8, value: [u8; N]) {
        if self.admit(N) {
            append_fixed(self.buf, key, tag, value);
        }
    }

    fn head(&mut self, key: u16, tag: u8) {
        let [low, high] = key.to_le_bytes();
        self.buf.extend_from_slice(&[low, high, tag]);
    }

    #[inline]
    fn admit(&mut self, bytes: usize) -> bool {
        // Room stays for the count of dropped fields and the padding.
        let fits = self.fields < self.limits.fields && self.buf.len() + 3 + bytes + 24 <= self.limits.record;
        if fits {
            self.fields += 1;
        } else {
            self.dropped += 1;
        }
        fits
    }

    fn room(&self) -> usize {
        let value = self.limits.value.saturating_mul(4).min(MAX_VALUE);
        self.limits.record.saturating_sub(self.buf.len() + 32).min(value)
    }

    fn string(&mut self, value: &str) {
        let taken = cut(value, self.room());
        self.truncated |= taken.len() < value.len();
        self.buf.extend_from_slice(&(taken.len() as u32).to_le_bytes());
        self.buf.extend_from_slice(taken.as_bytes());
    }

    fn formatted(&mut self, text: fmt::Arguments<'_>, template: Option<&mut Template<'_>>) {
        self.buf.extend_from_slice(&[0; 4]);
        let start = self.buf.len();
        let room = self.room();
        self.truncated |= text::show(text, room + SLACK, self.buf, template);
        self.finish_text(start, room);
    }

    /// Takes secrets out of the text that begins at `start` and ends the buffer, and cuts it to its
    /// room, in this order; its length stands in the four bytes before it, and is written.
    #[inline]
    fn finish_text(&mut self, start: usize, room: usize) {
        if let Some(scrubber) = self.scrubber
            && scrubber.tail(self.buf, start).is_err()
        {
            self.failed = true;
            self.buf.truncate(start);
        }
        if self.buf.len() - start > room {
            self.cut_text(start, room);
        }
        if self.limits.value < MAX_VALUE {
            self.cut_characters(start);
        }
        let length = (self.buf.len() - start) as u32;
        self.buf[start - 4..start].copy_from_slice(&length.to_le_bytes());
    }

    #[cold]
    fn cut_text(&mut self, start: usize, room: usize) {
        let text = &self.buf[start..];
        // Bytes of a character that goes on: at most three, in a text.
        let end = (room.saturating_sub(3)..=room).rev().find(|end| text[*end] & 0xC0 != 0x80).unwrap_or(room);
        self.buf.truncate(start + end);
        self.truncated = true;
    }

    /// A limit counts characters (specification, "Attribute Limits").
    #[cold]
    fn cut_characters(&mut self, start: usize) {
        // The first byte of each character.
        let mut characters = self.buf[start..].iter().enumerate().filter(|(_, byte)| **byte & 0xC0 != 0x80);
        if let Some((end, _)) = characters.nth(self.limits.value) {
            self.buf.truncate(start + end);
            self.truncated = true;
        }
    }

    /// Writes what is no attribute, so that limits of attributes do not concern it: a span's name,
    /// kind and status.
    pub(crate) fn exempt(&mut self, write: impl FnOnce(&mut Self)) {
        let (limits, fields) = (std::mem::replace(&mut self.limits, Limits { fields: usize::MAX, ..Limits::default() }), self.fields);
        write(self);
        (self.limits, self.fields) = (limits, fields);
    }

    /// The program has set limits of its own.
    #[inline]
    pub(crate) fn is_limited(&self) -> bool {
        !self.limits.are_default()
    }

    #[inline]
    fn is_card_number(&self, number: u128) -> bool {
        self.scrubber.is_some_and(|scrubber| scrubber.is_card_number(number))
    }
}

/// Copies a record with its texts cut so that the copy is at most `limit` bytes; numbers, names,
/// ids and the order of fields stay. Links and events that do not fit are counted in it. `false`:
/// it is no record.
pub(crate) fn shorten(record: &[u8], limit: usize, out: &mut Vec<u8>) -> bool {
    /// Room for what says how much is missing.
    const COUNTS: usize = 32;
    let Some((original, _)) = Record::split_first(record) else { return false };
    let fields = original.fields().count().max(1);
    let limits = Limits { fields: usize::MAX, value: (limit - HEADER_BYTES) / fields / 8, record: limit - COUNTS };
    let mut encoder = Encoder::new(out, original.kind, original.callsite, original.time, limits);
    encoder.truncated = true;
    let ([mut links, mut events], mut has_name) = ([0; 2], true);
    for (key, value) in original.fields() {
        // A value without its name would be another's.
        if key == key::VALUE && !has_name {
            encoder.dropped += 1;
            continue;
        }
        match value {
            // Part of one it says something else, or nothing.
            Value::Bytes(value) if matches!(key, key::LINK | key::EXCEPTION | key::ECHO) => {
                let fits = encoder.if_whole(value.len(), |encoder| encoder.bytes(key, value));
                links += u64::from(!fits && key == key::LINK);
                events += u64::from(!fits && key == key::EXCEPTION);
            }
            Value::Str(value) if matches!(key, key::NAME | key::TRACE_STATE | key::SPAN_EVENT) => {
                let fits = encoder.if_whole(value.len(), |encoder| encoder.str(key, value));
                events += u64::from(!fits && key == key::SPAN_EVENT);
                has_name = fits || key != key::NAME;
            }
            Value::Bool(value) => encoder.bool(key, value),
            Value::I64(value) => encoder.i64(key, value),
            Value::U64(value) => encoder.u64(key, value),
            Value::I128(value) => encoder.i128(key, value),
            Value::U128(value) => encoder.u128(key, value),
            Value::F64(value) => encoder.f64(key, value),
            Value::Str(value) => encoder.str(key, value),
            Value::Text(value) => encoder.debug(key, &format_args!("{value}")),
            Value::Bytes(value) => encoder.bytes(key, value),
            Value::List(values) => encoder.str(key, &values.join(", ")),
            Value::Error { type_name, exact, links } => {
                let links: Vec<_> =
                    links.iter().take(2).map(|ErrorLink { message, address }| (message as &dyn fmt::Display, *address)).collect();
                encoder.error(key, (type_name, exact), &links, None);
            }
        }
    }
    encoder.limits.record = limit;
    for (key, missing) in [(key::DROPPED_LINKS, links), (key::DROPPED_EVENTS, events)] {
        if missing > 0 {
            encoder.u64(key, missing);
        }
    }
    encoder.finish();
    stamp_ids(out, original.ids);
    true
}
