//! The record format: what every event and span is on the caller's thread, in the trail, in the
//! outbox and (later) on disk.
//!
//! A record is a whole number of little-endian 64-bit words:
//!
//! ```text
//! word 0   length in words (u16) | kind (u8) | flags (u8) | callsite (u32)
//! word 1   time, nanoseconds since the Unix epoch
//! word 2   trace id, high half        word 3   trace id, low half
//! word 4   span id                    word 5   parent span id (spans), else 0
//! then     fields, byte-packed: key (u16) | tag (u8) | value; padded with 0xFF to a word
//! ```
//!
//! A key is the field's index at its callsite; keys from 0xFF00 on are ours, see [`key`]. Strings
//! are a u32 length and UTF-8 bytes. Names, targets and files are never in a record: the callsite
//! table has them once.

/// Header words before the fields.
pub(crate) const HEADER_BYTES: usize = 6 * 8;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A `tracing` event.
    Event = 1,
    /// A span was opened; its first fields.
    SpanOpen = 2,
    /// A span was closed; `time` is when.
    SpanClose = 3,
    /// A finished span, whole: `time` is its start, [`key::END_TIME`] its end.
    Span = 4,
    /// A breadcrumb left by hand: no callsite, all of it under reserved keys.
    Crumb = 5,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Event,
            2 => Self::SpanOpen,
            3 => Self::SpanClose,
            4 => Self::Span,
            5 => Self::Crumb,
            _ => return None,
        })
    }
}

/// Bits of the flags byte.
pub(crate) mod flag {
    /// The trace is sampled.
    pub(crate) const SAMPLED: u8 = 1;
    /// At least one value was cut.
    pub(crate) const TRUNCATED: u8 = 1 << 1;
    /// The parent span lives in another process.
    pub(crate) const REMOTE_PARENT: u8 = 1 << 2;
    /// W3C Trace Context level 2: the trace id is random.
    pub(crate) const RANDOM: u8 = 1 << 3;
    /// The trace was left out by the sampler and is kept because of an exception in it.
    pub(crate) const KEPT_ERROR: u8 = 1 << 4;
    /// The same, because it was slow.
    pub(crate) const KEPT_SLOW: u8 = 1 << 5;
    /// Of a kept trace: spans are missing that the trail did not hold any more.
    pub(crate) const CUT_TRAIL: u8 = 1 << 6;
    /// A span that is in the trail only to be kept, and no breadcrumb.
    pub(crate) const NO_CRUMB: u8 = 1 << 7;
}

/// Keys that are not fields of a callsite.
pub(crate) mod key {
    /// u64: when the span ended.
    pub(crate) const END_TIME: u16 = 0xFF00;
    /// u64: fields that did not fit.
    pub(crate) const DROPPED: u16 = 0xFF01;
    /// bytes: trace id and span id of a link, big-endian, 24 bytes; its flags; JSON of what else is
    /// said of it, or nothing.
    pub(crate) const LINK: u16 = 0xFF02;
    /// bytes: an exception of this span: error id (16), time (8).
    pub(crate) const EXCEPTION: u16 = 0xFF03;
    /// string: the description of an error status.
    pub(crate) const ERROR_STATUS: u16 = 0xFF04;
    /// string: the name of a field that no callsite knows; its value follows under [`VALUE`].
    pub(crate) const NAME: u16 = 0xFF05;
    /// any: the value of the [`NAME`] before it.
    pub(crate) const VALUE: u16 = 0xFF06;
    /// string: what of the message is the same every time, `{}` for the rest.
    pub(crate) const TEMPLATE: u16 = 0xFF07;
    /// string: the same of the error's own text.
    pub(crate) const ERROR_TEMPLATE: u16 = 0xFF08;
    /// bytes: the id (16) of the exception that this event tells of once more.
    pub(crate) const ECHO: u16 = 0xFF09;
    /// string: a span's trace state.
    pub(crate) const TRACE_STATE: u16 = 0xFF0D;
    /// string: an event of a span, as JSON: `{"name", "time", "attributes"}`.
    pub(crate) const SPAN_EVENT: u16 = 0xFF0E;
    /// u64: the fingerprint of an error's `Debug` text, see `exception::echo`.
    pub(crate) const DEBUG: u16 = 0xFF0F;
    /// string: which of an enumeration's errors it is, see `exception::variant`.
    pub(crate) const VARIANT: u16 = 0xFF12;
    /// u64: links, and exceptions and events, that did not fit.
    pub(crate) const DROPPED_LINKS: u16 = 0xFF10;
    pub(crate) const DROPPED_EVENTS: u16 = 0xFF11;
    /// string: a breadcrumb's category; the scope of a span that has no callsite.
    pub(crate) const CATEGORY: u16 = 0xFF0A;
    /// string: a breadcrumb's message; the name of a span that has no callsite.
    pub(crate) const MESSAGE: u16 = 0xFF0B;
    /// u64: a breadcrumb's level, 1 (ERROR) to 5 (TRACE).
    pub(crate) const LEVEL: u16 = 0xFF0C;
}

/// The callsite of records that have none.
pub(crate) const NO_CALLSITE: u32 = u32::MAX;

/// A decoded field value, borrowed from the record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Bool(bool),
    I64(i64),
    U64(u64),
    I128(i128),
    U128(u128),
    F64(f64),
    /// A string the program recorded as a string.
    Str(&'a str),
    /// Text that came from `Debug` or `Display`.
    Text(&'a str),
    /// A `&dyn Error`: its type if that is known or guessed, and its causes, outermost first.
    Error {
        type_name: &'a str,
        exact: bool,
        links: Vec<ErrorLink<'a>>,
    },
    Bytes(&'a [u8]),
    /// Texts, of ours: a program's fields are no lists.
    List(Vec<&'a str>),
}

/// An error of a chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ErrorLink<'a> {
    pub(crate) message: &'a str,
    /// By which its type can be told, see [`TypeAddress`](crate::exception::TypeAddress).
    pub(crate) address: [u64; 2],
}

impl Value<'_> {
    /// The messages of an error and its causes, as one text.
    pub(crate) fn joined(links: &[ErrorLink<'_>]) -> String {
        links.iter().map(|link| link.message).collect::<Vec<_>>().join(": ")
    }
}

pub(super) mod tag {
    pub(in crate::trail) const FALSE: u8 = 0;
    pub(in crate::trail) const TRUE: u8 = 1;
    pub(in crate::trail) const I64: u8 = 2;
    pub(in crate::trail) const U64: u8 = 3;
    pub(in crate::trail) const I128: u8 = 4;
    pub(in crate::trail) const U128: u8 = 5;
    pub(in crate::trail) const F64: u8 = 6;
    pub(in crate::trail) const STR: u8 = 7;
    pub(in crate::trail) const TEXT: u8 = 8;
    pub(in crate::trail) const ERROR: u8 = 9;
    pub(in crate::trail) const BYTES: u8 = 10;
    pub(in crate::trail) const LIST: u8 = 11;
}

/// The identity of a span within its trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SpanIds {
    pub(crate) trace: u128,
    pub(crate) span: u64,
    pub(crate) parent: u64,
    pub(crate) flags: u8,
}

impl SpanIds {
    /// What a child has of these: the trace and its flags, but not a remote parent.
    pub(crate) fn inherited(self) -> Self {
        Self { flags: self.flags & !flag::REMOTE_PARENT, ..self }
    }
}

/// Appends a u64 under a reserved key to an open record. Follow with [`seal`].
pub(crate) fn append_u64(buf: &mut Vec<u8>, key: u16, value: u64) {
    append_fixed(buf, key, tag::U64, value.to_le_bytes());
}

/// Appends bytes under a reserved key to an open record. Follow with [`seal`].
pub(crate) fn append_bytes(buf: &mut Vec<u8>, key: u16, value: &[u8]) {
    append_fixed(buf, key, tag::BYTES, (value.len() as u32).to_le_bytes());
    buf.extend_from_slice(value);
}

/// Appends a string under a reserved key to an open record. Follow with [`seal`].
pub(crate) fn append_str(buf: &mut Vec<u8>, key: u16, value: &str) {
    append_fixed(buf, key, tag::STR, (value.len() as u32).to_le_bytes());
    buf.extend_from_slice(value.as_bytes());
}

/// Appends a list of strings, at most 255 of them. Follow with [`seal`].
pub(crate) fn append_list(buf: &mut Vec<u8>, key: u16, values: &[String]) {
    let values = &values[..values.len().min(usize::from(u8::MAX))];
    append_fixed(buf, key, tag::LIST, [values.len() as u8]);
    for value in values {
        buf.extend_from_slice(&(value.len() as u32).to_le_bytes());
        buf.extend_from_slice(value.as_bytes());
    }
}

#[inline]
pub(super) fn append_fixed<const N: usize>(buf: &mut Vec<u8>, key: u16, tag: u8, value: [u8; N]) {
    let [low, high] = key.to_le_bytes();
    let mut field = [low, high, tag, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    field[3..3 + N].copy_from_slice(&value);
    // One copy of known length: this is the hottest line of the crate.
    buf.extend_from_slice(&field[..3 + N]);
}

/// Appends another record's field under its name. Follow with [`seal`].
pub(crate) fn append_named(buf: &mut Vec<u8>, name: &str, part: &Part<'_>) {
    if part.name.is_some() {
        return buf.extend_from_slice(part.bytes);
    }
    append_str(buf, key::NAME, name);
    buf.extend_from_slice(&key::VALUE.to_le_bytes());
    buf.extend_from_slice(part.bytes.get(2..).unwrap_or_default());
}

/// Pads the record to whole words and writes its length. Returns the length without the padding,
/// where more fields may be appended before sealing anew.
pub(crate) fn seal(buf: &mut Vec<u8>) -> usize {
    let length = buf.len();
    // Eight at once cost less than those that are needed, one by one.
    buf.extend_from_slice(&[PAD; 8]);
    buf.truncate(length.next_multiple_of(8));
    let words = (buf.len() / 8) as u16;
    buf[0..2].copy_from_slice(&words.to_le_bytes());
    length
}

/// Fills a record up to a whole word. No tag has this value, so a reader stops there.
const PAD: u8 = 0xFF;

/// Writes the identity of the span the record belongs to.
pub(crate) fn stamp_ids(record: &mut [u8], ids: SpanIds) {
    // One look at its length, not five.
    let Some(header) = record.first_chunk_mut::<HEADER_BYTES>() else { return };
    header[3] |= ids.flags;
    header[16..24].copy_from_slice(&((ids.trace >> 64) as u64).to_le_bytes());
    header[24..32].copy_from_slice(&(ids.trace as u64).to_le_bytes());
    header[32..40].copy_from_slice(&ids.span.to_le_bytes());
    header[40..48].copy_from_slice(&ids.parent.to_le_bytes());
}

/// Writes where a record comes from, and when.
pub(crate) fn set_origin(record: &mut [u8], callsite: u32, time: u64) {
    record[4..8].copy_from_slice(&callsite.to_le_bytes());
    record[8..16].copy_from_slice(&time.to_le_bytes());
}

/// Takes a record's identity away, before it gets another.
#[cfg(feature = "tracing-opentelemetry-0-34")]
pub(crate) fn clear_ids(record: &mut [u8]) {
    record[3] &= flag::TRUNCATED;
}

/// Adds to a record's flags.
pub(crate) fn add_flags(record: &mut [u8], flags: u8) {
    record[3] |= flags;
}

/// A record without fields.
pub(crate) fn header_only(kind: Kind, callsite: u32, time: u64, ids: SpanIds) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[0] = (HEADER_BYTES / 8) as u8;
    header[2] = kind as u8;
    header[4..8].copy_from_slice(&callsite.to_le_bytes());
    header[8..16].copy_from_slice(&time.to_le_bytes());
    stamp_ids(&mut header, ids);
    header
}

/// A record's time.
pub(crate) fn time(record: &[u8]) -> u64 {
    read_u64(record, 8)
}

/// Turns one kind of record into another, such as an open span into a finished one.
pub(crate) fn set_kind(record: &mut [u8], kind: Kind) {
    record[2] = kind as u8;
}

/// A whole record, read. Never panics on damaged bytes: what does not parse is not there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    bytes: &'a [u8],
    pub(crate) kind: Kind,
    pub(crate) callsite: u32,
    pub(crate) time: u64,
    pub(crate) ids: SpanIds,
}

impl<'a> Record<'a> {
    /// Reads the record at the start of `bytes` and returns it with what follows.
    pub(crate) fn split_first(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let words = usize::from(u16::from_le_bytes([*bytes.first()?, *bytes.get(1)?]));
        if words * 8 < HEADER_BYTES || words * 8 > bytes.len() {
            return None;
        }
        let (record, rest) = bytes.split_at(words * 8);
        let word = |index: usize| read_u64(record, index * 8);
        Some((
            Self {
                bytes: record,
                kind: Kind::from_byte(record[2])?,
                callsite: (word(0) >> 32) as u32,
                time: word(1),
                ids: SpanIds { trace: (u128::from(word(2)) << 64) | u128::from(word(3)), span: word(4), parent: word(5), flags: record[3] },
            },
            rest,
        ))
    }

    /// Whether a value was cut.
    pub(crate) fn truncated(&self) -> bool {
        self.ids.flags & flag::TRUNCATED != 0
    }

    /// When a finished span ended.
    pub(crate) fn end_time(&self) -> u64 {
        let end = self.fields().find(|(key, _)| *key == key::END_TIME);
        end.map_or(self.time, |(_, value)| if let Value::U64(end) = value { end } else { self.time })
    }

    pub(crate) fn fields(&self) -> Fields<'a> {
        Fields { rest: &self.bytes[HEADER_BYTES..] }
    }

    /// The fields whose names are in the record itself.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        let mut name = None;
        self.fields().filter_map(move |(key, value)| match (key, value) {
            (key::NAME, Value::Str(text)) => {
                name = Some(text);
                None
            }
            (key::VALUE, value) => Some((name.take()?, value)),
            _ => None,
        })
    }

    /// The text under a reserved key.
    pub(crate) fn text(&self, wanted: u16) -> Option<&'a str> {
        self.fields().find_map(|(key, value)| match value {
            Value::Str(text) | Value::Text(text) if key == wanted => Some(text),
            _ => None,
        })
    }

    /// The ids of a span's exceptions.
    pub(crate) fn exceptions(&self) -> impl Iterator<Item = [u8; 16]> {
        self.fields().filter_map(|(key, value)| match value {
            Value::Bytes(mark) if key == key::EXCEPTION => mark.first_chunk().copied(),
            _ => None,
        })
    }

    /// The record's own bytes.
    pub(crate) fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// Every record in a run of bytes, oldest first; ends at the first that does not parse.
pub(crate) fn records(mut bytes: &[u8]) -> impl Iterator<Item = Record<'_>> {
    std::iter::from_fn(move || {
        let (record, rest) = Record::split_first(bytes)?;
        bytes = rest;
        Some(record)
    })
}

/// The fields of a record, in the order they were written.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn string(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.blob()?).ok()
    }

    fn blob(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_le_bytes(self.take(4)?.try_into().ok()?);
        self.take(length as usize)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u16, Value<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let &[low, high, tag] = self.take(3)? else { return None };
        let key = u16::from_le_bytes([low, high]);
        let value = match tag {
            tag::FALSE => Value::Bool(false),
            tag::TRUE => Value::Bool(true),
            tag::I64 => Value::I64(i64::from_le_bytes(self.array()?)),
            tag::U64 => Value::U64(u64::from_le_bytes(self.array()?)),
            tag::I128 => Value::I128(i128::from_le_bytes(self.array()?)),
            tag::U128 => Value::U128(u128::from_le_bytes(self.array()?)),
            tag::F64 => Value::F64(f64::from_le_bytes(self.array()?)),
            tag::STR => Value::Str(self.string()?),
            tag::TEXT => Value::Text(self.string()?),
            tag::BYTES => Value::Bytes(self.blob()?),
            tag::LIST => {
                let count = self.take(1)?[0];
                Value::List((0..count).map(|_| self.string()).collect::<Option<_>>()?)
            }
            tag::ERROR => {
                let exact = self.take(1)?[0] != 0;
                let type_name = self.string()?;
                let count = self.take(1)?[0];
                let links = (0..count).map(|_| {
                    let address = [u64::from_le_bytes(self.array()?), u64::from_le_bytes(self.array()?)];
                    Some(ErrorLink { address, message: self.string()? })
                });
                Value::Error { type_name, exact, links: links.collect::<Option<_>>()? }
            }
            _ => return None,
        };
        Some((key, value))
    }
}

/// One field as it lies in an open record, or a name and its value.
pub(crate) struct Part<'a> {
    pub(crate) key: u16,
    /// Of one that no callsite knows.
    pub(crate) name: Option<&'a str>,
    /// Of a number without sign; 0 for others.
    pub(crate) number: u64,
    pub(crate) bytes: &'a [u8],
}

/// The fields of an open record, given without its header.
pub(crate) fn parts(fields: &[u8]) -> impl Iterator<Item = Part<'_>> {
    let mut rest = Fields { rest: fields };
    std::iter::from_fn(move || {
        let begin = rest.rest;
        let (key, value) = rest.next()?;
        let name = match value {
            Value::Str(name) if key == key::NAME => {
                rest.next()?;
                Some(name)
            }
            _ => None,
        };
        let number = if let Value::U64(number) = value { number } else { 0 };
        Some(Part { key, name, number, bytes: &begin[..begin.len() - rest.rest.len()] })
    })
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests;
